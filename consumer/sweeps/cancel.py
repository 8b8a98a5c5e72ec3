"""
Stale requests: past a deadline, or queued for longer than configured.

The status is asked again right before. Off by default, and never for requests that
nobody tracks.
"""

from datetime import timedelta

from consumer.core.policy import Policies, cancel_at, cancel_reason
from consumer.core.standing import Request
from consumer.errors import ConsumerError, LedgerUnavailable, LogUnavailable
from consumer.handlers.cancelling import Canceller, cancel_case
from consumer.ports import Clock, Due, FalQueue, Ledger, QueueStatus
from consumer.sweeps import each
from consumer.telemetry import get_logger

_log = get_logger()

BATCH = 16
LEASE = timedelta(seconds=180)
_CONCURRENCY = 8
_PENDING = frozenset({QueueStatus.IN_QUEUE, QueueStatus.IN_PROGRESS})


class CancelStale:
    """One round over the schedule `cancel`."""

    def __init__(
        self,
        fal: FalQueue,
        canceller: Canceller,
        ledger: Ledger,
        *,
        policies: Policies,
        clock: Clock,
    ) -> None:
        self._fal = fal
        self._canceller = canceller
        self._ledger = ledger
        self._policies = policies
        self._clock = clock

    async def round(self) -> int:
        """Cancel what is stale among the due rows. Raises Unavailable."""
        dues = await self._ledger.take_due("cancel", limit=BATCH, lease=LEASE)
        await each(self._look_at, dues, at_once=_CONCURRENCY)
        return len(dues)

    async def _look_at(self, due: Due) -> None:
        try:
            wait = await self._cancel_if_stale(due)
        except LedgerUnavailable:
            raise
        except LogUnavailable:
            await self._ledger.put_off(due, self._policies.retry_base)
            raise
        except ConsumerError as exc:
            # One request that fal cannot be asked about must not hold up the others.
            _log.warning("sweep.failed", sweep="cancel", error=exc.code, request_id=due.subject)
            wait = self._policies.first_check
        if wait is None:
            await self._ledger.finish(due)
        else:
            await self._ledger.put_off(due, wait)

    async def _cancel_if_stale(self, due: Due) -> timedelta | None:
        """Return the wait until the next look, or None when nothing is left to do."""
        request = await self._ledger.request(due.subject)
        if request is None or cancel_at(request, self._policies) is None:
            return None
        case = cancel_case(request, "")
        if case is None:
            return self._policies.first_check  # its endpoint may still be learned
        answer = await self._fal.status(case.endpoint, case.request_id)
        if answer.status not in _PENDING:
            # Finished or unknown: the reconcile sweep finds its end, and that removes this row.
            return self._policies.first_check
        is_queued = answer.status is QueueStatus.IN_QUEUE
        policy = cancel_reason(
            request, is_queued=is_queued, now=self._clock(), policies=self._policies
        )
        if policy is None:
            return self._until_finish(request)
        asked = cancel_case(request, policy)
        if asked is not None:
            await self._canceller.cancel(asked)
        return None

    def _until_finish(self, request: Request) -> timedelta:
        """Return the wait of a request that runs: no longer than to its finish deadline."""
        wait = self._policies.first_check
        left = request.finish_by - self._clock() if request.finish_by else wait
        return min(wait, left) if left > timedelta(0) else wait
