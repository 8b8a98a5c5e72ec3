"""
The loop of one consumer group: record, handler, outcome, commit.

Ordered per key, concurrent across keys up to a limit. An offset counts as done only
after its effect, its parked copy or its dead letter is durable; the low-water mark is
what is committed, so that a kill at any moment repeats records and never skips one.
"""

import asyncio
from collections.abc import Collection
from contextlib import suppress
from datetime import timedelta

from consumer.core.policy import Policies
from consumer.errors import LogUnavailable
from consumer.ports import Clock, Ledger, Log, Parked, Place, Subscription
from consumer.telemetry import Metrics, get_logger
from consumer.working.attempts import Attempts
from consumer.working.hand import Hand, Held
from consumer.working.terms import Handler, WorkerLimits

__all__ = ["Handler", "Worker", "WorkerLimits"]

_log = get_logger()

_POLL = timedelta(milliseconds=500)
_MAX_RECORDS = 256
_MAX_PAUSE_S = 5.0
_LAG_EVERY_S = 5.0
_COMMIT_EVERY_S = 0.05
# A commit costs as much as some records do, and says no more than the next one.
_REOPEN_AFTER = 5
# So many polls that failed in a row: then the subscription may be what is broken.
_END_S = 2.0
# For handlers that were told to end, before their places are somebody else's.


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
        limits: WorkerLimits = WorkerLimits(),  # noqa: B008  frozen
    ) -> None:
        self.handler = handler
        self._log = log
        self._metrics = metrics
        self._limits = limits
        self._attempts = Attempts(
            handler, log, ledger, clock, policies, metrics, limits.handler_deadline
        )
        self._slots = asyncio.Semaphore(limits.concurrency)
        self._hand = Hand(limits)
        self._subscription: Subscription | None = None
        self._to_commit = asyncio.Event()
        self._handled = 0

    async def run(self, stop: asyncio.Event) -> None:
        """
        Handle records until `stop`, then finish what is in hand within the budget and commit.

        A log that cannot be read is opened anew, for ever.
        """
        _log.info("worker.started", handler=self.handler.name)
        stopped = asyncio.create_task(stop.wait())
        failures = 0
        try:
            while not stop.is_set():
                problem = await self._read(stop, stopped)
                if problem is None:
                    failures = 0
                    continue
                failures += 1
                _log.warning(
                    "subscription.restarted", handler=self.handler.name, problem=problem.problem
                )
                await asyncio.wait({stopped}, timeout=_pause_s(failures))
        finally:
            stopped.cancel()
        _log.info("worker.stopped", handler=self.handler.name, records=self._handled)

    async def handle_parked(self, parked: Parked) -> None:
        """Handle a parked record whose time has come, and unpark it when it is done."""
        await self._attempts.handle_parked(parked)

    # ------------------------------------------------------------ one subscription

    async def _read(
        self, stop: asyncio.Event, stopped: "asyncio.Task[bool]"
    ) -> LogUnavailable | None:
        """Read until `stop`, or until the subscription is of no use: then return why."""
        try:
            async with self._log.subscribe(
                self.handler.name, self.handler.topics, on_revoked=self._let_go
            ) as subscription:
                self._subscription = subscription
                problem = await self._handle_all(subscription, stop, stopped)
        except LogUnavailable as exc:
            problem = exc
        finally:
            self._subscription = None
            self._hand.drop(self._hand.places())
        return problem

    async def _handle_all(
        self, subscription: Subscription, stop: asyncio.Event, stopped: "asyncio.Task[bool]"
    ) -> LogUnavailable | None:
        async with asyncio.TaskGroup() as tasks:
            committer = tasks.create_task(self._commit_loop(subscription))
            measurer = tasks.create_task(self._measure_lag(subscription))
            problem = await self._poll_loop(subscription, tasks, stop, stopped)
            budget = self._limits.stop_budget if problem is None else self._limits.revoke_budget
            await self._drain(self._hand.places(), budget)
            committer.cancel()
            measurer.cancel()
            await self._commit(subscription)
            # What the budget did not finish stays above the mark, and comes again.
            await self._end(self._hand.drop(self._hand.places()))
        return problem

    async def _poll_loop(
        self,
        subscription: Subscription,
        tasks: asyncio.TaskGroup,
        stop: asyncio.Event,
        stopped: "asyncio.Task[bool]",
    ) -> LogUnavailable | None:
        failures = 0
        while not stop.is_set():
            room = min(_MAX_RECORDS, self._hand.room)
            if not room:
                await self._wait_for_room(stopped)
                continue
            try:
                records = await subscription.poll(
                    max_records=room, timeout=_POLL, without=self._hand.places_too_far()
                )
            except LogUnavailable as exc:
                failures += 1
                if failures >= _REOPEN_AFTER:
                    return exc
                self._tell_unavailable(exc)
                await asyncio.wait({stopped}, timeout=_pause_s(failures))
                continue
            failures = 0
            for record in records:
                if self._hand.take(record):
                    tasks.create_task(self._run_chain(record.key))
        return None

    async def _wait_for_room(self, stopped: "asyncio.Task[bool]") -> None:
        """Return when a record was finished, or the stop has come."""
        self._hand.moved.clear()
        moved = asyncio.create_task(self._hand.moved.wait())
        try:
            await asyncio.wait({moved, stopped}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            moved.cancel()

    async def _run_chain(self, key: str) -> None:
        """Handle the records of one key, one after another, until none is left."""
        while (held := self._hand.next_of(key)) is not None:
            async with self._slots:
                if not held.is_dropped:
                    await self._see_through(held)
            if self._hand.finish(held):
                self._handled += 1
                self._to_commit.set()

    async def _see_through(self, held: Held) -> None:
        """Return once the record is done, or its place was taken away."""
        held.is_running = True
        try:
            # Without a time: it is there to be ended from outside, in this task.
            async with asyncio.timeout(None) as held.scope:
                await self._attempts.see_through(held.record)
        except TimeoutError:
            if held.scope is None or not held.scope.expired():
                raise
        finally:
            held.is_running = False
            self._hand.moved.set()

    # ------------------------------------------------------------ giving up places

    async def _let_go(self, places: Collection[Place]) -> None:
        """Finish what is in hand of these places, within the budget; commit; forget the rest."""
        await self._drain(places, self._limits.revoke_budget)
        if self._subscription is not None:
            await self._commit(self._subscription)
        await self._end(self._hand.drop(places))

    async def _drain(self, places: Collection[Place], budget: timedelta) -> None:
        """Return when nothing of these places is in hand, or the budget is spent."""
        with suppress(TimeoutError):
            async with asyncio.timeout(budget.total_seconds()):
                while self._hand.count_of(places):
                    self._hand.moved.clear()
                    await self._hand.moved.wait()

    async def _end(self, running: Collection[Held]) -> None:
        """Return when handlers that were told to end have ended, or soon."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_END_S):
                while any(held.is_running for held in running):
                    self._hand.moved.clear()
                    await self._hand.moved.wait()

    # ------------------------------------------------------------ committing and measuring

    async def _commit_loop(self, subscription: Subscription) -> None:
        failures = 0
        while True:
            await self._to_commit.wait()
            self._to_commit.clear()
            if await self._commit(subscription):
                failures = 0
                await asyncio.sleep(_COMMIT_EVERY_S)
                continue
            failures += 1
            await asyncio.sleep(_pause_s(failures))
            self._to_commit.set()

    async def _commit(self, subscription: Subscription) -> bool:
        """Commit every mark that rose; False when the log did not take them."""
        marks = self._hand.marks()
        if not marks:
            return True
        try:
            await subscription.commit(marks)
        except LogUnavailable as exc:
            # The marks only rise: the next commit says the same and more.
            self._tell_unavailable(exc)
            return False
        self._hand.note_committed(marks)
        return True

    def _tell_unavailable(self, error: LogUnavailable) -> None:
        _log.warning(
            "log.unavailable",
            handler=self.handler.name,
            error=error.code,
            problem=error.problem,
        )

    async def _measure_lag(self, subscription: Subscription) -> None:
        gauge = self._metrics.lag_records.labels(self.handler.name)
        while True:
            with suppress(LogUnavailable):
                gauge.set(await subscription.lag())
            await asyncio.sleep(_LAG_EVERY_S)


def _pause_s(failures: int) -> float:
    """Return the wait before asking the log again: doubling from 0.2 s."""
    doubled: float = 0.1 * 2 ** min(failures, 10)
    return min(doubled, _MAX_PAUSE_S)
