"""
Publishing to Kafka, for the whole process: one `KafkaPublisher`, whoever appends.

It keeps a producer running, and judges what becomes of records when one ends. What a single
producer does is in `session`, whose fault an error is in `faults`, room in `permits`.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Collection, Coroutine
from contextlib import asynccontextmanager, suppress
from itertools import count
from operator import attrgetter
from typing import Any, Self

from aiokafka.errors import KafkaError

from consumer.core.event import NewRecord, Topic
from consumer.errors import ConfigError, LogUnavailable
from consumer.log.kafka.deadlines import SharedDeadline, Wait
from consumer.log.kafka.faults import describe_error, know_more_errors
from consumer.log.kafka.overheard import Overheard, overheard
from consumer.log.kafka.permits import Lane, Permits
from consumer.log.kafka.place import KafkaLimits, KafkaPlace, client_options, topic_name
from consumer.log.kafka.sending import Sending, SessionEnded
from consumer.log.kafka.session import CLOSED, Session
from consumer.log.kafka.sizes import TopicSizes, size_in_memory
from consumer.ports import Position
from consumer.telemetry import get_logger

_WATCH_S = 0.5
# Between two looks at how old the oldest record in hand is.
_SUSPICIOUS_S = 1.0
# A record unacknowledged for so long is a reason to ask whether any broker answers.
_FIRST_RETRY_S = 0.05
_SHORT_LIFE_S = 1.0
# A producer that ended sooner is followed by the next one only after a pause, which grows.
_BLAME_S = 30.0
# For so long a topic that refused a record counts as refusing, unless it takes one before.
_HEARD_S = 15.0
_ANSWERED_S = 2.0
# A sign of life that recent needs no new question.
_REFUSED_S = 1.0
# For so long nothing more is sent to a topic that refused a record: each refusal ends a producer,
# and so costs the other topics too.


class KafkaPublisher:
    """
    Takes records for good: a record's position is returned once all in-sync replicas have it.

    `async with` connects in the background, so Kafka may be absent. What an append gave up
    waiting for may still appear in the log: the client goes on sending it, and its bytes count
    against the caps until the brokers answered or its producer is discarded.
    """

    def __init__(
        self,
        place: KafkaPlace,
        limits: KafkaLimits | None = None,
        *,
        topics: Collection[Topic] = tuple(Topic),
    ) -> None:
        """Name the `topics` that this process writes: readiness and size limits look at them."""
        self._place = place
        self._loop = asyncio.get_running_loop()
        self._limits = limits or KafkaLimits()
        self._deadline_s = self._limits.send_deadline.total_seconds()
        self._deadline = SharedDeadline(self._deadline_s)
        self._names = {topic: topic_name(place, topic) for topic in Topic}
        self._watched = [self._names[topic] for topic in topics]
        self._permits = Permits(
            max_records=self._limits.max_records, max_bytes=self._limits.max_bytes
        )
        self._sizes = TopicSizes(self._limits, self._watched)
        self._numbers = count()
        self._active = 0
        self._idle = asyncio.Event()
        self._is_closing = False
        self._line: dict[Sending, None] = {}
        self._session: Session | None = None  # while anybody may send
        self._opened = asyncio.Event()
        self._down = ""  # why no producer can be had, while none can
        self._blame: dict[str, tuple[float, str]] = {}
        self._late_at: float | None = None
        self._answered_at = 0.0
        self._heard = Overheard()
        self._log = get_logger()

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

        Leaving finishes what callers wait for, within the limits' `close_deadline`.
        """
        client_options(place)
        know_more_errors()
        publisher = cls(place, limits, topics=topics)
        with overheard() as publisher._heard:
            async with asyncio.TaskGroup() as tasks:
                keeping = tasks.create_task(publisher._keep_running(tasks))
                try:
                    yield publisher
                    await publisher._finish()
                finally:
                    publisher._is_closing = True
                    keeping.cancel()
                    await asyncio.wait({keeping})

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
            self._late_at = self._loop.time()
            raise LogUnavailable(self._why_late()) from exc
        finally:
            self._active -= 1
            if self._is_closing and not self._active:
                self._idle.set()
        if self._blame:
            self._blame.pop(name, None)
        self._late_at = None
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
        loop = self._loop
        try:
            await self._deadline.in_time(Wait(), self._opened.wait())
        except TimeoutError as exc:
            raise LogUnavailable(self._down or f"{self._whom()} has not answered yet") from exc
        if (session := self._session) is None:
            raise LogUnavailable(self._down or f"{self._whom()} has just gone")
        answered_at = max(self._answered_at, session.acknowledged_at)
        if loop.time() - answered_at > _ANSWERED_S:
            if not await session.is_answered():
                raise LogUnavailable(f"{self._whom()} does not answer")
            self._answered_at = loop.time()
        if problems := session.problems_of(self._watched):
            raise LogUnavailable("; ".join(problems))

    def trouble(self) -> str:
        """Return why records are not taken now, with what to do about it; or nothing."""
        if self._down:
            return self._down
        now, session = self._loop.time(), self._session
        for name, (at, sentence) in list(self._blame.items()):
            if now - at < _BLAME_S:
                return sentence
            del self._blame[name]
        if self._late_at is not None and session is not None:
            # Records nobody waited for any more may have been acknowledged since.
            if session.acknowledged_at < self._late_at - self._deadline_s:
                return self._why_late()
            self._late_at = None
        return ""

    # ---------------------------------------------------------------- appending

    async def _append(self, sending: Sending) -> Position:
        if self._is_closing:
            raise LogUnavailable("the service is stopping")
        if self._blame:
            self._keep_away(sending.name)
        if not self._sizes.may_pass(sending.name, sending.size):
            await self._sizes.judge(sending.name, sending.record, self._session)
        if not sending.lane.maybe_take(sending.size):
            await sending.lane.take(sending.size)
        try:
            while True:
                session = self._session or await self._turn(sending)
                try:
                    taken = await session.send(sending)
                except SessionEnded:
                    sending.end_try()
                    continue
                return Position(sending.record.topic, taken.partition, taken.offset)
        finally:
            sending.leave()

    async def _turn(self, sending: Sending) -> Session:
        """Wait in line for a producer. Raises LogUnavailable while none can be had."""
        if self._down:
            raise LogUnavailable(self._down)
        sending.turn = self._loop.create_future()
        self._line[sending] = None
        try:
            return await sending.turn
        finally:
            del self._line[sending]

    def _keep_away(self, name: str) -> None:
        at, sentence = self._blame.get(name, (0.0, ""))
        if sentence and self._loop.time() - at < _REFUSED_S:
            raise LogUnavailable(sentence)

    # ---------------------------------------------------------------- keeping a producer

    async def _keep_running(self, tasks: asyncio.TaskGroup) -> None:
        loop, pause = self._loop, _FIRST_RETRY_S
        while True:
            session = await self._connect()
            started_at = loop.time()
            try:
                await self._admit(session)
                while not await _is_set(session.ended, _WATCH_S):
                    await self._watch(session)
            except asyncio.CancelledError:
                await session.close()
                raise
            tasks.create_task(session.close())
            if loop.time() - started_at > _SHORT_LIFE_S or session.has_accused:
                pause = _FIRST_RETRY_S
                continue
            await asyncio.sleep(pause)
            pause = min(pause * 2, self._limits.max_retry_gap.total_seconds())

    async def _connect(self) -> Session:
        """Return a running producer, however long that takes."""
        pause = _FIRST_RETRY_S
        while True:
            asked_at = time.monotonic()
            try:
                session = await self._start()
            except (KafkaError, OSError, TimeoutError, ConfigError) as exc:
                self._set_down(exc, asked_at)
                await asyncio.sleep(pause)
                pause = min(pause * 2, self._limits.max_retry_gap.total_seconds())
                continue
            if self._sizes.batch_bytes >= session.batch_bytes:
                return session
            await session.close()

    async def _start(self) -> Session:
        batch_bytes = self._sizes.batch_bytes
        session = Session(
            self._place, self._limits, batch_bytes=batch_bytes, on_end=self._session_ended
        )
        await session.start(self._watched)
        if self._sizes.is_due():
            with suppress(LogUnavailable):  # then the brokers judge
                await self._sizes.read(session)
        return session

    async def _admit(self, session: Session) -> None:
        """
        Let in who waits, in the order of their coming; suspects before, each alone.

        Open to everybody only when the line is empty, so that nobody overtakes.
        """
        self._down = ""
        while self._line and not session.ended.is_set():
            line = [one for one in self._line if one.turn is not None and not one.turn.done()]
            line.sort(key=attrgetter("number"))
            suspect = next((one for one in line if one.is_suspect), None)
            if suspect is not None:
                await suspect.try_alone(session)
                continue
            for sending in line:
                sending.start_turn(session)
            await asyncio.sleep(0)
        if not session.ended.is_set():
            self._session = session
            self._opened.set()
            self._log.info("producer.started", batch_bytes=session.batch_bytes)

    async def _watch(self, session: Session) -> None:
        age_s = session.oldest_age_s()
        if age_s > self._limits.stall_deadline.total_seconds():
            session.end(f"nothing was acknowledged for {age_s:.0f} s")
        elif age_s > _SUSPICIOUS_S and await session.is_answered() is False:
            session.end("no broker answers")
        elif self._sizes.is_due():
            with suppress(LogUnavailable):
                await self._sizes.read(session)
            if self._sizes.batch_bytes < session.batch_bytes:
                session.end("the topics take smaller batches now")

    def _session_ended(self, session: Session, reason: str) -> None:
        if self._session is session:
            self._session = None
            self._opened.clear()
        if reason == CLOSED:
            return
        now = self._loop.time()
        for name, sentence in session.refusing.items():
            self._blame[name] = (now, sentence)
        if session.has_accused:
            self._sizes.expire()
        self._log.warning("producer.ended", reason=reason)

    def _set_down(self, exc: Exception, asked_at: float) -> None:
        reason = self._heard.last_reason(since=asked_at) or describe_error(exc)
        if isinstance(exc, ConfigError):
            reason = str(exc)
        if not self._down:
            self._log.warning("log.unavailable", problem=reason)
        self._down = f"{self._whom()} does not answer: {reason}"
        for sending in self._line:
            sending.refuse_turn(LogUnavailable(self._down))

    async def _finish(self) -> None:
        self._is_closing = True
        if self._active:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._limits.close_deadline.total_seconds()):
                    await self._idle.wait()

    # ---------------------------------------------------------------- words

    def _whom(self) -> str:
        return f"Kafka at {','.join(self._place.servers)}"

    def _why_late(self) -> str:
        late = f"Kafka did not acknowledge within {self._deadline_s:g} s"
        reason = self._heard.last_reason(since=time.monotonic() - _HEARD_S)
        return f"{late}: {reason}" if reason else late


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


async def _is_set(event: asyncio.Event, within_s: float) -> bool:
    try:
        async with asyncio.timeout(within_s):
            await event.wait()
    except TimeoutError:
        return False
    return True
