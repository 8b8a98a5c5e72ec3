"""`requests`: what the ledger says about many requests, newest first."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from consumer.cli.setup import Explained, log_to_stderr, run_loop, with_settings
from consumer.cli.terminal import ago, note, print_json, print_table, word
from consumer.core.public import public_request
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
@click.option("--group", default="", metavar="NAME", help="Only those of one group.")
@click.option(
    "--supersedes", default="", metavar="KEY", help="Only those of one series, the newest first."
)
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
    group: str,
    supersedes: str,
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
        group=group,
        supersedes=supersedes,
        open_only=open_only,
        limit=limit,
    )
    found = run_loop(_listed(settings, wanted))
    if as_json:
        for request in found:
            print_json(public_request(request))
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
