"""
One spool on disk, held: what waits for Kafka, and what Kafka refused for good.

Two embedded logs. A waiting record leaves when the drain's mark has passed it: what is
below the mark is trimmed at once, so that the size limit bounds what waits.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Self, TypeVar

from consumer.core.event import NewRecord, Topic
from consumer.errors import LogUnavailable
from consumer.log.embedded import EmbeddedLog
from consumer.log.files import LogFolder
from consumer.log.room import LogLimits
from consumer.log.spool import marks
from consumer.log.spool.counting import count_waiting
from consumer.log.spool.places import HeldPlace
from consumer.ports import Clock, Place, Position, Record, Subscription
from consumer.telemetry import get_logger

DRAIN_GROUP = "drain"
RETRY_GROUP = "retry"
TOPICS = tuple(Topic)

NOWHERE = -1
"""The partition of a position in the spool: Kafka has not given one yet."""

_FAR_AHEAD = datetime(9999, 1, 1, tzinfo=UTC)
_RETRY_AT_ONCE = 16
_NO_WAIT = timedelta(0)
_MIB = 1 << 20

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class SpoolLimits:
    """
    What bounds one spool.

    `max_bytes` bounds the records that wait, by `NewRecord.size`, and once more those that
    Kafka refused; the rest is as in `LogLimits`. `stop_budget` is for sends in hand at a stop.
    """

    max_bytes: int = 1 << 30
    reserve_bytes: int = 512 << 20
    max_record_bytes: int = 32 << 20
    max_pending_bytes: int = 64 << 20
    stop_budget: timedelta = timedelta(seconds=3)

    def of_log(self, group: str) -> LogLimits:
        """Return the bounds of one of the two logs, trimmed as far as `group` has committed."""
        # The files hold more than what waits: heads of blocks, and what is drained but not
        # yet trimmed. The room for a record that moves to the end must never be used up.
        return LogLimits(
            max_bytes=self.max_bytes + self.max_bytes // 4 + 64 * _MIB,
            reserve_bytes=self.reserve_bytes,
            max_record_bytes=self.max_record_bytes,
            max_pending_bytes=self.max_pending_bytes,
            retention=dict.fromkeys(Topic, _NO_WAIT),
            own_groups=frozenset({group}),
        )


class Spool:
    """
    One spool, open. Belongs to the loop it was opened on.

    `on_news` is called after each append. Counts are of this process's own knowledge; where
    they may be off after an error they are too high, until `recount`.
    """

    def __init__(
        self,
        held: HeldPlace,
        logs: tuple[EmbeddedLog, EmbeddedLog],
        subscription: Subscription,
        limits: SpoolLimits,
    ) -> None:
        self.held = held
        self.subscription = subscription
        self.on_news: Callable[[], None] = _do_nothing
        self.waiting: Counter[Topic] = Counter()
        self.waiting_bytes = 0
        self.refused_count = 0
        self.unreadable = 0
        self.partitions: set[int] = set()
        self._log, self._refused = logs
        self._limits = limits
        self._appended: Counter[Topic] = Counter()
        self._writing: set[asyncio.Task[Any]] = set()

    @classmethod
    @asynccontextmanager
    async def open(
        cls, held: HeldPlace, *, clock: Clock, limits: SpoolLimits
    ) -> AsyncIterator[Self]:
        """Open the spool of a held place, which stays held. Raises as `EmbeddedLog.open` does."""
        place = held.place
        async with AsyncExitStack() as stack:
            log, refused = [
                await stack.enter_async_context(
                    EmbeddedLog.open(path, clock=clock, limits=limits.of_log(group))
                )
                for path, group in ((place.waiting, DRAIN_GROUP), (place.refused, RETRY_GROUP))
            ]
            subscription = await stack.enter_async_context(log.subscribe(DRAIN_GROUP, TOPICS))
            spool = cls(held, (log, refused), subscription, limits)
            spool.waiting_bytes = await spool.recount()
            try:
                yield spool
            finally:
                # The logs answer everybody, also what their closing could not finish.
                await stack.aclose()
                if spool._writing:
                    await asyncio.wait(spool._writing)

    @property
    def name(self) -> str:
        """The spool's name."""
        return self.held.place.name

    @property
    def is_empty(self) -> bool:
        """Nothing waits here, and nothing is refused."""
        return not self.waiting.total() and not self.refused_count

    def has_unread_files(self) -> bool:
        """Tell whether files are left that may hold what nobody could read."""
        places = (self.held.place.waiting, self.held.place.refused)
        is_closed = any(len(LogFolder(path).list().present) > 1 for path in places)
        return bool(self.unreadable) or is_closed

    async def recount(self) -> int:
        """
        Count anew what waits, from the disk; return the bytes in use. Raises LogUnavailable.
        """
        before = self._appended.copy()
        place = self.held.place
        waiting = await asyncio.to_thread(count_waiting, place.waiting, DRAIN_GROUP)
        refused = await asyncio.to_thread(count_waiting, place.refused, RETRY_GROUP)
        # What came meanwhile may be counted twice: too many is mended by the next count.
        self.waiting = waiting.records + (self._appended - before)
        self.waiting_bytes = self.waiting_bytes if self.waiting.total() else 0
        self.partitions |= waiting.partitions
        self.refused_count = refused.total
        self.unreadable = waiting.unreadable + refused.unreadable
        return waiting.size_bytes

    # ------------------------------------------------------------ in

    async def append(self, record: NewRecord) -> Position:
        """
        Return where a new event waits, once that is durable.

        Raises LogUnavailable, and RecordRefused as any log.
        """
        if self.waiting_bytes + record.size > self._limits.max_bytes:
            raise LogUnavailable("the spool has reached its size limit")
        position = await self._put(record)
        return Position(position.topic, NOWHERE, position.offset)

    async def move(self, record: NewRecord, since: datetime) -> None:
        """
        Put a record that stands in the way at the end, durably; its first place is done then.
        """
        await self._put(marks.moved(record, since))

    async def _put(self, record: NewRecord) -> Position:
        return await self._in_full(self._put_and_count(record))

    async def _in_full(self, writing: Coroutine[Any, Any, T]) -> T:
        """Return what it returns; it goes on to its end when the caller gives up."""
        # A record is on its way to the disk whether or not anybody waits for it. Uncounted, it
        # would be drained in the place of one that came later, and that one be left behind.
        task = asyncio.create_task(writing)
        self._writing.add(task)
        task.add_done_callback(self._end_writing)
        return await asyncio.shield(task)

    def _end_writing(self, task: "asyncio.Task[Any]") -> None:
        self._writing.discard(task)
        if not task.cancelled():
            task.exception()  # its caller may have gone

    async def _put_and_count(self, record: NewRecord) -> Position:
        position = await self._log.append(record)
        self._appended[record.topic] += 1
        self.waiting[record.topic] += 1
        self.waiting_bytes += record.size
        self.partitions.add(position.partition)
        self.on_news()
        return position

    async def refuse(self, record: NewRecord, problem: str) -> Position:
        """Put a record that Kafka will not take, even as a dead letter, among the refused."""
        return await self._in_full(self._refuse_and_count(record, problem))

    async def _refuse_and_count(self, record: NewRecord, problem: str) -> Position:
        position = await self._refused.append(marks.refused(record, problem))
        self.refused_count += 1
        return Position(position.topic, NOWHERE, position.offset)

    async def retry_refused(self) -> int:
        """Let every refused record wait for Kafka once more; return how many."""
        count = 0
        async with self._refused.subscribe(RETRY_GROUP, TOPICS) as refused:
            left = self.refused_count
            while left and (
                records := await refused.poll(
                    max_records=min(left, _RETRY_AT_ONCE), timeout=_NO_WAIT
                )
            ):
                for record in records:
                    await self._put(marks.unmarked(record))
                await refused.commit(
                    {_place(record): record.position.offset + 1 for record in records}
                )
                left -= len(records)
                count += len(records)
                self.refused_count -= len(records)
        await self._refused.trim(_FAR_AHEAD)
        return count

    async def fulfil_retry(self) -> None:
        """Try the refused records again if somebody asked for it. Raises LogUnavailable."""
        place = self.held.place
        if not await asyncio.to_thread(place.wants_retry):
            return
        count = await self.retry_refused()
        await asyncio.to_thread(place.forget_retry)
        get_logger().info("spool.retried", spool=self.name, records=count)

    # ------------------------------------------------------------ out

    def left(self, record: Record) -> None:
        """Count one record less: it is durable elsewhere."""
        topic = record.position.topic
        self.waiting[topic] = max(0, self.waiting[topic] - 1)
        self.waiting_bytes = max(0, self.waiting_bytes - marks.size_of(record))

    async def trim(self, *, gives_back: bool) -> None:
        """Remove what is below the drain's mark. Raises LogUnavailable."""
        # Whatever its age, and whatever the clock says of it.
        await self._log.trim(_FAR_AHEAD, gives_back=gives_back)

    async def ping(self) -> None:
        """Return when a new event would be taken; else raise LogUnavailable."""
        limits = self._limits
        # One that is larger than this may still be refused, as in the embedded log.
        probe = min(limits.max_record_bytes, limits.max_bytes // 20)
        if self.waiting_bytes + probe > limits.max_bytes:
            raise LogUnavailable("the spool has reached its size limit")
        await self._log.ping()


def _place(record: Record) -> Place:
    return record.position.topic, record.position.partition


def _do_nothing() -> None:
    """Nobody drains yet."""
