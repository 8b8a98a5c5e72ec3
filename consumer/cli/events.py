"""
`events`: the log as JSON lines, a line per record.

With a group, a line counts as read once it is written and flushed, never before. Nothing
is decoded here: a record that this version cannot read is shown like any other.
"""

import asyncio
import select
import sys
import time
from base64 import b64encode
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TextIO

import click

from consumer.cli.setup import Explained, log_to_stderr, run_loop, stop_on_signals, with_settings
from consumer.core.event import Topic
from consumer.core.text import dump_json, printable
from consumer.ports import Record, Subscription
from consumer.subscription import check_group, next_batch

if TYPE_CHECKING:
    from consumer.ports import Log
    from consumer.settings import Settings

_BATCH = 200
_SLICE = 20
_POLL = timedelta(milliseconds=500)
_READER_LOOK_S = 0.5
_COMMIT_EVERY_S = 0.5
# With a slow reader a batch takes long; a kill then repeats half a second of it, not all.


@dataclass(frozen=True, slots=True)
class Question:
    """What to show: one key or all, until the end or on and on, for a group or for nobody."""

    topics: Sequence[Topic]
    key: str | None
    group: str | None
    follow: bool


@click.command(
    cls=Explained,
    example="""\
fal-consumer events --topic fal.results --follow --group billing --json | ./on_result""",
)
@click.option(
    "--topic",
    "names",
    multiple=True,
    required=True,
    metavar="TOPIC",
    help="fal.completions, fal.results, fal.lifecycle, fal.commands, fal.dead-letters. Repeat it.",
)
@click.option("--key", metavar="ID", help="Only records with this key, a request id.")
@click.option("--follow", is_flag=True, help="Go on with what comes; without it end when read.")
@click.option("--group", metavar="NAME", help="Go on where this group's last line was written.")
@click.option("--json", "as_json", is_flag=True, help="A JSON line for each record, whole.")
@with_settings
def events(settings: "Settings", *, names: tuple[str, ...], as_json: bool, **chosen: Any) -> None:
    """
    Read the event log: a line per record, the oldest of each partition first.

    With --json: topic, partition, offset, key, headers (text), value_base64. With --group the
    same command again goes on after the last line that it finished writing; a line may come
    twice after a kill, and never gets lost. `serve` may run or not.
    """
    log_to_stderr()
    prefix = settings.topic_prefix
    topics = [topic_named(name, prefix) for name in names]
    if chosen["group"] is not None:
        check_group(chosen["group"])
        if chosen["key"] is not None:
            raise click.UsageError("give --key or --group: a group reads every record")
    writer = LineWriter(prefix=prefix, as_json=as_json)
    run_loop(_events(settings, Question(topics, **chosen), writer))


def topic_named(name: str, prefix: str) -> Topic:
    """Return the topic of a name, with its prefix or without."""
    try:
        return Topic(name.removeprefix(prefix))
    except ValueError as exc:
        known = ", ".join(f"{prefix}{topic}" for topic in Topic)
        raise click.BadParameter(f"expected one of {known}", param_hint="--topic") from exc


class LineWriter:
    """
    Writes records to standard output. `written` holds the next offset after each line that is
    flushed, by topic and partition.
    """

    def __init__(self, *, prefix: str, as_json: bool) -> None:
        self._prefix = prefix
        self._as_json = as_json
        self._out = sys.stdout.buffer
        self.written: dict[tuple[Topic, int], int] = {}

    def write(self, records: Sequence[Record]) -> None:
        """Write the records. Raises BrokenPipeError when nobody reads any more."""
        for record in records:
            line = self._line(record)
            self._out.write(line + b"\n")
            self._out.flush()
            position = record.position
            self.written[position.topic, position.partition] = position.offset + 1

    def _line(self, record: Record) -> bytes:
        position = record.position
        topic = f"{self._prefix}{position.topic}"
        if self._as_json:
            return dump_json(
                {
                    "topic": topic,
                    "partition": position.partition,
                    "offset": position.offset,
                    "key": record.key,
                    "headers": headers_of(record),
                    "value_base64": b64encode(record.value).decode("ascii"),
                }
            )
        kind = headers_of(record).get("ce_type", "?").removeprefix("fal-consumer.")
        when = record.appended_at.strftime("%Y-%m-%d %H:%M:%S")
        place = f"{topic}/{position.partition}/{position.offset}"
        text = f"{when}  {place:<28} {record.key}  {kind}  {len(record.value)} bytes"
        return printable(text).encode("utf-8", "replace")


def headers_of(record: Record) -> Mapping[str, str]:
    """Return a record's headers as text; of a name that stands twice, the last one."""
    return {name: value.decode("utf-8", "replace") for name, value in record.headers}


async def _events(settings: "Settings", question: Question, writer: LineWriter) -> None:
    from consumer.app import open_log  # noqa: PLC0415

    stop = asyncio.Event()
    with stop_on_signals(stop):
        async with open_log(settings) as log:
            if question.group is None:
                await _show(log, question, writer, stop)
                return
            async with log.subscribe(question.group, question.topics) as subscription:
                await _consume(subscription, writer, stop, follow=question.follow)


async def _show(log: "Log", question: Question, writer: LineWriter, stop: asyncio.Event) -> None:
    """Write what is there, or on and on, until `stop` or until nobody reads any more."""
    records = log.read(question.topics, key=question.key, follow=question.follow)
    writing = asyncio.ensure_future(_write_all(records, writer))
    ending = asyncio.ensure_future(_until_unread(stop))
    try:
        await asyncio.wait({writing, ending}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (writing, ending):
            task.cancel()
        await asyncio.wait({writing, ending})
    if not writing.cancelled():
        writing.result()


async def _write_all(records: AsyncIterator[Record], writer: LineWriter) -> None:
    async for record in records:
        writer.write([record])


async def _until_unread(stop: asyncio.Event) -> None:
    """Return when asked to stop, or when the other end of standard output is closed."""
    while not stop.is_set() and not is_unread(sys.stdout):
        try:
            async with asyncio.timeout(_READER_LOOK_S):
                await stop.wait()
        except TimeoutError:
            continue


async def _consume(
    subscription: Subscription, writer: LineWriter, stop: asyncio.Event, *, follow: bool
) -> None:
    """Write batch after batch, committing what is written."""
    while not stop.is_set() and not is_unread(sys.stdout):
        records = await next_batch(subscription, max_records=_BATCH, follow=follow, timeout=_POLL)
        if not records and not follow:
            return
        due = time.monotonic() + _COMMIT_EVERY_S
        try:
            for begin in range(0, len(records), _SLICE):
                # In a thread: a slow reader of the pipe must not keep signals from us.
                await asyncio.to_thread(writer.write, records[begin : begin + _SLICE])
                if stop.is_set():
                    break
                if time.monotonic() >= due:
                    await subscription.commit(writer.written)
                    due = time.monotonic() + _COMMIT_EVERY_S
        finally:
            if writer.written:
                await subscription.commit(writer.written)


def is_unread(stream: TextIO) -> bool:
    """Tell whether a stream is a pipe or socket whose other end is closed."""
    try:
        descriptor = stream.fileno()
    except (OSError, ValueError):  # no file behind it
        return False
    poller = select.poll()
    poller.register(descriptor, 0)  # errors and hang-ups are told unasked
    return any(found & (select.POLLERR | select.POLLHUP) for _, found in poller.poll(0))
