"""
What becomes of one record: attempts, and in the end its effect, its parked copy or its letter.

Returns when one of the three is durable, and not before.
"""

import asyncio
from dataclasses import dataclass
from datetime import datetime, timedelta

from consumer.core.event import NewRecord, Topic, format_time
from consumer.core.policy import DeadLetter, Done, Outcome, Policies, RetryAt, outcome_of_error
from consumer.errors import (
    ConsumerError,
    InvariantBroken,
    LogUnavailable,
    RecordRefused,
    Unavailable,
)
from consumer.ports import Clock, Ledger, Log, Parked, Record
from consumer.setting_aside import dead_letter, parked_id, without_bytes
from consumer.telemetry import Metrics, get_logger
from consumer.working.terms import Handler

_log = get_logger()

_IN_PLACE = timedelta(seconds=2)
# A retry due sooner waits in place and keeps its key's order; a later one is parked, for a
# partition never sleeps.
_MAX_SURPRISES = 5
# How often a record may hit a mistake of ours before it is set aside, whole.


@dataclass(frozen=True, slots=True)
class Attempts:
    """One handler's way with a record, a log for its letters and a ledger to park in."""

    handler: Handler
    log: Log
    ledger: Ledger
    clock: Clock
    policies: Policies
    metrics: Metrics
    deadline: timedelta

    async def see_through(self, record: Record) -> None:
        """Return once the record's effect, its parked copy or its dead letter is durable."""
        attempt = 1
        while True:
            outcome = await self._attempt(record, attempt)
            if isinstance(outcome, Done):
                return
            if isinstance(outcome, RetryAt) and outcome.when - self.clock() <= _IN_PLACE:
                await asyncio.sleep(max(0.0, (outcome.when - self.clock()).total_seconds()))
                attempt += 1
                continue
            try:
                if isinstance(outcome, RetryAt):
                    await self._park(record, outcome, attempt + 1, self.clock())
                else:
                    await self._dead_letter(record, outcome, attempt)
            except Unavailable:
                # Nowhere to put it: hold it, and with it the partition's low-water mark.
                await asyncio.sleep(self.policies.retry_base.total_seconds())
                continue
            return

    async def handle_parked(self, parked: Parked) -> None:
        """Handle a parked record whose time has come, and unpark it when it is done."""
        outcome = await self._attempt(parked.record, parked.attempt)
        if isinstance(outcome, RetryAt):
            await self._park(parked.record, outcome, parked.attempt + 1, parked.parked_at)
            return
        if isinstance(outcome, DeadLetter):
            await self._dead_letter(parked.record, outcome, parked.attempt)
        await self.ledger.unpark(parked)

    async def _attempt(self, record: Record, attempt: int) -> Outcome:
        began = self.clock()
        try:
            async with asyncio.timeout(self.deadline.total_seconds()):
                outcome = await self.handler.handle(record, attempt)
        except TimeoutError:
            outcome = RetryAt(self.clock() + self.policies.max_retry_gap, "deadline")
        except Exception as exc:  # noqa: BLE001  the outermost loop: log, count, set aside
            outcome = self._outcome_of(exc, record, attempt)
        self._tell(record, outcome, attempt, began)
        return outcome

    def _outcome_of(self, error: Exception, record: Record, attempt: int) -> Outcome:
        """Return what becomes of a record whose handling raised: no error ends the service."""
        if not isinstance(error, ConsumerError) or isinstance(error, InvariantBroken):
            return self._surprise(record, error, attempt)
        now = self.clock()
        try:
            return outcome_of_error(error, attempt=attempt, now=now, policies=self.policies)
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
            return RetryAt(self.clock() + self.policies.retry_base, "internal_error")
        return DeadLetter("internal_error", type(error).__name__)

    def _tell(self, record: Record, outcome: Outcome, attempt: int, began: datetime) -> None:
        kind = type(outcome).__name__
        self.metrics.records.labels(self.handler.name, kind).inc()
        place = {
            "handler": self.handler.name,
            "request_id": record.key,
            "topic": record.position.topic.value,
            "offset": record.position.offset,
        }
        if isinstance(outcome, Done):
            spent = (self.clock() - began) // timedelta(milliseconds=1)
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
        await self.ledger.park(
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
                await self.log.append(letter)
            except RecordRefused:
                # With its reason it is over the log's limit: then a note without the bytes, which
                # stay where the record came from.
                await self._append_note(without_bytes(letter, len(record.value)))
        _log.error(
            "record.dead_lettered",
            handler=self.handler.name,
            request_id=record.key,
            error=outcome.reason,
            problem=outcome.problem,
            attempt=attempt,
        )

    async def _append_note(self, note: NewRecord) -> None:
        try:
            await self.log.append(note)
        except RecordRefused as exc:
            # It is not the record's fault then: a policy of the cluster, or this machine's clock.
            raise LogUnavailable(f"the log refuses every dead letter: {exc.problem}") from exc
