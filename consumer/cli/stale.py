"""`stale`: what the policies would cancel now, and since when. Nothing is cancelled by it."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from consumer.cli.setup import Explained, log_to_stderr, run_loop, with_settings
from consumer.cli.terminal import ago, note, print_json, print_table, word
from consumer.core.cancellation import Wish, wish_now
from consumer.core.event import format_time
from consumer.core.standing import CancelPolicy, Request
from consumer.ports import Ledger, RequestFilter

if TYPE_CHECKING:
    from consumer.settings import Settings

_PAGE = 500


@dataclass(frozen=True, slots=True)
class Stale:
    """One request, and the policy that wants it cancelled."""

    request: Request
    wish: Wish


@click.command(cls=Explained, example="fal-consumer stale --policy queue_wait --json")
@click.option(
    "--policy",
    "policies",
    multiple=True,
    type=click.Choice([policy.value for policy in CancelPolicy]),
    metavar="POLICY",
    help=f"Only these: {', '.join(CancelPolicy)}. Repeat it.",
)
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    default=1000,
    show_default=True,
    help="How many at most.",
)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON line for each.")
@with_settings
def stale(settings: "Settings", *, policies: tuple[str, ...], limit: int, as_json: bool) -> None:
    """
    List what the policies would cancel now, with the policy and since when; cancel nothing.

    Judged by the ledger and the settings here, for every open request. A running `serve`
    (on Kafka `work`) asks fal for the status first, so what has started meanwhile is spared.
    """
    log_to_stderr()
    wanted = frozenset(map(CancelPolicy, policies)) or frozenset(CancelPolicy)
    now = datetime.now(UTC)
    found = run_loop(_found(settings, wanted, limit, now))
    if as_json:
        for item in found:
            print_json(_row_of(item))
    elif found:
        _print(found, now)
        if len(found) == limit:
            note(f"the first {limit}; there may be more (--limit)")
    else:
        note("nothing is stale")


async def _found(
    settings: "Settings", wanted: frozenset[CancelPolicy], limit: int, now: datetime
) -> Sequence[Stale]:
    from consumer.app import open_ledger  # noqa: PLC0415
    from consumer.app.values import policies_of  # noqa: PLC0415

    policies = policies_of(settings)
    found: list[Stale] = []
    async with open_ledger(settings) as ledger:
        async for request in _open_requests(ledger):
            wish = wish_now(request, now, policies)
            if wish is not None and wish.policy in wanted:
                found.append(Stale(request, wish))
            if len(found) == limit:
                break
    return sorted(found, key=lambda item: (item.wish.at, item.request.request_id))


async def _open_requests(ledger: Ledger) -> AsyncIterator[Request]:
    before = ""
    while True:
        page = await ledger.requests(RequestFilter(open_only=True, limit=_PAGE, before=before))
        for request in page:
            yield request
        if len(page) < _PAGE:
            return
        before = page[-1].request_id


def _row_of(item: Stale) -> dict[str, Any]:
    request, series = item.request, item.request.series
    return {
        "request_id": request.request_id,
        "policy": item.wish.policy.value,
        "since": format_time(item.wish.at),
        "state": request.state.value,
        "endpoint": request.endpoint.value if request.endpoint else None,
        "submission_id": request.submission.value if request.submission else None,
        "group": request.group or None,
        "supersedes": series.key if series else None,
        "queue_position": request.queue_position,
        "first_at": format_time(request.first_at),
    }


def _print(found: Sequence[Stale], now: datetime) -> None:
    print_table(
        ("REQUEST", "POLICY", "SINCE", "STATE", "ENDPOINT", "AGE"),
        [
            (
                item.request.request_id,
                item.wish.policy.value,
                ago(item.wish.at, now),
                word(item.request.state.value),
                item.request.endpoint.value if item.request.endpoint else "",
                ago(item.request.first_at, now),
            )
            for item in found
        ],
        whole=2,
    )
