"""
Stale requests: past a deadline, or queued for longer than configured.

The status is asked again right before. Off by default, and never for requests that
nobody tracks.
"""

from datetime import timedelta

from consumer.core.policy import Policies, cancel_at, cancel_reason
from consumer.errors import ConsumerError, Unavailable
from consumer.handlers.cancelling import Canceller, cancel_case
from consumer.ports import Clock, Due, FalQueue, Ledger, QueueStatus
from consumer.telemetry import get_logger

_log = get_logger()

BATCH = 16
LEASE = timedelta(seconds=180)
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
        for due in dues:
            await self._look_at(due)
        return len(dues)

    async def _look_at(self, due: Due) -> None:
        try:
            is_done = await self._cancel_if_stale(due)
        except Unavailable:
            raise
        except ConsumerError as exc:
            _log.warning("sweep.failed", sweep="cancel", error=exc.code, request_id=due.subject)
            is_done = False
        if is_done:
            await self._ledger.finish(due)
        else:
            await self._ledger.put_off(due, self._policies.first_check)

    async def _cancel_if_stale(self, due: Due) -> bool:
        """Return whether nothing is left to do about this row."""
        request = await self._ledger.request(due.subject)
        if request is None or cancel_at(request, self._policies) is None:
            return True
        case = cancel_case(request, "")
        if case is None:
            return True
        answer = await self._fal.status(case.endpoint, case.request_id)
        if answer.status not in _PENDING:
            return True  # finished or unknown: the reconcile sweep finds its end
        is_queued = answer.status is QueueStatus.IN_QUEUE
        policy = cancel_reason(
            request, is_queued=is_queued, now=self._clock(), policies=self._policies
        )
        if policy is None:
            return False
        asked = cancel_case(request, policy)
        if asked is not None:
            await self._canceller.cancel(asked)
        return True
