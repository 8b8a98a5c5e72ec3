"""
Asking fal to stop a request, and telling what truly happened.

The status is asked right before, and is part of what is told. Accepted is not cancelled:
only fal's `OK` (removed from the queue) is an end here; after any other answer the request
is followed until it has one.
"""

from dataclasses import dataclass, replace
from typing import Any

from consumer.core.fact import FactName, Witness, new_fact
from consumer.core.result import bare_result
from consumer.core.standing import CancelPolicy, Request
from consumer.handlers.results import Facts, Results, correlation_of
from consumer.ports import CancelAnswer, Clock, FalQueue, Ledger, QueueStatus
from consumer.telemetry import get_logger

_log = get_logger()

PENDING = frozenset({QueueStatus.IN_QUEUE, QueueStatus.IN_PROGRESS})
"""What fal says of a request that can be cancelled."""


@dataclass(frozen=True, slots=True)
class CancelCase:
    """
    One cancellation: which request, where, which policy wants it, and fal's status just before.
    """

    request_id: str
    endpoint: str
    policy: str
    status: str = ""
    by: str = ""


class Canceller:
    """Asks, and records policy, fal's exact answer and the end it proves."""

    def __init__(
        self, fal: FalQueue, facts: Facts, results: Results, ledger: Ledger, *, clock: Clock
    ) -> None:
        self._fal = fal
        self._facts = facts
        self._results = results
        self._ledger = ledger
        self._clock = clock

    async def ask_status(self, case: CancelCase) -> QueueStatus:
        """Return where fal says the request stands. Raises FalUnavailable, FalRefused, …"""
        answer = await self._fal.status(case.endpoint, case.request_id)
        return answer.status

    async def cancel_as_asked(self, case: CancelCase) -> None:
        """Cancel because a caller asked: whatever is queued or runs. Raises as `cancel` does."""
        status = await self.ask_status(case)
        case = replace(case, policy=CancelPolicy.ASKED.value, status=status.value)
        if status in PENDING:
            await self.cancel(case)
        else:
            await self._tell(FactName.CANCEL_REFUSED, Witness.STATUS, case, {})

    async def cancel(self, case: CancelCase) -> CancelAnswer:
        """
        Ask fal to cancel and publish what it answered.

        The asking is a fact before the call, so that a kill between the two leaves a mark.
        Raises FalUnavailable, FalRefused, SchemaDrift, LogUnavailable.
        """
        await self._tell(FactName.CANCEL_ASKED, Witness.COMMAND, case, {})
        answer = await self._fal.cancel(case.endpoint, case.request_id)
        _log.info(
            "request.cancelled",
            request_id=case.request_id,
            policy=case.policy,
            verdict=answer.value,
        )
        if answer is CancelAnswer.REMOVED:
            await self.confirm(case, {"answer": answer.value})
        elif answer is CancelAnswer.REQUESTED:
            await self._tell(
                FactName.CANCEL_ACCEPTED, Witness.CANCEL, case, {"answer": answer.value}
            )
        else:
            await self._tell(
                FactName.CANCEL_REFUSED, Witness.CANCEL, case, {"answer": answer.value}
            )
        return answer

    async def confirm(self, case: CancelCase, detail: dict[str, Any]) -> None:
        """Tell that the request is cancelled, as fal's answer proves, with its result."""
        await self._tell(FactName.CANCELLED, Witness.CANCEL, case, detail)
        correlation = await correlation_of(self._ledger, case.request_id, None)
        await self._results.publish(
            bare_result(
                FactName.CANCELLED,
                correlation,
                request_id=case.request_id,
                reason=case.policy,
                witness="cancel",
                ended_at=self._clock(),
            )
        )

    async def _tell(
        self, name: FactName, witness: Witness, case: CancelCase, detail: dict[str, Any]
    ) -> None:
        await self._facts.publish(
            new_fact(
                name,
                witness,
                self._clock(),
                request_id=case.request_id,
                detail={"policy": case.policy, **_given(case), **detail},
            )
        )


def _given(case: CancelCase) -> dict[str, str]:
    return {name: text for name in ("status", "by") if (text := getattr(case, name))}


def cancel_case(request: Request, policy: str) -> CancelCase | None:
    """
    Return the case of a request, or None where its endpoint is not known and fal cannot be asked.
    """
    if request.endpoint is None:
        return None
    return CancelCase(request.request_id, request.endpoint.value, policy)
