"""The seam to the event log: records in, records out, at least once."""

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

from consumer.core.event import Headers, NewRecord, Topic

Place = tuple[Topic, int]
"""A topic and one of its partitions."""

OnRevoked = Callable[[Collection[Place]], Awaitable[None]]
"""Called with places that go to another member; what it commits before it returns still counts."""


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """
    Where a record stands. `offset` starts at 0 and only rises within (topic, partition).

    Partition -1 says that it waits in a spool, at the spool's offset, and has no place yet.
    """

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

    async def poll(
        self, *, max_records: int, timeout: timedelta, without: Collection[Place] = ()
    ) -> Sequence[Record]:
        """
        Return the next records, per partition in order, none of the places in `without`.

        Waits at most `timeout` for the first one and then returns none. The first poll of a
        group that never committed starts at the earliest record. Each record comes once,
        unless its place was revoked in between: then from the committed offset again.
        Membership in the group does not depend on how often this is called. Raises
        LogUnavailable, also when reading stalled and the subscription must be opened anew.
        """
        ...

    async def commit(self, offsets: Mapping[Place, int]) -> None:
        """
        Store durably, per place, the next offset to read. Never moves back; places that are
        not held any more are passed over. Raises LogUnavailable.
        """
        ...

    async def lag(self) -> int:
        """
        Return how many records stand after the committed offsets in the places held here.
        Raises LogUnavailable.
        """
        ...


class Log(Publisher, Protocol):
    """Where events live, in order per partition."""

    def subscribe(
        self, group: str, topics: Sequence[Topic], *, on_revoked: OnRevoked | None = None
    ) -> AbstractAsyncContextManager[Subscription]:
        """
        Open the group's subscription.

        On one machine a group is held by one holder at a time; on a cluster its members
        share the partitions, and `on_revoked` hears of those that move elsewhere. Raises
        LogUnavailable when it cannot be opened, or is held elsewhere.
        """
        ...

    async def ping(self) -> None:
        """Return when the log would take a record now; else raise LogUnavailable."""
        ...

    async def offsets(self, topics: Sequence[Topic]) -> Mapping[Place, range]:
        """
        Return the offsets held, from the oldest up to the next, by place. Raises LogUnavailable.
        """
        ...

    async def committed(self, group: str) -> Mapping[Place, int]:
        """Return what a group has committed, by place. Raises LogUnavailable."""
        ...

    def read(
        self,
        topics: Sequence[Topic],
        *,
        key: str | None = None,
        start: Mapping[Place, int] | None = None,
        follow: bool = False,
    ) -> AsyncIterator[Record]:
        """
        Give the records that are there, of one key if named, from `start` on.

        Per partition in order; no group, no lock. With `follow` it goes on for ever.
        Raises LogUnavailable.
        """
        ...
