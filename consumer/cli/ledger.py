"""`ledger`: its schema brought up to date; copied, built anew, or said to be restored."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from consumer.cli.setup import Explained, ExplainedGroup, log_to_stderr, run_loop, with_settings
from consumer.cli.terminal import Failed, note, print_json
from consumer.core.event import format_time

if TYPE_CHECKING:
    from consumer.settings import Settings


@click.group(
    cls=ExplainedGroup,
    example="""\
fal-consumer ledger migrate
FAL_CONSUMER_LEDGER_URL=postgresql://fal@db/fal fal-consumer ledger copy""",
)
def ledger() -> None:
    """Look after the ledger: its schema, moving it, building it anew."""


@ledger.command(cls=Explained, example="fal-consumer ledger migrate")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON line.")
@with_settings
def migrate(settings: "Settings", *, as_json: bool) -> None:
    """
    Bring the schema to the one that this version knows; twice is harmless.

    On PostgreSQL this is a step of its own, before the processes of a new version start: they
    refuse an older schema. `serve` and `work` do it by themselves for a SQLite file, which is
    copied aside first. Exit code 1: the database does not answer; 2: the schema is newer than
    this version.
    """
    from consumer.app.upkeep import migrate_ledger  # noqa: PLC0415

    log_to_stderr()
    done = run_loop(migrate_ledger(settings))
    if as_json:
        row = {"ledger": done.name, "before": done.before, "schema": done.now}
        print_json(row | {"is_changed": done.before is not None})
        return
    did = "is up to date"
    if done.before is not None:
        did = f"migrated from {done.before}" if done.before else "made"
    click.echo(f"{done.name}: {did} (schema {done.now})")


@ledger.command(cls=Explained, example="fal-consumer ledger copy --from data/ledger.sqlite")
@click.option(
    "--from",
    "source",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="The SQLite ledger. [default: the data folder's]",
)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON line.")
@with_settings
def copy(settings: "Settings", *, source: Path | None, as_json: bool) -> None:
    """
    Copy a SQLite ledger to the PostgreSQL that FAL_CONSUMER_LEDGER_URL names.

    Stop everything that works on the file first, once the commands have been read; migrate
    the database. All or nothing: what is cut leaves it empty. The copy is stamped: a submit
    from before that has no claim is told as unknown and never sent. Exit code 1: the database
    does not answer; 2: the file is in use, or the database is not empty, or not migrated.
    """
    from consumer.app.upkeep import copy_ledger  # noqa: PLC0415

    log_to_stderr()
    with _progress() as tell:
        done = run_loop(copy_ledger(settings, source, tell))
    if as_json:
        at = format_time(done.stamped_at)
        print_json({"ledger": done.target, "rows": dict(done.rows), "stamped_at": at})
        return
    total = sum(done.rows.values())
    click.echo(f"{total} rows copied from {done.source} to {done.target}, and counted there")
    note(f"stamped at {format_time(done.stamped_at)}: no submit from before it is sent from here")


@ledger.command(cls=Explained, example="fal-consumer ledger rebuild")
@click.option(
    "--despite-gaps", is_flag=True, help="Also where a topic no longer holds its beginning."
)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON line.")
@with_settings
def rebuild(settings: "Settings", *, despite_gaps: bool, as_json: bool) -> None:
    """
    Build the ledger anew from the topics, and put it in place of the one there is.

    Facts, requests, submissions, evidence, results and key sets come from the log alone;
    schedules, claims and parked records stay. Where those are gone they are derived too, and
    the ledger is stamped (see `ledger restored`). With SQLite, stop what runs on the folder;
    the old file is kept as `.before-rebuild`. Exit code 1: a topic no longer holds its
    beginning (each is named), or something does not answer; the ledger is then as it was.
    """
    from consumer.app.rebuilding import GapsFound, rebuild_ledger  # noqa: PLC0415

    log_to_stderr()
    try:
        with _progress() as tell:
            told = rebuild_ledger(
                settings,
                despite_gaps=despite_gaps,
                tell=lambda done, total: tell("records", done, total),
            )
            done = run_loop(told)
    except GapsFound as exc:
        raise Failed(str(exc), "--despite-gaps builds it from what is left") from exc
    if as_json:
        print_json(
            {
                "ledger": done.name,
                "records": done.records,
                "left_out": done.left_out,
                "waiting": done.waiting,
                "gaps": list(done.gaps),
                "kept_operational": done.has_kept_operational,
            }
        )
        return
    click.echo(f"{done.name}: built anew from {done.records} records")
    if done.left_out:
        note(f"{done.left_out} left out: nobody could read them when they were new either")
    if done.waiting:
        note(f"{done.waiting} left out: no trusted key set holds the key that they name")
    for gap in done.gaps:
        note(f"not in the log any more: {gap}")
    if not done.has_kept_operational:
        note("schedules and claims were gone: derived from the log, and stamped")


@ledger.command(cls=Explained, example="fal-consumer ledger restored")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON line.")
@with_settings
def restored(settings: "Settings", *, as_json: bool) -> None:
    """
    Say that the ledger was put back from a backup, before anything starts on it.

    From then on a submit that was asked for earlier, and has no claim in the backup, is told
    as unknown and never sent: it may have been sent after the backup was made.
    """
    from consumer.app.upkeep import stamp_restored  # noqa: PLC0415

    log_to_stderr()
    at = format_time(run_loop(stamp_restored(settings)))
    if as_json:
        print_json({"stamped_at": at})
    else:
        click.echo(f"stamped at {at}: no submit from before it is sent without its claim")


@contextmanager
def _progress() -> Iterator[Callable[[str, int, int], None]]:
    """Give what moves a progress bar for each name on a terminal; elsewhere nothing is shown."""
    from rich.console import Console  # noqa: PLC0415
    from rich.progress import (  # noqa: PLC0415
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TaskID,
        TextColumn,
        TimeElapsedColumn,
    )

    columns = (
        TextColumn("{task.description:<16}"),
        BarColumn(bar_width=40),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    screen = Console(stderr=True, highlight=False)
    tasks: dict[str, TaskID] = {}
    with Progress(*columns, console=screen, disable=not sys.stderr.isatty()) as bar:

        def tell(name: str, done: int, total: int) -> None:
            if name not in tasks:
                tasks[name] = bar.add_task(name, total=total)
            bar.update(tasks[name], completed=done, total=total)

        yield tell
