"""`replay`: put records of a topic back on it, marked, with a reason that is recorded."""

import sys
from collections.abc import Iterator, Mapping
from contextlib import aclosing, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import uuid4

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from consumer.cli.events import topic_named
from consumer.cli.following import SOURCE
from consumer.cli.setup import Explained, log_to_stderr, run_loop, with_settings
from consumer.cli.terminal import note, print_json
from consumer.core.event import Topic, parse_time
from consumer.core.replay import Replay, checked_reason
from consumer.errors import LogUnavailable
from consumer.replaying import Pace, Replayer, Shown, Span, Tally, chosen

if TYPE_CHECKING:
    from consumer.settings import Settings

_MAX_REFUSED_SHOWN = 20


class Bound(NamedTuple):
    """Where a span begins or ends: an instant of the log's time, or an offset of a partition."""

    at: datetime | None
    partition: int | None
    offset: int | None


def _bound(_ctx: click.Context, _parameter: click.Parameter, given: str | None) -> Bound | None:
    if given is None:
        return None
    partition, slash, offset = given.partition("/")
    if slash and _is_number(partition) and _is_number(offset):
        return Bound(None, int(partition), int(offset))
    try:
        return Bound(parse_time(given), None, None)
    except ValueError as exc:
        raise click.BadParameter(
            "expected a time like 2026-11-23T12:00:00Z, or partition/offset like 0/17"
        ) from exc


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 19


def reason_of(_ctx: click.Context, _parameter: click.Parameter, given: str) -> str:
    """Return the reason that an option gives, as it may be recorded."""
    try:
        return checked_reason(given)
    except ValueError as exc:
        raise click.BadParameter(f"expected {exc}") from exc


rate_option = click.option(
    "--rate",
    type=click.IntRange(min=1),
    default=500,
    show_default=True,
    metavar="N",
    help="At most so many records a second.",
)


@click.command(
    cls=Explained,
    example="""\
fal-consumer replay --topic fal.completions --from 2026-11-23T10:00:00Z --to 2026-11-23T11:00:00Z \\
    --handler fetch --reason 'fal refused our key for an hour' --dry-run""",
)
@click.option("--topic", "name", required=True, metavar="TOPIC", help="As `events` names them.")
@click.option(
    "--from", "begin", callback=_bound, metavar="WHERE", help="From this time, or offset, on."
)
@click.option(
    "--to", "end", callback=_bound, metavar="WHERE", help="Up to this time, or offset, without it."
)
@click.option("--key", metavar="ID", help="Only records with this key, a request id.")
@click.option(
    "--handler", metavar="NAME", help="Only this one acts on them: fetch, record or commands."
)
@click.option(
    "--reason", required=True, callback=reason_of, metavar="TEXT", help="Why; it is recorded."
)
@click.option("--again", is_flag=True, help="Also what stands there from an earlier replay.")
@rate_option
@click.option("--dry-run", is_flag=True, help="Only count what would be put back.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON line with the counts.")
@with_settings
def replay(
    settings: "Settings", *, name: str, reason: str, rate: int, as_json: bool, **options: Any
) -> None:
    """
    Put records of a topic back on it, so that they are handled once more.

    WHERE is a time of the log (2026-11-23T12:00:00Z, as `events` shows it) or partition/offset
    (0/17). A copy has the same event id and the same evidence, and marks (ce_falreplay…) that
    say when, why and of what. It is harmless: a fact counts once, a result gets no new revision
    without new truth, and a replayed command never submits again.

    Dead letters have their own verb: fal-consumer dead-letters replay. Exit code 1: some were
    refused, or the log stopped answering; then ask for the same again.
    """
    log_to_stderr()
    topic = topic_named(name, settings.topic_prefix)
    if topic is Topic.DEAD_LETTERS:
        raise click.UsageError("dead letters are put back by: fal-consumer dead-letters replay")
    handler = _handler(options["handler"], topic)
    span = _span(topic, options)
    by = new_replay(reason)
    if options["dry_run"]:
        tally = run_loop(_count(settings, span))
    else:
        tally = run_loop(_replay(settings, by, span, (handler, rate)))
    tell(tally, by, is_dry=options["dry_run"], as_json=as_json)


def new_replay(reason: str) -> Replay:
    """Return a replay that begins now, with an id of its own."""
    return Replay(uuid4().hex, reason, datetime.now(UTC), SOURCE)


