"""The options of `submit` that ask something of fal's queue, its retries and its storage."""

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

import click

_CAUSES = ("server_error", "timeout", "connection_error")
_DECISIONS = ("allow", "forbid", "hide")
_MAX_LIFETIME_S = 100 * 365 * 86400
_NEVER = "never"


def span_of(
    _ctx: click.Context, _parameter: click.Parameter, given: str | None
) -> timedelta | None:
    """Return the span of time that an option gives."""
    from consumer.settings.values import parse_span  # noqa: PLC0415

    try:
        return parse_span(given)
    except ValueError as exc:
        raise click.BadParameter(f"expected {exc}") from exc


def _retries(
    _ctx: click.Context, _parameter: click.Parameter, given: tuple[str, ...]
) -> dict[str, int] | None:
    found = {}
    for text in given:
        cause, _, count = text.partition("=")
        if cause not in _CAUSES or not (count.isascii() and count.isdigit() and int(count) <= 100):
            causes = ", ".join(_CAUSES)
            raise click.BadParameter(f"expected CAUSE=0 to 100, the cause one of {causes}")
        found[cause] = int(count)
    return found or None


def _lifetime(
    _ctx: click.Context, _parameter: click.Parameter, given: str | None
) -> int | str | None:
    from consumer.settings.values import seconds  # noqa: PLC0415

    if given is None or given == _NEVER:
        return given
    try:
        return int(seconds(1, _MAX_LIFETIME_S).func(given))  # type: ignore[call-arg]
    except ValueError as exc:
        raise click.BadParameter("expected never, or a span like 900, 12h or 90d") from exc


def _rules(
    _ctx: click.Context, _parameter: click.Parameter, given: tuple[str, ...]
) -> list[dict[str, str]]:
    rules = []
    for text in given:
        user, _, decision = text.rpartition("=")
        if not user or decision not in _DECISIONS:
            raise click.BadParameter(f"expected USER={'|'.join(_DECISIONS)}")
        rules.append({"user": user, "decision": decision})
    return rules


_OPTIONS = (
    click.option(
        "--priority",
        type=click.Choice(["normal", "low"]),
        help="low waits behind every normal request of the endpoint.",
    ),
    click.option(
        "--max-queue",
        type=click.IntRange(min=0),
        metavar="N",
        help="Refuse it where more than N requests wait already.",
    ),
    click.option("--runner-hint", metavar="TEXT", help="Requests of one hint prefer one runner."),
    click.option("--no-retry", is_flag=True, help="fal does not try it again by itself."),
    click.option(
        "--retries",
        multiple=True,
        metavar="CAUSE=N",
        callback=_retries,
        help=f"Further tries by cause ({', '.join(_CAUSES)}), on apps of your own. Repeat it.",
    ),
    click.option("--no-fallback", is_flag=True, help="Never run an equivalent model instead."),
    click.option(
        "--store/--no-store",
        "stores_io",
        default=None,
        help="Whether fal keeps input and output; without, a result is gone within the hour.",
    ),
    click.option(
        "--files-expire",
        metavar="SPAN",
        callback=_lifetime,
        help="How long its files live: 12h, 90d, or never.",
    ),
    click.option(
        "--files-acl",
        type=click.Choice(_DECISIONS),
        help="Who may read its files: everybody, nobody, or nobody even sees them.",
    ),
    click.option(
        "--files-rule",
        "files_rules",
        multiple=True,
        metavar="USER=WORD",
        callback=_rules,
        help="For one user another --files-acl. Repeat it.",
    ),
)


def queue_options(verb: Callable[..., Any]) -> Callable[..., Any]:
    """Give a verb every option of fal's queue; `options_of` reads them."""
    for option in reversed(_OPTIONS):
        verb = option(verb)
    return verb


def options_of(given: Mapping[str, Any]) -> dict[str, Any]:
    """
    Return the `options` of a submit command from what was given.

    Raises UsageError for what does not go together.
    """
    if given["no_retry"] and given["retries"]:
        raise click.UsageError("--no-retry and --retries say opposite things: give one")
    return {
        "priority": given["priority"],
        "runner_hint": given["runner_hint"],
        "no_retry": given["no_retry"],
        "retry_config": given["retries"],
        "store_io": given["stores_io"],
        "object_lifecycle": _lifecycle(given),
        "disable_fallback": given["no_fallback"],
        "max_queue_length": given["max_queue"],
    }


def _lifecycle(given: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return how long files live and who may read them, with only what was asked for."""
    found: dict[str, Any] = {}
    lifetime = given["files_expire"]
    if lifetime is not None:
        found["expiration_duration_seconds"] = None if lifetime == _NEVER else lifetime
    if given["files_rules"] and given["files_acl"] is None:
        raise click.UsageError("--files-rule: give --files-acl too, for everybody else")
    if given["files_acl"] is not None:
        found["initial_acl"] = {"default": given["files_acl"], "rules": given["files_rules"]}
    return found or None
