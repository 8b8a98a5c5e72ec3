"""
Asking fal directly: which request is meant, the client, and errors of fal as sentences.

Nothing here goes through a service or is recorded. A request that the ledger knows needs
its id alone, for the ledger names the endpoint.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from consumer.cli.terminal import Failed, note
from consumer.core.command import submission_id_of
from consumer.core.endpoint import is_endpoint_id, is_request_id
from consumer.errors import (
    ConfigError,
    FalRefused,
    FalUnavailable,
    LedgerUnavailable,
    SchemaDrift,
)

if TYPE_CHECKING:
    from consumer.fal import FalClient
    from consumer.ports import Ledger
    from consumer.settings import Settings

_REFUSALS = {
    "no_key": (
        "there is no fal key",
        "set FAL_KEY or FAL_KEY_FILE; keys are made at fal.ai/dashboard/keys",
    ),
    "unauthorized": (
        "fal does not take the key",
        "is FAL_KEY whole, and not revoked? `fal-consumer check` tries it",
    ),
    "locked": (
        "fal says that the account is locked",
        "only a human can end that: fal.ai/dashboard/billing",
    ),
    "forbidden": (
        "fal does not allow this to the key",
        "has the key the scope that this needs? fal.ai/dashboard/keys",
    ),
    "bad_request_id": ("that id is no UUID, as fal's request ids are", ""),
    "bad_endpoint": ("that endpoint is no owner/app[/path]", ""),
    "unknown_request": (
        "fal knows no such request",
        "are the id and the endpoint of one job, and the key of the account that submitted it?",
    ),
    "not_found": (
        "fal does not know it",
        "is the endpoint right? `fal-consumer models` finds its id",
    ),
    "too_large": ("fal's answer is larger than this command takes", ""),
    "bad_quantity": (
        "that quantity cannot be estimated",
        "calls are whole numbers from 1; units are above 0",
    ),
    "bad_tags": (
        "fal takes no such tags",
        "up to ten, with keys of a-z 0-9 . _ - and values without a comma",
    ),
    "rate_limited": (
        "fal takes no more now",
        "too many calls, or a longer queue than --max-queue allows: try again later",
    ),
    "queue_too_long": (
        "more requests wait at fal than --max-queue allows, so nothing was submitted",
        "try again later, or allow more",
    ),
    "too_many_calls": ("too many calls are under way here", "try again"),
    "bad_input": ("the input cannot be sent as JSON", "no numbers beyond a float, not so deep"),
    "bad_start_timeout": ("--start-within is too short", ""),
    "not_connected": ("no connection to fal was made, so no job exists", "try again"),
    "bad_text": ("that text cannot be searched for", "give 1 to 1000 characters"),
}
_BY_STATUS = {401: "unauthorized", 403: "forbidden", 404: "not_found"}
_TROUBLES = {
    "not_connected": "no connection to fal was made",
    "proxy_refused": "the proxy refused",
    "challenged": "a proxy before fal wants a human",
    "rate_limited": "fal answers too many calls",
    "timeout": "fal did not answer in time",
    "cut": "the connection was cut",
    "quiet": "the connection went silent",
    "empty_answer": "fal's answer was empty",
    "unreadable_answer": "the answer was not fal's, or not whole",
}


class Named(NamedTuple):
    """A request as somebody named it: without `endpoint`, by an id that the ledger may know."""

    endpoint: str
    subject: str


class Located(NamedTuple):
    """A request at fal."""

    endpoint: str
    request_id: str


def request_argument(verb: Callable[..., Any]) -> Callable[..., Any]:
    """Give a verb the arguments `[ENDPOINT] ID` as `named`, judged before anything is asked."""
    return click.argument(
        "named", metavar="[ENDPOINT] ID", nargs=-1, required=True, callback=_named
    )(verb)


def maybe_request_argument(verb: Callable[..., Any]) -> Callable[..., Any]:
    """Give a verb the arguments `[ENDPOINT] ID` as `named`, None where there are none."""

    def judged(
        ctx: click.Context, parameter: click.Parameter, given: tuple[str, ...]
    ) -> Named | None:
        return _named(ctx, parameter, given) if given else None

    return click.argument(
        "named", metavar="[[ENDPOINT] ID]", nargs=-1, required=False, callback=judged
    )(verb)


def _named(_ctx: click.Context, _parameter: click.Parameter, given: tuple[str, ...]) -> Named:
    if len(given) > 2:
        raise click.UsageError("expected [ENDPOINT] ID, like fal-ai/flux/dev 019f6af7-…")
    endpoint, subject = given if len(given) == 2 else ("", *given)
    if endpoint:
        endpoint_argument(endpoint)
        if not is_request_id(subject):
            raise click.UsageError("ID: expected a UUID, as fal's request ids are")
    elif len(given) == 2 or not subject:
        raise click.UsageError("ENDPOINT and ID: expected a text")
    elif "/" in subject and is_endpoint_id(subject):
        raise click.UsageError("ID: missing after the endpoint")
    return Named(endpoint, subject)


def endpoint_argument(text: str) -> str:
    """Return an endpoint id. Raises UsageError for what is none, before any call."""
    if not is_endpoint_id(text):
        raise click.UsageError("ENDPOINT: expected owner/app[/path], like fal-ai/flux/dev")
    return text


async def locate(settings: "Settings", named: Named, verb: str) -> Located:
    """
    Return where a request is at fal: as named, or as the ledger knows it.

    Raises Failed where nobody knows its endpoint; `verb` names the command in the hint.
    """
    if named.endpoint:
        return Located(named.endpoint, named.subject.lower())
    from consumer.app import open_ledger  # noqa: PLC0415

    hint = f"name its endpoint too: fal-consumer {verb} OWNER/APP ID"
    try:
        async with open_ledger(settings) as ledger:
            return await _known(ledger, named.subject, hint)
    except ConfigError as exc:
        raise Failed(f"there is no ledger in {settings.data_dir} to look in", hint) from exc
    except LedgerUnavailable as exc:
        raise Failed(f"the ledger does not answer ({exc.problem})", hint) from exc


async def _known(ledger: "Ledger", subject: str, hint: str) -> Located:
    for name in (subject, subject.lower(), submission_id_of(subject)):
        submission = await ledger.submission(name)
        if submission is not None and submission.request is None:
            raise Failed(
                f"that submission has no request id yet: {submission.state.value}",
                f"look at it with: fal-consumer timeline {submission.submission_id}",
            )
        bound = submission.request.value if submission and submission.request else name
        request = await ledger.request(bound)
        if request is not None and request.endpoint is not None:
            return Located(request.endpoint.value, request.request_id)
        if request is not None:
            raise Failed("the ledger knows the request, but not its endpoint", hint)
    raise Failed(f"the ledger here knows no such request: {subject}", hint)


@asynccontextmanager
async def open_fal(settings: "Settings") -> "AsyncIterator[FalClient]":
    """
    Open fal's API. What it could not understand of an answer is said on standard error, and
    what went wrong is raised as Failed, with what to do.
    """
    from consumer.app import open_direct  # noqa: PLC0415
    from consumer.telemetry import configure_logs  # noqa: PLC0415

    # Everything that a line of the log would tell is told here in sentences.
    configure_logs(level="critical", format="console")
    told = set[str]()

    def tell(drift: SchemaDrift) -> None:
        if (sentence := str(drift)) not in told:
            told.add(sentence)
            note(f"fal's answer differs from what this version knows: {sentence}")

    try:
        async with open_direct(settings, tell) as fal:
            yield fal
    except FalRefused as exc:
        raise refusal(exc.http_status, exc.reason) from exc
    except FalUnavailable as exc:
        raise _trouble(exc, settings) from exc
    except SchemaDrift as exc:
        raise Failed(
            f"fal answered something that this version does not know: {exc}",
            "look for a newer version of fal-consumer",
        ) from exc


def refusal(http_status: int | None, reason: str) -> Failed:
    """Return fal's no as a sentence, with what to do."""
    answered = f" (HTTP {http_status})" if http_status else ""
    reason = reason if reason in _REFUSALS else _BY_STATUS.get(http_status or 0, reason)
    other = "fal refused it" if reason.startswith("http_") else f"fal refused it: {reason}"
    sentence, hint = _REFUSALS.get(reason, (other, ""))
    return Failed(f"{sentence}{answered}", hint)


def _trouble(error: FalUnavailable, settings: "Settings") -> Failed:
    sentence = _TROUBLES.get(error.problem, f"fal cannot answer now: {error.problem}")
    came = f" ({error.came})" if error.came else ""
    hint = "try again"
    if error.retry_after_s is not None:
        hint = f"try again in {error.retry_after_s:.0f} s"
    elif error.problem == "not_connected":
        hint = f"can this machine reach {settings.queue_url} and {settings.api_url}?"
    return Failed(f"{sentence}{came}", hint)
