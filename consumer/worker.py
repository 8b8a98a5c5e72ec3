"""
The loop of one consumer group: record, handler, outcome, commit.

Ordered per key, concurrent across keys up to a limit. An offset counts as done only
after its effect, its parked copy or its dead letter is durable; the low-water mark is
what is committed, so that a kill at any moment repeats records and never skips one.
"""

import asyncio
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from consumer.core.event import Topic, format_time
from consumer.core.policy import DeadLetter, Done, Outcome, Policies, RetryAt, outcome_of_error
from consumer.core.progress import Progress
from consumer.errors import (
    ConsumerError,
    InvariantBroken,
    LogUnavailable,
    RecordRefused,
    Unavailable,
)
from consumer.ports import Clock, Ledger, Log, Parked, Record, Subscription
from consumer.setting_aside import dead_letter, parked_id, without_bytes
from consumer.telemetry import Metrics, get_logger

_log = get_logger()

_POLL = timedelta(milliseconds=500)
_MAX_RECORDS = 256
_IN_PLACE = timedelta(seconds=2)
# A retry due sooner waits in place and keeps its key's order; a later one is parked, for a
# partition never sleeps.
_MAX_PAUSE_S = 5.0
_LAG_EVERY_S = 5.0
_MAX_SURPRISES = 5
# How often a record may hit a mistake of ours before it is set aside, whole.


class Handler(Protocol):
    """What one group does with a record. Twice must be harmless."""

    @property
    def name(self) -> str:
        """The group's name."""
        ...

    @property
    def topics(self) -> tuple[Topic, ...]: ...

    async def handle(self, record: Record, attempt: int) -> Outcome:
        """Return what becomes of the record; `attempt` counts from 1. Raises ConsumerError."""
        ...


@dataclass(frozen=True, slots=True)
class WorkerLimits:
    """What one worker takes in hand at most, and how long one attempt and a stop may last."""

    concurrency: int = 64
    max_in_hand: int = 1024
    max_in_hand_bytes: int = 64 * 1024 * 1024
    handler_deadline: timedelta = timedelta(seconds=120)
    stop_budget: timedelta = timedelta(seconds=15)


