"""
Which records a replay takes: what a log holds of a topic now, or a span of it.

Reading ends where the log ended when it began, for a replay appends to the very topic that
it reads.
"""

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from consumer.core.event import NewRecord, Topic, format_time
from consumer.core.replay import replay_in
from consumer.ports import Log, Place, Position, Record


@dataclass(frozen=True, slots=True)
class Span:
    """
    Which records of a topic: by the log's own time from `since` up to `until`, by offset from
    `offsets` of one partition, of one key; the end is not included. What a replay put there is
    left out unless `again`.
    """

    topic: Topic
    since: datetime | None = None
    until: datetime | None = None
    partition: int | None = None
    first: int = 0
    stop: int | None = None
    key: str | None = None
    again: bool = False

    def holds(self, at: datetime) -> bool:
        """Tell whether an instant of the log's time is within the span."""
        return (self.since is None or self.since <= at) and (self.until is None or at < self.until)

    def describes(self) -> dict[str, Any]:
        """Return the span as JSON, for the record."""
        return {
            "topic": self.topic.value,
            "since": format_time(self.since) if self.since else None,
            "until": format_time(self.until) if self.until else None,
            "partition": self.partition,
            "first": self.first,
            "stop": self.stop,
            "key": self.key,
            "again": self.again,
        }


@dataclass
class Tally:
    """How far a replay has come. `looked_at` of `total` is for a progress bar."""

    total: int = 0
    looked_at: int = 0
    replayed: int = 0
    were_replays: int = 0
    refused: list[str] = field(default_factory=list)


async def held(
    log: Log, topic: Topic, *, key: str | None = None, within: Mapping[Place, range] | None = None
) -> AsyncGenerator[Record, None]:
    """
    Give what the log holds of a topic now, or within these offsets, and nothing that comes later.

    Raises LogUnavailable.
    """
    spans = await log.offsets([topic])
    wanted = {place: _within(span, place, within) for place, span in spans.items()}
    left = {place: span for place, span in wanted.items() if span}
    if not left:
        return
    start = {place: span.start if span else spans[place].stop for place, span in wanted.items()}
    records = log.read([topic], key=key, start=start)
    try:
        async for record in records:
            place = (record.position.topic, record.position.partition)
            span = left.get(place)
            if span is not None and record.position.offset in span:
                yield record
            if span is not None and record.position.offset >= span.stop - 1:
                del left[place]
            if not left:
                return
    finally:
        if isinstance(records, AsyncGenerator):
            await records.aclose()


def _within(span: range, place: Place, wanted: Mapping[Place, range] | None) -> range:
    if wanted is None:
        return span
    asked = wanted.get(place, range(0))
    return range(max(span.start, asked.start), min(span.stop, asked.stop))


async def record_at(log: Log, place: Place, offset: int) -> Record | None:
    """Return the record at a position, or None where the log no longer holds it."""
    within = {place: range(offset, offset + 1)}
    async with aclosing(held(log, place[0], within=within)) as records:
        return await anext(records, None)


async def chosen(log: Log, span: Span, tally: Tally) -> AsyncGenerator[Record, None]:
    """Give the records of a span, counting in `tally`. Raises LogUnavailable."""
    within = await _places(log, span)
    tally.total = sum(map(len, within.values()))
    async with aclosing(held(log, span.topic, key=span.key, within=within)) as records:
        async for record in records:
            tally.looked_at += 1
            if not span.holds(record.appended_at):
                continue
            if replay_in(record.headers) is not None and not span.again:
                tally.were_replays += 1
                continue
            yield record


async def _places(log: Log, span: Span) -> dict[Place, range]:
    """Return the offsets that a span's records can stand at."""
    spans = await log.offsets([span.topic])
    if span.partition is None:
        return dict(spans)
    place = (span.topic, span.partition)
    there = spans.get(place, range(0))
    stop = there.stop if span.stop is None else span.stop
    return {place: range(max(there.start, span.first), min(there.stop, stop))}


def place_text(position: Position) -> str:
    """Return a position as marks and origins write it: topic/partition/offset."""
    return f"{position.topic.value}/{position.partition}/{position.offset}"


def plain(record: Record) -> NewRecord:
    """Return a record as it was before the log gave it a position."""
    return NewRecord(record.position.topic, record.key, record.value, record.headers)
