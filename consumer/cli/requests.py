"""`requests`: what the ledger says about many requests, newest first."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from consumer.cli.setup import Explained, log_to_stderr, run_loop, with_settings
from consumer.cli.terminal import ago, note, print_json, print_table, word
from consumer.core.event import format_time
from consumer.core.standing import Request, State
from consumer.ports import RequestFilter

if TYPE_CHECKING:
    from consumer.settings import Settings


@click.command(cls=Explained, example="fal-consumer requests --state failed --state lost")
@click.option(
    "--state",
    "states",
    multiple=True,
    type=click.Choice([state.value for state in State]),
    metavar="STATE",
    help=f"Only these: {', '.join(State)}. Repeat it.",
)
@click.option("--endpoint", default="", metavar="OWNER/APP", help="Only those of one endpoint.")
@click.option("--open", "open_only", is_flag=True, help="Only those with work left to do.")
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    default=50,
    show_default=True,
    help="How many at most.",
)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON line for each.")
@with_settings
def requests(  # noqa: PLR0913  click hands over one argument an option
    settings: "Settings",
    *,
    states: tuple[str, ...],
    endpoint: str,
    open_only: bool,
    limit: int,
    as_json: bool,
) -> None:
    """
    List requests, newest first: where each stands, who told its end, what it cost.

    Looks into the ledger; `serve` may run or not.
    """
    log_to_stderr()
    wanted = RequestFilter(
        states=tuple(State(name) for name in states),
        endpoint=endpoint,
        open_only=open_only,
        limit=limit,
    )
    found = run_loop(_listed(settings, wanted))
    if as_json:
        for request in found:
            print_json(row_of(request))
    elif found:
        _print(found)
        if len(found) == limit:
            note(f"the newest {limit}; there may be more (--limit)")
    else:
        note("no such requests")


async def _listed(settings: "Settings", wanted: RequestFilter) -> Sequence[Request]:
    from consumer.app import open_ledger  # noqa: PLC0415

    async with open_ledger(settings) as ledger:
        return await ledger.requests(wanted)


def row_of(request: Request) -> dict[str, Any]:
    """Return a request as programs read it: flat, instants as RFC 3339 in UTC."""
    end, result = request.end, request.result
    return {
        "request_id": request.request_id,
        "state": request.state.value,
        "is_open": request.is_open,
        "is_tracked": request.is_tracked,
        "has_conflict": request.has_conflict,
        "endpoint": request.endpoint.value if request.endpoint else None,
        "submission_id": request.submission.value if request.submission else None,
        "command_id": request.command_id or None,
        "tags": request.tags,
        "accounts": list(request.accounts),
        "queue_position": request.queue_position,
        "first_at": format_time(request.first_at),
        "last_at": format_time(request.last_at),
        "ended_at": format_time(end.at) if end else None,
        "witness": end.witness.value if end else None,
        "result_revision": result.revision if result else None,
        "http_status": result.http_status if result else None,
        "billable_units": result.billable_units if result else None,
        "output_missing": result.output_missing if result else None,
    }


def _print(found: Sequence[Request]) -> None:
    now = datetime.now(UTC)
    print_table(
        ("REQUEST", "STATE", "ENDPOINT", "TOLD BY", "UNITS", "AGE"),
        [
            (
                request.request_id,
                word(request.state.value),
                request.endpoint.value if request.endpoint else "",
                request.end.witness.value if request.end else "",
                (request.result.billable_units if request.result else None) or "",
                ago(request.first_at, now),
            )
            for request in found
        ],
        whole=2,
    )
