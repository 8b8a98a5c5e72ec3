"""
The log in memory: Kafka-shaped, with several partitions and no order between them.

What it holds lives in a `MemoryStore`, so that a second `MemoryLog` on the same store is
a restart. It can be told to fail with `refuse_next`.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Self
from zlib import crc32

from consumer.core.event import NewRecord, Topic
from consumer.errors import ConsumerError, LogUnavailable, RecordRefused
from consumer.ports import Clock, OnRevoked, Place, Position, Record

_READ_AT_ONCE = 500


@dataclass(slots=True, eq=False)
class MemoryStore:
    """Everything that survives a restart."""

    partitions: int = 3
    records: dict[Place, list[Record]] = field(default_factory=dict)
    first: dict[Place, int] = field(default_factory=dict)
    committed: dict[str, dict[Place, int]] = field(default_factory=dict)
    held: set[str] = field(default_factory=set)
    appended: asyncio.Event = field(default_factory=asyncio.Event)

    def wake(self) -> None:
        """Wake everybody who waits for an append."""
        self.appended.set()
        self.appended = asyncio.Event()

    def places(self, topics: Sequence[Topic]) -> list[Place]:
        """Return every (topic, partition) of some topics."""
        return [(topic, n) for topic in dict.fromkeys(topics) for n in range(self.partitions)]

    def span(self, place: Place) -> range:
        """Return the offsets held, from the oldest up to the next."""
        first = self.first.get(place, 0)
        return range(first, first + len(self.records.get(place, ())))

    def after(self, place: Place, offset: int) -> Sequence[Record]:
        """Return the records of one place from an offset on."""
        index = max(0, offset - self.first.get(place, 0))
        return self.records.get(place, [])[index:]


class MemoryLog:
    """A `consumer.ports.Log` whose records are lost with its store."""

    def __init__(
        self,
        *,
        clock: Clock,
        store: MemoryStore | None = None,
        max_record_bytes: int = 32 << 20,
    ) -> None:
        self.store = MemoryStore() if store is None else store
        self._clock = clock
        self._max_record_bytes = max_record_bytes
        self._refusals: deque[ConsumerError] = deque()

    @classmethod
    @asynccontextmanager
    async def open(
        cls, store: MemoryStore, *, clock: Clock, max_record_bytes: int = 32 << 20
    ) -> AsyncIterator[Self]:
        """Open a log on a store as one opens a real one."""
        yield cls(clock=clock, store=store, max_record_bytes=max_record_bytes)

    def refuse_next(self, error: ConsumerError, times: int = 1) -> None:
        """Let the next `times` appends raise `error` and leave nothing behind."""
        self._refusals.extend([error] * times)

    def records(self, *topics: Topic) -> list[Record]:
        """Return what the log holds of some topics (all when none is named), per key in order."""
        places = self.store.places(topics or tuple(Topic))
        found = [record for place in places for record in self.store.records.get(place, ())]
        return sorted(found, key=lambda record: record.appended_at)

    def forget(self, topic: Topic, partition: int, *, before: int) -> None:
        """Remove the records of one partition before an offset, as retention would."""
        place = (topic, partition)
        kept = list(self.store.after(place, before))
        self.store.first[place] = self.store.span(place).stop - len(kept)
        self.store.records[place] = kept

    async def append(self, record: NewRecord) -> Position:
        """See `consumer.ports.Publisher`."""
        if record.size > self._max_record_bytes:
            raise RecordRefused(record.topic, f"{record.size} bytes are over the limit")
        if not _is_text(record):
            raise RecordRefused(record.topic, "key or header name is no UTF-8 text")
        await asyncio.sleep(0)
        if self._refusals:
            raise self._refusals.popleft()
        partition = crc32(record.key.encode()) % self.store.partitions
        place = (record.topic, partition)
        position = Position(record.topic, partition, self.store.span(place).stop)
        self.store.records.setdefault(place, []).append(
            Record(position, record.key, record.value, record.headers, self._clock())
        )
        self.store.wake()
        return position

    async def ping(self) -> None:
        """Return when the next append would be taken; else raise LogUnavailable."""
        if self._refusals and isinstance(self._refusals[0], LogUnavailable):
            raise self._refusals[0]

    @asynccontextmanager
    async def subscribe(
        self,
        group: str,
        topics: Sequence[Topic],
        *,
        on_revoked: OnRevoked | None = None,
    ) -> AsyncIterator["MemorySubscription"]:
        """See `consumer.ports.Log`."""
        if group in self.store.held:
            raise LogUnavailable(f"group {group} is held by this process")
        self.store.held.add(group)
        try:
            yield MemorySubscription(self, group, topics, on_revoked=on_revoked)
        finally:
            self.store.held.discard(group)

    async def committed(self, group: str) -> dict[Place, int]:
        """See `consumer.ports.Log`."""
        return dict(self.store.committed.get(group, {}))

    async def offsets(self, topics: Sequence[Topic]) -> dict[Place, range]:
        """See `consumer.ports.Log`."""
        return {place: self.store.span(place) for place in self.store.places(topics)}

    async def read(
        self,
        topics: Sequence[Topic],
        *,
        key: str | None = None,
        start: Mapping[Place, int] | None = None,
        follow: bool = False,
    ) -> AsyncIterator[Record]:
        """See `consumer.ports.Log`."""
        cursor = _Cursor(self.store, topics, dict(start or {}))
        while True:
            appended = self.store.appended
            taken = cursor.take(_READ_AT_ONCE)
            for record in taken:
                if key is None or record.key == key:
                    yield record
            if taken:
                continue
            if not follow:
                return
            await appended.wait()

    async def wait_for_append(self, *, timeout: timedelta) -> None:
        """Return after the next append to this store, or at the timeout."""
        try:
            async with asyncio.timeout(timeout.total_seconds()):
                await self.store.appended.wait()
        except TimeoutError:
            return


class _Cursor:
    """A place in each partition, moving forward only."""

    def __init__(self, store: MemoryStore, topics: Sequence[Topic], at: dict[Place, int]) -> None:
        self._store = store
        self._topics = topics
        self._at = at
        self.gaps = 0

    def take(self, max_records: int, without: Collection[Place] = ()) -> list[Record]:
        taken: list[Record] = []
        for place in self._store.places(self._topics):
            if place in without:
                continue
            at = self._at.get(place, 0)
            oldest = self._store.span(place).start
            if at < oldest:
                self.gaps += oldest - at
                self._at[place] = at = oldest
            room = max_records - len(taken)
            found = self._store.after(place, at)[:room]
            self._at[place] = at + len(found)
            taken += found
        return taken

    def return_to(self, place: Place, offset: int) -> None:
        self._at[place] = offset


class MemorySubscription:
    """A group's subscription to a `MemoryLog`; `revoke` plays a cluster that takes places away."""

    def __init__(
        self,
        log: MemoryLog,
        group: str,
        topics: Sequence[Topic],
        *,
        on_revoked: OnRevoked | None = None,
    ) -> None:
        self._log = log
        self._topics = topics
        self._on_revoked = on_revoked
        self._committed = log.store.committed.setdefault(group, {})
        self._cursor = _Cursor(log.store, topics, dict(self._committed))

    @property
    def gaps(self) -> int:
        """How many records were gone before this group read them."""
        return self._cursor.gaps

    async def revoke(self, *places: Place) -> None:
        """Take places away and give them back, as a rebalance does: from the committed offset."""
        if self._on_revoked is not None:
            await self._on_revoked(places)
        for place in places:
            self._cursor.return_to(place, self._committed.get(place, 0))

    async def poll(
        self, *, max_records: int, timeout: timedelta, without: Collection[Place] = ()
    ) -> Sequence[Record]:
        """See `consumer.ports.Subscription`."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout.total_seconds()
        await asyncio.sleep(0)
        while True:
            if taken := self._cursor.take(max_records, without):
                return taken
            left = deadline - loop.time()
            if left <= 0:
                return []
            await self._log.wait_for_append(timeout=timedelta(seconds=left))

    async def commit(self, offsets: Mapping[Place, int]) -> None:
        """See `consumer.ports.Subscription`."""
        for place, at in offsets.items():
            self._committed[place] = max(at, self._committed.get(place, 0))

    async def lag(self) -> int:
        """See `consumer.ports.Subscription`."""
        spans = await self._log.offsets(self._topics)
        return sum(
            max(0, span.stop - max(span.start, self._committed.get(place, 0)))
            for place, span in spans.items()
        )


def _is_text(record: NewRecord) -> bool:
    try:
        record.key.encode()
        for name, _ in record.headers:
            name.encode()
    except UnicodeEncodeError:
        return False
    return True
