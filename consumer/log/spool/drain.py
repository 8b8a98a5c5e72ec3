"""
Emptying one spool into Kafka: read, send, and let go of what is acknowledged.

A record's place counts as done once it is acknowledged, or durable elsewhere: as a dead
letter, among the refused, or at the end of the spool when others of its topic go and it
does not. A kill at any moment sends records twice and never skips one.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta

from consumer.core.event import NewRecord, Topic
from consumer.core.progress import Progress
from consumer.errors import LogUnavailable, RecordRefused
from consumer.log.spool import marks
from consumer.log.spool.gate import Gate
from consumer.log.spool.spool import Spool
from consumer.ports import Clock, Place, Position, Publisher, Record
from consumer.setting_aside import letter_before_log
from consumer.telemetry import Metrics, get_logger

_MAX_IN_HAND = 512
_MAX_IN_HAND_BYTES = 8 << 20
"""Of one topic. A larger record goes alone."""

_POLL_RECORDS = 256
_FIRST_RECORD_BYTES = 2 << 20
# A guess, until records of this topic were seen: bodies may be megabytes.

_PAUSE_S = 1.0
"""Before a record that Kafka did not take is tried again, or goes to the end of the spool."""

_COMMIT_EVERY_S = 0.02
_TRIM_RECORDS = 512
_TRIM_BYTES = 8 << 20
_LOOK_AGAIN_S = 0.5
"""After a read that gave nothing although something waits: a file may be unreadable now."""

_LAST_COMMIT_S = 2.0
_NO_WAIT = timedelta(0)
_ORIGIN = "spool"
_REASON = "record_refused"


@dataclass(frozen=True, slots=True)
class DrainParts:
    """
    What every drain of a process shares. `kafka` is the drain's own lane to Kafka.
    """

    kafka: Publisher
    gate: Gate
    clock: Clock
    metrics: Metrics
    stop_budget: timedelta


class Drain:
    """Drains one spool. `run` once."""

    def __init__(self, spool: Spool, parts: DrainParts) -> None:
        self.spool = spool
        self._kafka = parts.kafka
        self._gate = parts.gate
        self._clock = parts.clock
        self._metrics = parts.metrics
        self._stop_budget_s = parts.stop_budget.total_seconds()
        self._progress: dict[Place, Progress] = {}
        self._committed: dict[Place, int] = {}
        self._in_hand: dict[Position, Record] = {}
        self._count: Counter[Topic] = Counter()
        self._bytes: Counter[Topic] = Counter()
        self._record_bytes = _FIRST_RECORD_BYTES
        self._untrimmed = 0
        self._untrimmed_bytes = 0
        self._drained = 0
        self._began_at: datetime | None = None
        # Two events, because each is cleared by whoever waits for it.
        self._news = asyncio.Event()
        self._to_commit = asyncio.Event()
        self._log = get_logger()
        spool.on_news = self._news.set

    @property
    def oldest_at(self) -> datetime | None:
        """Since when the oldest record in hand waits; None when none is in hand."""
        firsts = {record.position.topic: record for record in reversed(self._in_hand.values())}
        return min((marks.waiting_since(record) for record in firsts.values()), default=None)

    def in_hand(self, topic: Topic) -> int:
        """Return how many records of a topic are on their way."""
        return self._count[topic]

    async def run(self, stop: asyncio.Event, *, is_over: Callable[[], bool] | None = None) -> None:
        """
        Drain until `stop`, or until `is_over`; then finish what is in hand and commit.

        What Kafka does not take within the stop budget stays for the next start.
        """
        async with asyncio.TaskGroup() as tasks:
            watcher = tasks.create_task(self._watch(stop))
            committer = tasks.create_task(self._commit_loop())
            senders: set[asyncio.Task[None]] = set()
            while not (stop.is_set() or (is_over is not None and is_over())):
                for record in await self._next(stop):
                    sender = tasks.create_task(self._see_through(record))
                    senders.add(sender)
                    sender.add_done_callback(senders.discard)
            await self._finish(senders)
            watcher.cancel()
            committer.cancel()
        with suppress(LogUnavailable, TimeoutError):
            async with asyncio.timeout(_LAST_COMMIT_S):
                await self._commit()

    async def _watch(self, stop: asyncio.Event) -> None:
        await stop.wait()
        self._news.set()

    async def _finish(self, senders: set[asyncio.Task[None]]) -> None:
        if senders and any(self._gate.course(topic).is_direct for topic in self._count):
            await asyncio.wait(senders, timeout=self._stop_budget_s)
        for sender in senders:
            sender.cancel()

    # ------------------------------------------------------------ reading

    async def _next(self, stop: asyncio.Event) -> Sequence[Record]:
        """Return the next records to send; none after a while, or when something changed."""
        full = [topic for topic in Topic if self._is_full(topic)]
        waiting = self.spool.waiting
        unread = any(waiting[topic] > self._count[topic] for topic in Topic if topic not in full)
        if not unread or stop.is_set():
            await self._news.wait()
            self._news.clear()
            return ()
        try:
            records = await self._poll(full)
        except LogUnavailable as exc:
            self._log.warning("log.unavailable", spool=self.spool.name, error=exc.code)
            records = ()
        if not records:
            await asyncio.sleep(_LOOK_AGAIN_S)
            if not self._in_hand:
                with suppress(LogUnavailable):
                    await self.spool.recount()
        for record in records:
            self._take(record)
        return records

    async def _poll(self, full: Sequence[Topic]) -> Sequence[Record]:
        room = min(
            (_MAX_IN_HAND_BYTES - self._bytes[topic]) // self._record_bytes
            for topic in Topic
            if topic not in full
        )
        without = [(topic, number) for topic in full for number in self.spool.partitions]
        return await self.spool.subscription.poll(
            max_records=max(1, min(_POLL_RECORDS, room)), timeout=_NO_WAIT, without=without
        )

    def _is_full(self, topic: Topic) -> bool:
        return self._count[topic] >= _MAX_IN_HAND or self._bytes[topic] >= _MAX_IN_HAND_BYTES

    def _take(self, record: Record) -> None:
        position = record.position
        place = (position.topic, position.partition)
        self._progress.setdefault(place, Progress()).begin(position.offset)
        self._in_hand[position] = record
        self._count[position.topic] += 1
        self._bytes[position.topic] += len(record.value)
        # Follows the sizes that come, quickly up and slowly down.
        size = len(record.value) + 1024
        self._record_bytes = max(size, (self._record_bytes * 7 + size) // 8)
        if self._began_at is None:
            self._began_at = self._clock()

    # ------------------------------------------------------------ one record

    async def _see_through(self, record: Record) -> None:
        """Return once the record is durable elsewhere."""
        since = marks.waiting_since(record)
        pending = marks.unmarked(record)
        while True:
            problem = await self._maybe_send(pending)
            if problem is None:
                break
            if problem.is_final:
                letter = await self._set_aside(pending, problem.text)
                if letter is None:
                    break
                pending = letter
                continue
            if await self._has_moved(pending, since, problem):
                break
        self._done(record)

    async def _maybe_send(self, record: NewRecord) -> "_Problem | None":
        """Send the record when its turn has come; return what is in the way, if anything."""
        async with self._gate.turn(record.topic):
            taken = self._gate.taken(record.topic)
            try:
                await self._kafka.append(record)
            except LogUnavailable as exc:
                self._gate.failed(record.topic, exc.problem)
                return _Problem(exc.problem, taken)
            except RecordRefused as exc:
                return _Problem(exc.problem, taken, is_final=True)
        self._gate.took(record.topic)
        self._metrics.spool_drained.inc()
        return None

    async def _has_moved(self, record: NewRecord, since: datetime, problem: "_Problem") -> bool:
        """
        Put the record at the end of the spool when others of its topic go and it does not.

        Otherwise it waits here: when none goes, there is nobody in whose way it is.
        """
        if not self._gate.course(record.topic).is_direct:
            return False  # the gate says when to try again
        await asyncio.sleep(_PAUSE_S)
        if self._gate.taken(record.topic) == problem.taken_before:
            return False
        # With its mark it may be over the limit of a record: then it waits where it is.
        with suppress(LogUnavailable, RecordRefused):
            await self.spool.move(record, since)
            self._log.debug("spool.record_moved", topic=record.topic.value, problem=problem.text)
            return True
        return False

    async def _set_aside(self, record: NewRecord, problem: str) -> NewRecord | None:
        """Return the dead letter of a refused record; None when it is among the refused now."""
        if record.topic is not Topic.DEAD_LETTERS:
            self._log.error(
                "record.dead_lettered",
                handler=_ORIGIN,
                request_id=record.key,
                error=_REASON,
                problem=problem,
            )
            return letter_before_log(
                record, _REASON, origin=_ORIGIN, at=self._clock(), problem=problem
            )
        try:
            await self.spool.refuse(record, problem)
        except (LogUnavailable, RecordRefused) as exc:
            # Nowhere to put it: hold it, and with it the spool's mark.
            self._log.warning("log.unavailable", spool=self.spool.name, error=exc.code)
            await asyncio.sleep(_PAUSE_S)
            return record
        note_refused(record, problem)
        return None

    def _done(self, record: Record) -> None:
        position = record.position
        place = (position.topic, position.partition)
        self._progress[place].finish(position.offset)
        del self._in_hand[position]
        self._count[position.topic] -= 1
        self._bytes[position.topic] -= len(record.value)
        self.spool.left(record)
        self._untrimmed += 1
        self._untrimmed_bytes += len(record.value)
        self._drained += 1
        self._to_commit.set()
        self._news.set()

    # ------------------------------------------------------------ letting go

    async def _commit_loop(self) -> None:
        while True:
            await self._to_commit.wait()
            self._to_commit.clear()
            try:
                await self._commit()
                await self._maybe_trim()
            except LogUnavailable as exc:
                # The marks only rise: the next commit says the same and more.
                self._log.warning("log.unavailable", spool=self.spool.name, error=exc.code)
                await asyncio.sleep(_PAUSE_S)
                self._to_commit.set()
            await asyncio.sleep(_COMMIT_EVERY_S)

    async def _commit(self) -> None:
        marks_ = {
            place: progress.low_water
            for place, progress in self._progress.items()
            if progress.low_water is not None and progress.low_water != self._committed.get(place)
        }
        if marks_:
            await self.spool.subscription.commit(marks_)
            self._committed.update(marks_)

    async def _maybe_trim(self) -> None:
        is_idle = not self._in_hand and not self.spool.waiting.total()
        if is_idle:
            self._tell_drained()
        is_much = self._untrimmed >= _TRIM_RECORDS or self._untrimmed_bytes >= _TRIM_BYTES
        if self._untrimmed and (is_idle or is_much):
            self._untrimmed = self._untrimmed_bytes = 0
            # Giving pages back takes a while: not while a backlog needs the disk.
            await self.spool.trim(gives_back=is_idle)

    def _tell_drained(self) -> None:
        if self._began_at is None:
            return
        spent = (self._clock() - self._began_at) // timedelta(milliseconds=1)
        self._log.info(
            "spool.drained", spool=self.spool.name, records=self._drained, duration_ms=spent
        )
        self._began_at, self._drained = None, 0


@dataclass(frozen=True, slots=True)
class _Problem:
    """Why Kafka did not take a record; `taken_before` is how many others it had by then."""

    text: str
    taken_before: int
    is_final: bool = False


def note_refused(record: NewRecord, problem: str) -> None:
    """Tell that a record is among the refused: somebody must act."""
    get_logger().error(
        "spool.record_refused", topic=record.topic.value, request_id=record.key, problem=problem
    )
