"""`drift`: answers of fal that this version did not understand in full, as a service met them."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from consumer.cli.setup import Explained, log_to_stderr, run_loop, with_settings
from consumer.cli.terminal import ago, note, print_json, print_table
from consumer.core.event import format_time

if TYPE_CHECKING:
    from consumer.replaying import FoundDrift
    from consumer.settings import Settings


@click.command(cls=Explained, example="fal-consumer drift --operation status")
@click.option("--operation", metavar="WORD", help="Only of one operation: status, result, submit …")
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    default=50,
    show_default=True,
    help="How many at most, the newest.",
)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON line for each.")
@with_settings
def drift(settings: "Settings", *, operation: str | None, limit: int, as_json: bool) -> None:
    """
    List answers of fal that differ from what this version knows: what was expected, what came.

    A running service keeps each whole as a dead letter (schema_drift) and goes on with what it
    understood: `dead-letters show ID --body` has the answer. Reads the log; `serve` may run or
    not. Exit code 0, also where there are none.
    """
    log_to_stderr()
    every = run_loop(_found(settings))
    wanted = [one for one in every if operation in (None, one.note.operation)]
    shown = wanted[-limit:]
    if as_json:
        for one in shown:
            print_json(_row(one))
    elif shown:
        _print(shown)
        if len(wanted) > limit:
            note(f"the newest {limit} of {len(wanted)} (--limit)")
    else:
        note("no answer of fal differed from what this version knows")


async def _found(settings: "Settings") -> "list[FoundDrift]":
    from consumer.app import open_log  # noqa: PLC0415
    from consumer.replaying import find_drifts  # noqa: PLC0415

    async with open_log(settings) as log:
        return await find_drifts(log)


def _row(one: "FoundDrift") -> dict[str, Any]:
    return {
        "id": one.id,
        "at": format_time(one.at),
        "operation": one.note.operation,
        "where": one.note.where,
        "expected": one.note.expected or None,
        "came": one.note.came or None,
        "endpoint": one.note.endpoint or None,
        "request_id": one.request_id or None,
        "bytes": one.size,
    }


def _print(shown: "Sequence[FoundDrift]") -> None:
    now = datetime.now(UTC)
    print_table(
        ("ID", "OPERATION", "FIELD", "EXPECTED", "CAME", "ENDPOINT", "REQUEST", "AGE"),
        [
            (
                one.id,
                one.note.operation,
                one.note.where,
                one.note.expected,
                one.note.came,
                one.note.endpoint,
                one.request_id,
                ago(one.at, now),
            )
            for one in shown
        ],
    )
