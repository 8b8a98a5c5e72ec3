"""
Ends that have no result event: open work, whoever left it.

A webhook that counts only since an account was configured, a kill between a fact and its
result, a later truth that outranks what was published: the result is made again from
evidence, and from fal's answer where fal still has one.
"""

from datetime import timedelta

from consumer.core.completion import Completion, completion_of_answer, parse_webhook
from consumer.core.fact import FactName, Witness
from consumer.core.lifecycle import End, Request, State
from consumer.core.policy import Policies
from consumer.core.result import OutputMissing, bare_result, result_of
from consumer.errors import FalRefused, SchemaDrift, UndecodableEvent
from consumer.handlers.fetch import Outputs
from consumer.handlers.results import Results, correlation_of
from consumer.ports import FalQueue, Ledger, ResultKind

BATCH = 64
LEASE = timedelta(seconds=180)
_ASKABLE = frozenset({State.SUCCEEDED, State.FAILED})


class Settler:
    """Publishes the result of a request whose end is known."""

    def __init__(self, fal: FalQueue | None, results: Results, ledger: Ledger) -> None:
        self._fal = fal
        self._outputs = Outputs(fal)
        self._results = results
        self._ledger = ledger

    async def settle(self, request: Request) -> None:
        """
        Publish the result of the end that stands. Raises FalUnavailable when asking again may
        help.
        """
        end = request.end
        if end is None:
            return
        correlation = await correlation_of(self._ledger, request.request_id, None)
        completion = await self._completion(request, end)
        if completion is not None:
            result = result_of(completion, correlation, witness=end.witness.value, ended_at=end.at)
        else:
            result = bare_result(
                FactName(end.state.value),
                correlation,
                request_id=request.request_id,
                reason=None,
                witness=end.witness.value,
                ended_at=end.at,
                output_missing=_missing(end),
            )
        await self._results.publish(result)

    async def _completion(self, request: Request, end: End) -> Completion | None:
        endpoint = request.endpoint.value if request.endpoint else ""
        if end.witness is Witness.WEBHOOK:
            signed = await self._signed(request, end)
            return await self._outputs.complete(signed, endpoint) if signed else None
        if end.state not in _ASKABLE or self._fal is None or not endpoint:
            return None
        try:
            answer = await self._fal.result(endpoint, request.request_id)
        except (FalRefused, SchemaDrift):
            return None
        if answer.kind is not ResultKind.READY:
            return None
        told = completion_of_answer(
            request.request_id, answer.http_status, answer.body, answer.content_type
        )
        return told if told.end.value == end.state.value else None

    async def _signed(self, request: Request, end: End) -> Completion | None:
        """Return what the evidence says that proves this end."""
        for evidence in await self._ledger.evidence(request.request_id):
            try:
                completion = parse_webhook(evidence.body, request.request_id)
            except UndecodableEvent:
                continue
            if completion.end.value == end.state.value:
                return completion
        return None


class SettleEnds:
    """One round over the schedule `check` where fal cannot be asked: only known ends move on."""

    def __init__(self, settler: Settler, ledger: Ledger, *, policies: Policies) -> None:
        self._settler = settler
        self._ledger = ledger
        self._policies = policies

    async def round(self) -> int:
        """Publish the results of known ends; everything else rests. Raises Unavailable."""
        dues = await self._ledger.take_due("check", limit=BATCH, lease=LEASE)
        for due in dues:
            request = await self._ledger.request(due.subject)
            if request is None or not request.is_open:
                await self._ledger.finish(due)
                continue
            await self._settler.settle(request)
            await self._ledger.put_off(due, self._policies.max_check_gap)
        return len(dues)


def _missing(end: End) -> str | None:
    return OutputMissing.UNAVAILABLE.value if end.state in _ASKABLE else None
