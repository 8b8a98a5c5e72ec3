"""
Overdue requests: ask fal, and publish what differs from what the ledger knows.

A round first asks about every leased request and only then acts, because many unknown ids
at once mean a wrong key or address: then nothing is told and an alarm is raised.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from consumer.core.cancellation import cancellation_of
from consumer.core.completion import Completion
from consumer.core.fact import FactName, Witness, new_fact
from consumer.core.listing import Listed, end_of_listed
from consumer.core.policy import (
    Policies,
    end_of_not_found,
    is_alarming,
    next_check_gap,
    retry_gap,
)
from consumer.core.result import OutputMissing, bare_result
from consumer.core.standing import RANK, CancelPolicy, End, Request, State
from consumer.errors import ConsumerError, FalRefused, LedgerUnavailable, LogUnavailable
from consumer.handlers.answers import Told, ask_result, completion_event
from consumer.handlers.cancelling import CancelCase, Canceller
from consumer.handlers.results import Facts, Results, correlation_of
from consumer.ports import (
    Clock,
    Due,
    FalListing,
    FalQueue,
    Ledger,
    QueueStatus,
    ResultKind,
    StatusAnswer,
)
from consumer.sweeps import each
from consumer.sweeps.settle import Settler
from consumer.telemetry import Metrics, get_logger

_log = get_logger()

BATCH = 64
LEASE = timedelta(seconds=180)
_CONCURRENCY = 16
_MAX_RESULT_GAP = timedelta(seconds=15)
# fal says COMPLETED a moment before it gives the result.


@dataclass(frozen=True, slots=True)
class Asked:
    """
    One due request and what fal said about it; `answer` is None where nothing had to be asked.
    """

    due: Due
    request: Request
    answer: StatusAnswer | None = None
    result: Told | None = None
    error: ConsumerError | None = None


class Reconcile:
    """One round over the schedule `check`."""

    def __init__(  # noqa: PLR0913, PLR0917  the sweep joins these parts
        self,
        fal: FalQueue,
        facts: Facts,
        results: Results,
        ledger: Ledger,
        canceller: Canceller,
        settler: Settler,
        *,
        policies: Policies,
        clock: Clock,
        metrics: Metrics,
        listing: FalListing | None = None,
    ) -> None:
        self._listing = listing
        self._fal = fal
        self._facts = facts
        self._results = results
        self._ledger = ledger
        self._canceller = canceller
        self._settler = settler
        self._policies = policies
        self._clock = clock
        self._metrics = metrics
        self.alarm: str | None = None
        self._unknown: dict[str, datetime] = {}

    async def round(self) -> int:
        """Ask about what is due and act on the answers. Raises Unavailable."""
        dues = await self._ledger.take_due("check", limit=BATCH, lease=LEASE)
        answers = await each(self._ask, dues, at_once=_CONCURRENCY)
        asked = [item for item in answers if item is not None]
        if self._is_alarming(asked):
            await self._raise_alarm(asked)
            return 0
        await each(self._act, asked, at_once=_CONCURRENCY)
        return len(dues)

    def _is_alarming(self, asked: Sequence[Asked]) -> bool:
        """
        Tell whether fal knows hardly any of the requests, in this round and those before it.

        A wrong key shows in a few unknown ids a round where requests fall due one by one, so
        they are counted until fal knows a request again. One that we asked to cancel may be gone.
        """
        now = self._clock()
        statuses = [i for i in asked if i.answer and i.request.cancel_asked_at is None]
        unknown = [item.request.request_id for item in statuses if _is_not_found(item)]
        if statuses and 2 * len(unknown) <= len(statuses):
            self._unknown.clear()
            self.alarm = None
        if not unknown or 2 * len(unknown) <= len(statuses):
            return False
        oldest = now - 2 * max(self._policies.not_found_gap, self._policies.max_check_gap)
        self._unknown = {name: at for name, at in self._unknown.items() if at >= oldest}
        self._unknown |= dict.fromkeys(unknown, now)
        count = len(self._unknown)
        return is_alarming(count, count)

    # ------------------------------------------------------------ asking

    async def _ask(self, due: Due) -> Asked | None:
        request = await self._ledger.request(due.subject)
        if request is None or not request.is_open:
            await self._ledger.finish(due)
            return None
        if request.end is not None or request.endpoint is None:
            return Asked(due, request)
        endpoint = request.endpoint.value
        try:
            answer = await self._fal.status(endpoint, request.request_id)
            result = None
            if answer.status is QueueStatus.COMPLETED:
                result = await ask_result(self._fal, endpoint, request.request_id)
        except ConsumerError as exc:
            return Asked(due, request, error=exc)
        return Asked(due, request, answer, result)

    async def _raise_alarm(self, asked: Sequence[Asked]) -> None:
        unknown = len(self._unknown)
        self.alarm = (
            f"fal knows none of {unknown} requests: check FAL_KEY and FAL_CONSUMER_QUEUE_URL"
        )
        self._metrics.sweep_alarms.labels("reconcile").inc()
        _log.error("sweep.alarmed", sweep="reconcile", not_found=unknown, asked=len(asked))
        for item in asked:
            await self._ledger.put_off(item.due, self._policies.max_check_gap)

    # ------------------------------------------------------------ acting

    async def _act(self, item: Asked) -> None:
        request = item.request
        gap = next_check_gap(request, item.due.attempt, self._policies)
        try:
            if item.error is not None:
                self._tell_error(item.error, request)
            elif request.end is not None:
                await self._settler.settle(request, may_ask=self._may_ask(request.end))
                gap = self._policies.settle_after
            elif item.answer is None:
                await self._give_up_without_endpoint(request)
            else:
                gap = await self._on_status(item, item.answer, gap)
        except LedgerUnavailable:
            raise
        except LogUnavailable:
            # The lease goes back: what fal told is asked again as soon as the log answers.
            await self._ledger.put_off(item.due, self._policies.retry_base)
            raise
        except ConsumerError as exc:
            self._tell_error(exc, request)
        await self._ledger.put_off(item.due, gap)

    def _may_ask(self, end: End) -> bool:
        """Tell whether fal is still waited for; after that, what is held here is the result."""
        return self._clock() - end.at < self._policies.fetch_patience

    def _tell_error(self, error: ConsumerError, request: Request) -> None:
        _log.warning(
            "sweep.failed", sweep="reconcile", error=error.code, request_id=request.request_id
        )

    async def _on_status(self, item: Asked, answer: StatusAnswer, gap: timedelta) -> timedelta:
        """Publish what the status tells and return the wait until the next check."""
        request = item.request
        if answer.status is QueueStatus.NOT_FOUND:
            await self._on_not_found(request)
            return self._policies.not_found_gap
        if answer.status is QueueStatus.COMPLETED:
            return await self._on_completed(item, answer)
        await self._on_pending(request, answer)
        return gap

    async def _on_pending(self, request: Request, answer: StatusAnswer) -> None:
        now = self._clock()
        is_queued = answer.status is QueueStatus.IN_QUEUE
        name = FactName.QUEUED if is_queued else FactName.RUNNING
        has_moved = is_queued and answer.queue_position != request.queue_position
        state = State.QUEUED if is_queued else State.RUNNING
        if has_moved or request.is_unknown or RANK[request.live] < RANK[state]:
            detail = {"position": answer.queue_position} if is_queued else {}
            await self._facts.publish(
                new_fact(name, Witness.STATUS, now, request_id=request.request_id, detail=detail)
            )

    async def _on_completed(self, item: Asked, answer: StatusAnswer) -> timedelta:
        request, told = item.request, item.result
        if told is None or told is ResultKind.NOT_READY:
            return min(retry_gap(item.due.attempt, self._policies), _MAX_RESULT_GAP)
        if isinstance(told, Completion):
            completion = told
        else:
            expired = _completion_of_status(request.request_id, answer)
            expired = expired or end_of_listed(await self._listed(request))
            if expired is None:
                await self._lose(request, "result_expired")
                return self._policies.settle_after
            completion = expired
        _log.info("request.reconciled", request_id=request.request_id, verdict=completion.end.value)
        await self._facts.publish_event(
            completion_event(completion, source=self._facts.source, at=self._clock())
        )
        return self._policies.settle_after

    async def _on_not_found(self, request: Request) -> None:
        now = self._clock()
        await self._facts.publish(
            new_fact(FactName.NOT_FOUND, Witness.STATUS, now, request_id=request.request_id)
        )
        end = end_of_not_found(request, now, self._policies)
        if end is FactName.CANCELLED and request.endpoint is not None:
            asked = cancellation_of(request)
            policy = asked.policy if asked else CancelPolicy.ASKED.value
            case = CancelCase(request.request_id, request.endpoint.value, policy)
            await self._canceller.confirm(case, {"answer": QueueStatus.NOT_FOUND.value})
        elif end is FactName.LOST:
            await self._lose_unless_listed(request)

    async def _lose_unless_listed(self, request: Request) -> None:
        """Lose a request that fal's queue does not know, unless the account's listing has it."""
        listed = await self._listed(request)
        told = end_of_listed(listed)
        if told is not None:
            _log.info("request.reconciled", request_id=request.request_id, verdict=told.end.value)
            await self._facts.publish_event(
                completion_event(told, source=self._facts.source, at=self._clock())
            )
        elif listed is None:
            await self._lose(request, "not_found")

    async def _listed(self, request: Request) -> Listed | None:
        """
        Return what the listing says, None where it has nothing or may not be asked.

        Raises FalUnavailable and SchemaDrift: then the request waits.
        """
        if self._listing is None or request.endpoint is None:
            return None
        try:
            return await self._listing.find(request.endpoint.value, request.request_id)
        except FalRefused:
            return None

    async def _give_up_without_endpoint(self, request: Request) -> None:
        """
        A request whose endpoint nobody names cannot be asked about; it is lost after the horizon.
        """
        if self._clock() - request.first_at >= self._policies.unconfirmed_horizon:
            await self._lose(request, OutputMissing.ENDPOINT_UNKNOWN.value)

    async def _lose(self, request: Request, reason: str) -> None:
        now = self._clock()
        _log.error("request.lost", request_id=request.request_id, reason=reason)
        self._metrics.requests_lost.labels(reason).inc()
        await self._facts.publish(
            new_fact(
                FactName.LOST,
                Witness.SWEEP,
                now,
                request_id=request.request_id,
                detail={"reason": reason},
            )
        )
        await self._results.publish(
            bare_result(
                FactName.LOST,
                await correlation_of(self._ledger, request.request_id, None),
                request_id=request.request_id,
                reason=reason,
                witness="sweep",
                ended_at=now,
            )
        )


def _completion_of_status(request_id: str, answer: StatusAnswer) -> Completion | None:
    """Return the end that a status with an error proves, where the result itself has expired."""
    if answer.error is None and answer.error_type is None:
        return None
    is_cancelled = answer.error_type == "client_cancelled"
    return Completion(
        request_id,
        FactName.CANCELLED if is_cancelled else FactName.FAILED,
        error=answer.error,
        error_type=answer.error_type,
        output_missing=OutputMissing.EXPIRED.value,
    )


def _is_not_found(item: Asked) -> bool:
    return item.answer is not None and item.answer.status is QueueStatus.NOT_FOUND