def _handler(name: str | None, topic: Topic) -> str:
    """Return the handler's name. Raises UsageError unless it reads the topic."""
    if name is None:
        return ""
    from consumer.handlers.commands import Commands  # noqa: PLC0415  heavy, and rarely asked for
    from consumer.handlers.fetch import Fetch  # noqa: PLC0415
    from consumer.handlers.record import RecordEvents  # noqa: PLC0415

    readers = [one.name for one in (Fetch, RecordEvents, Commands) if topic in one.topics]
    if name not in readers:
        raise click.UsageError(f"--handler: {topic} is read by {', '.join(readers)}")
    return name


def _span(topic: Topic, options: Mapping[str, Any]) -> Span:
    """Return what was chosen. Raises UsageError for what cannot hold a record."""
    begin: Bound | None = options["begin"]
    end: Bound | None = options["end"]
    if begin is None and options["key"] is None:
        raise click.UsageError("give --from, or --key: a whole topic is rarely meant")
    span = Span(topic, key=options["key"], again=options["again"])
    if begin is not None:
        first = begin.offset or 0
        span = replace(span, since=begin.at, partition=begin.partition, first=first)
    if end is not None:
        if end.partition is not None and span.partition not in (None, end.partition):
            raise click.UsageError("--from and --to name two partitions")
        partition = span.partition if end.partition is None else end.partition
        span = replace(span, until=end.at, partition=partition, stop=end.offset)
    is_backward = span.since is not None and span.until is not None and span.since >= span.until
    if is_backward or (span.stop is not None and span.first >= span.stop):
        raise click.UsageError("--from must come before --to")
    return span


async def _count(settings: "Settings", span: Span) -> Tally:
    from consumer.app import open_log  # noqa: PLC0415

    tally = Tally()
    async with open_log(settings) as log, aclosing(chosen(log, span, tally)) as records:
        async for _ in records:
            tally.replayed += 1
    return tally


async def _replay(settings: "Settings", by: Replay, span: Span, how: tuple[str, int]) -> Tally:
    from consumer.app import open_log, utc_now  # noqa: PLC0415

    handler, rate = how
    async with open_log(settings) as log:
        with progress("records looked at") as shown:
            replayer = Replayer(log, by, clock=utc_now, pace=Pace(rate), shown=shown)
            with told_when_cut(replayer):
                await replayer.replay_span(span, handler=handler)
    note_absence(settings)
    return replayer.tally


# ---------------------------------------------------------------- shared with `dead-letters`


@contextmanager
def progress(title: str) -> Iterator[Shown]:
    """Give what moves a progress bar on a terminal; elsewhere nothing is shown."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=40),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[replayed]} put back"),
    )
    screen = Console(stderr=True, highlight=False)
    with Progress(*columns, console=screen, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task(title, total=None, replayed=0)

        def shown(tally: Tally) -> None:
            bar.update(task, total=tally.total, completed=tally.looked_at, replayed=tally.replayed)

        yield shown


@contextmanager
def told_when_cut(replayer: Replayer) -> Iterator[None]:
    """Say how far it came when the log stops answering."""
    try:
        yield
    except LogUnavailable:
        done = replayer.tally.replayed
        note(f"cut after {done} put back; the same again is harmless, and does the rest")
        raise


def note_absence(settings: "Settings") -> None:
    """Say it where no `serve` runs that would act on what was put back."""
    from consumer.folder import DataFolder  # noqa: PLC0415

    if settings.is_embedded and DataFolder(settings.data_dir).holder() is None:
        note("no `serve` runs on this folder: they are handled when it starts")


def tell(tally: Tally, by: Replay, *, is_dry: bool, as_json: bool) -> None:
    """Print what was done, or would be; exit code 1 where something was refused."""
    if as_json:
        print_json(
            {
                "replay": None if is_dry else by.id,
                "reason": by.reason,
                "records": tally.replayed,
                "were_replays": tally.were_replays,
                "refused": tally.refused,
            }
        )
    else:
        verb = "would be put back" if is_dry else "put back"
        click.echo(f"{tally.replayed} {verb}")
        if not is_dry and tally.replayed:
            click.echo(f"replay {by.id}: {by.reason}")
    if tally.were_replays:
        note(f"{tally.were_replays} left out: put there by a replay (--again takes them too)")
    for sentence in tally.refused[:_MAX_REFUSED_SHOWN]:
        note(f"not put back: {sentence}")
    if len(tally.refused) > _MAX_REFUSED_SHOWN:
        note(f"and {len(tally.refused) - _MAX_REFUSED_SHOWN} more")
    if tally.refused:
        click.get_current_context().exit(1)