class Worker:
    """One handler's group on a log, with a ledger to park in."""

    def __init__(  # noqa: PLR0913  a worker joins these parts
        self,
        handler: Handler,
        log: Log,
        ledger: Ledger,
        *,
        clock: Clock,
        policies: Policies,
        metrics: Metrics,
        limits: WorkerLimits = WorkerLimits(),
    ) -> None:
        self.handler = handler
        self._log = log
        self._ledger = ledger
        self._clock = clock
        self._policies = policies
        self._metrics = metrics
        self._limits = limits
        self._slots = asyncio.Semaphore(limits.concurrency)
        self._chains: dict[str, deque[Record]] = {}
        self._progress: dict[tuple[Topic, int], Progress] = {}
        self._committed: dict[tuple[Topic, int], int] = {}
        self._running: set[asyncio.Task[None]] = set()
        self._in_hand = 0
        self._in_hand_bytes = 0
        # Two events, because each is cleared by whoever waits for it.
        self._to_commit = asyncio.Event()
        self._has_room = asyncio.Event()
        self._handled = 0

    async def run(self, stop: asyncio.Event) -> None:
        """Handle records until `stop`, then finish what is in hand within the budget and commit."""
        async with self._log.subscribe(self.handler.name, self.handler.topics) as subscription:
            _log.info("worker.started", handler=self.handler.name)
            stopped = asyncio.create_task(stop.wait())
            try:
                async with asyncio.TaskGroup() as tasks:
                    committer = tasks.create_task(self._commit_loop(subscription))
                    measurer = tasks.create_task(self._measure_lag(subscription))
                    await self._poll_loop(subscription, tasks, stop, stopped)
                    await self._drain()
                    committer.cancel()
                    measurer.cancel()
                    self._abandon()
            finally:
                stopped.cancel()
            await self._commit(subscription)
        _log.info("worker.stopped", handler=self.handler.name, records=self._handled)

    async def handle_parked(self, parked: Parked) -> None:
        """Handle a parked record whose time has come, and unpark it when it is done."""
        outcome = await self._attempt(parked.record, parked.attempt)
        if isinstance(outcome, RetryAt):
            await self._park(parked.record, outcome, parked.attempt + 1, parked.parked_at)
            return
        if isinstance(outcome, DeadLetter):
            await self._dead_letter(parked.record, outcome, parked.attempt)
        await self._ledger.unpark(parked)

    # ------------------------------------------------------------ taking records in hand

    async def _poll_loop(
        self,
        subscription: Subscription,
        tasks: asyncio.TaskGroup,
        stop: asyncio.Event,
        stopped: "asyncio.Task[bool]",
    ) -> None:
        failures = 0
        while not stop.is_set():
            if self._is_full():
                await self._wait_for_room(stopped)
                continue
            room = min(_MAX_RECORDS, self._limits.max_in_hand - self._in_hand)
            try:
                records = await subscription.poll(max_records=room, timeout=_POLL)
            except LogUnavailable as exc:
                failures += 1
                _log.warning("log.unavailable", handler=self.handler.name, error=exc.code)
                await asyncio.wait({stopped}, timeout=_pause_s(failures))
                continue
            failures = 0
            for record in records:
                self._take(record, tasks)

    def _is_full(self) -> bool:
        return (
            self._in_hand >= self._limits.max_in_hand
            or self._in_hand_bytes >= self._limits.max_in_hand_bytes
        )

    async def _wait_for_room(self, stopped: "asyncio.Task[bool]") -> None:
        """Return when a record was finished, or the stop has come."""
        self._has_room.clear()
        finished = asyncio.create_task(self._has_room.wait())
        try:
            await asyncio.wait({finished, stopped}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            finished.cancel()

    def _take(self, record: Record, tasks: asyncio.TaskGroup) -> None:
        place = (record.position.topic, record.position.partition)
        self._progress.setdefault(place, Progress()).begin(record.position.offset)
        self._in_hand += 1
        self._in_hand_bytes += len(record.value)
        chain = self._chains.get(record.key)
        if chain is not None:
            chain.append(record)
            return
        self._chains[record.key] = deque([record])
        task = tasks.create_task(self._run_chain(record.key))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _run_chain(self, key: str) -> None:
        """Handle the records of one key, one after another, until none is left."""
        chain = self._chains[key]
        while chain:
            record = chain[0]
            async with self._slots:
                await self._see_through(record)
            chain.popleft()
            self._finish(record)
        del self._chains[key]

    def _finish(self, record: Record) -> None:
        place = (record.position.topic, record.position.partition)
        self._progress[place].finish(record.position.offset)
        self._in_hand -= 1
        self._in_hand_bytes -= len(record.value)
        self._handled += 1
        self._to_commit.set()
        self._has_room.set()

    # ------------------------------------------------------------ one record

    async def _see_through(self, record: Record) -> None:
        """Return once the record's effect, its parked copy or its dead letter is durable."""
        attempt = 1
        while True:
            outcome = await self._attempt(record, attempt)
            if isinstance(outcome, Done):
                return
            if isinstance(outcome, RetryAt) and outcome.when - self._clock() <= _IN_PLACE:
                await asyncio.sleep(max(0.0, (outcome.when - self._clock()).total_seconds()))
                attempt += 1
                continue
            try:
                if isinstance(outcome, RetryAt):
                    await self._park(record, outcome, attempt + 1, self._clock())
                else:
                    await self._dead_letter(record, outcome, attempt)
            except Unavailable:
                # Nowhere to put it: hold it, and with it the partition's low-water mark.
                await asyncio.sleep(self._policies.retry_base.total_seconds())
                continue
            return

    async def _attempt(self, record: Record, attempt: int) -> Outcome:
        began = self._clock()
        try:
            async with asyncio.timeout(self._limits.handler_deadline.total_seconds()):
                outcome = await self.handler.handle(record, attempt)
        except TimeoutError:
            outcome = RetryAt(self._clock() + self._policies.max_retry_gap, "deadline")
        except Exception as exc:  # noqa: BLE001  the outermost loop: log, count, set aside
            outcome = self._outcome_of(exc, record, attempt)
        self._tell(record, outcome, attempt, began)
        return outcome

    def _outcome_of(self, error: Exception, record: Record, attempt: int) -> Outcome:
        """Return what becomes of a record whose handling raised: no error ends the service."""
        if not isinstance(error, ConsumerError) or isinstance(error, InvariantBroken):
            return self._surprise(record, error, attempt)
        now = self._clock()
        try:
            return outcome_of_error(error, attempt=attempt, now=now, policies=self._policies)
        except ConsumerError:  # one that no handler should let through
            return self._surprise(record, error, attempt)

    def _surprise(self, record: Record, error: Exception, attempt: int) -> Outcome:
        _log.error(
            "invariant.broken",
            handler=self.handler.name,
            request_id=record.key,
            error=type(error).__name__,
            exc_info=error,
        )
        if attempt < _MAX_SURPRISES:
            return RetryAt(self._clock() + self._policies.retry_base, "internal_error")
        return DeadLetter("internal_error", type(error).__name__)

    def _tell(self, record: Record, outcome: Outcome, attempt: int, began: datetime) -> None:
        kind = type(outcome).__name__
        self._metrics.records.labels(self.handler.name, kind).inc()
        place = {
            "handler": self.handler.name,
            "request_id": record.key,
            "topic": record.position.topic.value,
            "offset": record.position.offset,
        }
        if isinstance(outcome, Done):
            spent = (self._clock() - began) // timedelta(milliseconds=1)
            _log.info("record.handled", **place, duration_ms=spent)
        elif isinstance(outcome, RetryAt):
            when = format_time(outcome.when)
            _log.warning(
                "record.retried", **place, error=outcome.reason, attempt=attempt, retry_at=when
            )

    async def _park(
        self, record: Record, outcome: RetryAt, attempt: int, parked_at: datetime
    ) -> None:
        identity = parked_id(self.handler.name, record)
        await self._ledger.park(
            Parked(
                identity,
                self.handler.name,
                record,
                attempt,
                outcome.reason,
                parked_at,
                outcome.when,
            )
        )
        _log.info("record.parked", handler=self.handler.name, request_id=record.key)

    async def _dead_letter(self, record: Record, outcome: DeadLetter, attempt: int) -> None:
        letter = dead_letter(record, outcome, handler=self.handler.name, attempt=attempt)
        if record.position.topic is not Topic.DEAD_LETTERS:
            try:
                await self._log.append(letter)
            except RecordRefused:
                # With its reason it is over the log's limit: then a note without the bytes, which
                # stay where the record came from.
                await self._log.append(without_bytes(letter, len(record.value)))
        _log.error(
            "record.dead_lettered",
            handler=self.handler.name,
            request_id=record.key,
            error=outcome.reason,
            problem=outcome.problem,
            attempt=attempt,
        )

    # ------------------------------------------------------------ committing and stopping

    async def _commit_loop(self, subscription: Subscription) -> None:
        failures = 0
        while True:
            await self._to_commit.wait()
            self._to_commit.clear()
            if await self._commit(subscription):
                failures = 0
                continue
            failures += 1
            await asyncio.sleep(_pause_s(failures))
            self._to_commit.set()

    async def _commit(self, subscription: Subscription) -> bool:
        """Commit every mark that rose; False when the log did not take them."""
        marks = {
            place: progress.low_water
            for place, progress in self._progress.items()
            if progress.low_water is not None and progress.low_water != self._committed.get(place)
        }
        if not marks:
            return True
        try:
            await subscription.commit(marks)
        except LogUnavailable as exc:
            # The marks only rise: the next commit says the same and more.
            _log.warning("log.unavailable", handler=self.handler.name, error=exc.code)
            return False
        self._committed.update(marks)
        return True

    async def _measure_lag(self, subscription: Subscription) -> None:
        gauge = self._metrics.lag_records.labels(self.handler.name)
        while True:
            with suppress(LogUnavailable):
                gauge.set(await subscription.lag())
            await asyncio.sleep(_LAG_EVERY_S)

    async def _drain(self) -> None:
        try:
            async with asyncio.timeout(self._limits.stop_budget.total_seconds()):
                while self._in_hand:
                    self._has_room.clear()
                    await self._has_room.wait()
        except TimeoutError:
            return

    def _abandon(self) -> None:
        """Cancel what the budget did not finish: it stays above the mark and comes again."""
        for task in self._running:
            task.cancel()


def _pause_s(failures: int) -> float:
    """Return the wait before asking the log again: doubling from 0.2 s."""
    doubled: float = 0.1 * 2 ** min(failures, 10)
    return min(doubled, _MAX_PAUSE_S)
