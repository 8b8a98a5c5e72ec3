"""
Publishing to Kafka, for the whole process: one `KafkaPublisher`, whoever appends.

The hot path, and the port. `keeping` keeps a producer running, `session` is one, `faults`
says whose fault an error is, `permits` how much may be under way, `trouble` what is wrong.
"""

import asyncio
from collections.abc import AsyncIterator, Collection, Coroutine
from contextlib import asynccontextmanager, suppress
from itertools import count
from typing import Any, Self

from consumer.core.event import NewRecord, Topic
from consumer.deadlines import SharedDeadline, Wait
from consumer.errors import LogUnavailable
from consumer.log.kafka.faults import know_more_errors
from consumer.log.kafka.keeping import Keeper
from consumer.log.kafka.overheard import overheard
from consumer.log.kafka.permits import Lane, Permits
from consumer.log.kafka.place import KafkaLimits, KafkaPlace, client_options, topic_name
from consumer.log.kafka.sending import Sending, SessionEnded
from consumer.log.kafka.sizes import size_in_memory
from consumer.log.kafka.trouble import Trouble
from consumer.ports import Position

_ANSWERED_S = 2.0
# A sign of life that recent needs no new question.


class KafkaPublisher:
    """
    Takes records for good: a record's position is returned once all in-sync replicas have it.

    What an append gave up waiting for may still appear in the log: the client goes on sending
    it, and its bytes count against the caps until the brokers answered or its producer is
    discarded. Where Kafka had a record already and has forgotten where, the offset is not
    the record's own. Made by `open`.
    """

    def __init__(
        self, place: KafkaPlace, limits: KafkaLimits, trouble: Trouble, topics: Collection[Topic]
    ) -> None:
        self._limits = limits
        self._trouble = trouble
        self._deadline = SharedDeadline(limits.send_deadline.total_seconds())
        self._names = {topic: topic_name(place, topic) for topic in Topic}
        self._watched = [self._names[topic] for topic in topics]
        self._permits = Permits(max_records=limits.max_records, max_bytes=limits.max_bytes)
        self._keeper = Keeper(place, limits, trouble, self._watched)
        self._numbers = count()
        self._active = 0
        self._idle = asyncio.Event()
        self._is_closing = False
        self._answered_at = 0.0

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        place: KafkaPlace,
        limits: KafkaLimits | None = None,
        *,
        topics: Collection[Topic] = tuple(Topic),
    ) -> AsyncIterator[Self]:
        """
        Open a publisher, whether Kafka is there or not. Raises ConfigError for bad certificates.

        `topics` are those that this process writes: readiness and size limits look at them.
        Leaving finishes what callers wait for, within the limits' `close_deadline`.
        """
        client_options(place)
        know_more_errors()
        limits = limits or KafkaLimits()
        trouble = Trouble(place, limits)
        with overheard() as trouble.heard:
            publisher = cls(place, limits, trouble, topics)
            keeping = asyncio.create_task(publisher._keeper.run())
            try:
                yield publisher
                await publisher._finish()
            finally:
                publisher._is_closing = True
                keeping.cancel()
                with suppress(asyncio.CancelledError):
                    await keeping

    # ---------------------------------------------------------------- the port

    def append(self, record: NewRecord) -> Coroutine[Any, Any, Position]:
        """Return the record's position once it is durable: see `consumer.ports.Publisher`."""
        # Not `async`: on the hot path a coroutine that only awaits another one costs too.
        return self.append_in(self._permits.main, record)

    async def append_in(self, lane: Lane, record: NewRecord) -> Position:
        """Append within the room of a lane."""
        name, size = self._names[record.topic], size_in_memory(record)
        sending = Sending(record, name, size, lane, next(self._numbers))
        self._active += 1
        try:
            position = await self._deadline.in_time(sending, self._append(sending))
        except TimeoutError as exc:
            raise LogUnavailable(self._trouble.late()) from exc
        finally:
            self._active -= 1
            if self._is_closing and not self._active:
                self._idle.set()
        self._trouble.taken(name)
        return position

    def lane(self, share: float) -> "PublisherLane":
        """
        Return a publisher with room of its own: this share (0 to 1) of the caps, taken off ours.

        For a backlog that drains beside live records, so that neither starves the other.
        """
        return PublisherLane(self, self._permits.lane(share))

    async def ping(self) -> None:
        """
        Return when a record would be taken now, as far as that is known without writing one.

        Raises LogUnavailable with what is in the way.
        """
        if trouble := self.trouble():
            raise LogUnavailable(trouble)
        loop, whom = asyncio.get_running_loop(), self._trouble.whom
        try:
            await self._deadline.in_time(Wait(), self._keeper.opened.wait())
        except TimeoutError as exc:
            problem = self._trouble.down or f"{whom} has not answered yet"
            raise LogUnavailable(problem) from exc
        if (session := self._keeper.session) is None:
            raise LogUnavailable(self._trouble.down or f"{whom} has just gone")
        if loop.time() - max(self._answered_at, session.acknowledged_at) > _ANSWERED_S:
            if not await session.is_answered():
                raise LogUnavailable(f"{whom} does not answer")
            self._answered_at = loop.time()
        if problems := session.problems_of(self._watched):
            raise LogUnavailable("; ".join(problems))

    def trouble(self) -> str:
        """Return why records are not taken now, with what to do about it; or nothing."""
        session = self._keeper.session
        return self._trouble.sentence(session.acknowledged_at if session else 0.0)

    # ---------------------------------------------------------------- the hot path

    async def _append(self, sending: Sending) -> Position:
        if self._is_closing:
            raise LogUnavailable("the service is stopping")
        if self._trouble.refusing and (why := self._trouble.maybe_refusal(sending.name)):
            raise LogUnavailable(why)
        keeper = self._keeper
        if not sending.lane.maybe_take(sending.size):
            await sending.lane.take(sending.size)
        try:
            while True:
                session = keeper.session or await keeper.turn(sending)
                if not keeper.sizes.may_pass(sending.name, sending.size):
                    await keeper.sizes.judge(sending.name, sending.record, session)
                try:
                    taken = await session.send(sending)
                except SessionEnded:
                    sending.end_try()
                    continue
                return Position(sending.record.topic, taken.partition, taken.offset)
        finally:
            sending.leave()

    async def _finish(self) -> None:
        self._is_closing = True
        if self._active:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._limits.close_deadline.total_seconds()):
                    await self._idle.wait()


class PublisherLane:
    """A publisher with room of its own on another one's producer."""

    def __init__(self, publisher: KafkaPublisher, lane: Lane) -> None:
        self._publisher = publisher
        self._lane = lane

    async def append(self, record: NewRecord) -> Position:
        """Return the record's position once it is durable: see `consumer.ports.Publisher`."""
        return await self._publisher.append_in(self._lane, record)

    async def ping(self) -> None:
        """Return when a record would be taken now. Raises LogUnavailable."""
        await self._publisher.ping()
