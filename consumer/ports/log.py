"""The seam to the event log: records in, records out, at least once."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

from consumer.core.event import Headers, NewRecord, Topic


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """Where a record stands. `offset` starts at 0 and only rises within (topic, partition)."""

    topic: Topic
    partition: int
    offset: int


@dataclass(frozen=True, slots=True)
class Record:
    """A record at its position, exactly as it was appended. `appended_at` is the log's own time."""

    position: Position
    key: str
    value: bytes = field(repr=False)
    headers: Headers = field(repr=False)
    appended_at: datetime


class Publisher(Protocol):
    """Takes records for good."""

    async def append(self, record: NewRecord) -> Position:
        """
        Return the record's position once it is durable, never before.

        Raises LogUnavailable when it may be tried again (then the record may or may not be
        in the log) and RecordRefused when this log will never take it.
        """
        ...


class Subscription(Protocol):
    """One group's reading of some topics: at least once, from where it committed."""

    async def poll(self, *, max_records: int, timeout: timedelta) -> Sequence[Record]:
        """
        Return the next records, per partition in order, each once in this subscription.

        Waits at most `timeout` for the first one and then returns none. The first poll of a
        group that never committed starts at the earliest record. Raises LogUnavailable.
        """
        ...

    async def commit(self, offsets: Mapping[tuple[Topic, int], int]) -> None:
        """
        Store durably, per (topic, partition), the next offset to read. Never moves back. Raises
        LogUnavailable.
        """
        ...

    async def lag(self) -> int:
        """Return how many records stand after the committed offsets. Raises LogUnavailable."""
        ...


class Log(Publisher, Protocol):
    """Where events live, in order per partition."""

    def subscribe(
        self, group: str, topics: Sequence[Topic]
    ) -> AbstractAsyncContextManager[Subscription]:
        """
        Open the group's subscription; held by one holder at a time. Raises LogUnavailable when it
        is held elsewhere.
        """
        ...
