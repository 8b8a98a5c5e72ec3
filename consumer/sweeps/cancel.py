"""
Requests that a policy wants cancelled: stale, superseded, of a cancelled group, asked for.

The status is asked again right before. By default only what somebody asked for is cancelled,
and never a request that nobody tracks. So many a minute at most: a wrong policy must not empty
a queue.
"""

from datetime import datetime, timedelta

from consumer.core.cancellation import UNLIMITED, Wish, cancel_at, cancel_wish
from consumer.core.fact import FactName, Witness, new_fact
from consumer.core.policy import Policies
from consumer.core.standing import RANK, CancelPolicy, Request, State
from consumer.errors import ConsumerError, LedgerUnavailable, LogUnavailable
from consumer.handlers.cancelling import PENDING, CancelCase, Canceller, cancel_case
from consumer.handlers.results import Facts
from consumer.ports import Clock, Due, Ledger, QueueStatus
from consumer.sweeps import each
from consumer.telemetry import Metrics, get_logger

_log = get_logger()

BATCH = 16
LEASE = timedelta(seconds=180)
_CONCURRENCY = 8
_MINUTE = timedelta(minutes=1)


class CancelStale:
    """One round over the schedule `cancel`."""

    def __init__(  # noqa: PLR0913  the sweep joins these parts
        self,
        canceller: Canceller,
        facts: Facts,
        ledger: Ledger,
        *,
        policies: Policies,
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        self._canceller = canceller
        self._facts = facts
        self._ledger = ledger
        self._policies = policies
        self._clock = clock
        self._metrics = metrics
        self._held_back_at: datetime | None = None

    @property
    def note(self) -> str | None:
        """What an operator should know: cancels were held back within the last minutes."""
        if self._held_back_at is None or self._clock() - self._held_back_at > 2 * _MINUTE:
            return None
        return (
            f"policies want more than {self._policies.max_cancels_a_minute} cancels a minute: "
            "the others wait; look at them with `fal-consumer stale`"
        )

    async def round(self) -> int:
        """Cancel what a policy wants cancelled among the due rows. Raises Unavailable."""
        dues = await self._ledger.take_due("cancel", limit=BATCH, lease=LEASE)
        await each(self._look_at, dues, at_once=_CONCURRENCY)
        return len(dues)

    async def _look_at(self, due: Due) -> None:
        try:
            wait = await self._cancel_if_wanted(due)
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

    async def _cancel_if_wanted(self, due: Due) -> timedelta | None:
        """Return the wait until the next look, or None when nothing is left to do."""
        request = await self._ledger.request(due.subject)
        at = cancel_at(request, self._policies) if request else None
        if request is None or at is None:
            return None
        now = self._clock()
        if at > now:
            return at - now
        case = cancel_case(request, "")
        if case is None:
            return self._policies.first_check  # its endpoint may still be learned
        status = await self._canceller.ask_status(case)
        if status not in PENDING:
            # Finished or unknown: the reconcile sweep finds its end, and that removes this row.
            return self._policies.first_check
        is_queued = status is QueueStatus.IN_QUEUE
        wish = cancel_wish(request, is_queued=is_queued, now=now, policies=self._policies)
        if wish is None:
            return await self._leave_running(request)
        return await self._carry_out(request, wish, case, status)

    async def _carry_out(
        self, request: Request, wish: Wish, case: CancelCase, status: QueueStatus
    ) -> timedelta | None:
        limit = self._policies.max_cancels_a_minute
        if wish.policy not in UNLIMITED and not await self._ledger.allow("cancels", limit, _MINUTE):
            self._hold_back(request, wish.policy)
            return _MINUTE / 4
        by = next((note.by for note in request.cancels if note.policy == wish.policy), "")
        await self._canceller.cancel(
            CancelCase(case.request_id, case.endpoint, wish.policy.value, status.value, by)
        )
        return None

    def _hold_back(self, request: Request, policy: CancelPolicy) -> None:
        self._held_back_at = self._clock()
        self._metrics.cancels_held_back.labels(policy.value).inc()
        _log.warning("cancel.held_back", request_id=request.request_id, policy=policy.value)

    async def _leave_running(self, request: Request) -> timedelta:
        """Tell that it runs, so that it is planned by what may stop a running one; wait."""
        if RANK[request.live] < RANK[State.RUNNING]:
            await self._facts.publish(
                new_fact(
                    FactName.RUNNING,
                    Witness.STATUS,
                    self._clock(),
                    request_id=request.request_id,
                )
            )
        wait = self._policies.first_check
        left = request.finish_by - self._clock() if request.finish_by else wait
        return min(wait, left) if left > timedelta(0) else wait
