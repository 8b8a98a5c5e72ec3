"""
Ends that have no result event: open work, whoever left it.

A webhook that counts only since an account was configured, a kill between a fact and its
result, a later truth that outranks what was published: the result is made again from
evidence, from what the fact said, and from fal's answer where fal still has one.
"""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from consumer.core.completion import Completion, parse_webhook
from consumer.core.fact import FactName, Witness
from consumer.core.policy import Policies
from consumer.core.result import OutputMissing, bare_result, result_of
from consumer.core.standing import End, Request, State
from consumer.errors import (
    ConsumerError,
    FalRefused,
    LogUnavailable,
    SchemaDrift,
    Unavailable,
    UndecodableEvent,
)
from consumer.handlers.answers import ask_result
from consumer.handlers.fetch import Outputs
from consumer.handlers.results import Results, correlation_of
from consumer.ports import Due, FalQueue, Ledger
from consumer.sweeps import each
from consumer.telemetry import get_logger

_log = get_logger()

BATCH = 64
LEASE = timedelta(seconds=180)
_CONCURRENCY = 16
_ASKABLE = frozenset({State.SUCCEEDED, State.FAILED})


class Settler:
    """Publishes the result of a request whose end is known."""

    def __init__(self, fal: FalQueue | None, results: Results, ledger: Ledger) -> None:
        self._fal = fal
        self._results = results
        self._ledger = ledger

    async def settle(self, request: Request, *, may_ask: bool = True) -> None:
        """
        Publish the result of the end that stands, `may_ask` false: from what is held here.

        Raises FalUnavailable when asking again may help.
        """
        end = request.end
        if end is None:
            return
        correlation = await correlation_of(self._ledger, request.request_id, None)
        fal = self._fal if may_ask else None
        told = await self._told(request, end)
        if end.state in _ASKABLE or end.witness is Witness.WEBHOOK:
            completion = await self._completion(fal, request, end, told)
            result = result_of(completion, correlation, witness=end.witness.value, ended_at=end.at)
        else:
            result = bare_result(
                FactName(end.state.value),
                correlation,
                request_id=request.request_id,
                reason=_maybe_text(told, "reason") or _maybe_text(told, "policy"),
                witness=end.witness.value,
                ended_at=end.at,
            )
        await self._results.publish(result)

    async def _told(self, request: Request, end: End) -> Mapping[str, Any]:
        """Return the detail of the fact that told this end."""
        for fact in await self._ledger.timeline(request.request_id):
            if fact.id == end.fact_id:
                return fact.detail
        return {}

    async def _completion(
        self, fal: FalQueue | None, request: Request, end: End, told: Mapping[str, Any]
    ) -> Completion:
        """Return the end with the best output that can be had."""
        endpoint = request.endpoint.value if request.endpoint else ""
        held = _completion_of_fact(request.request_id, end, told)
        if end.witness is Witness.WEBHOOK:
            signed = await self._signed(request, end)
            return await Outputs(fal).complete(signed or held, endpoint)
        if fal is None or not endpoint:
            return held
        try:
            asked = await ask_result(fal, endpoint, request.request_id)
        except (FalRefused, SchemaDrift):
            return held
        has_end = isinstance(asked, Completion) and asked.end.value == end.state.value
        return asked if isinstance(asked, Completion) and has_end else held

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
        await each(self._look_at, dues, at_once=_CONCURRENCY)
        return len(dues)

    async def _look_at(self, due: Due) -> None:
        request = await self._ledger.request(due.subject)
        if request is None or not request.is_open:
            await self._ledger.finish(due)
            return
        try:
            await self._settler.settle(request)
        except LogUnavailable:
            await self._ledger.put_off(due, self._policies.retry_base)
            raise
        except Unavailable:
            raise
        except ConsumerError as exc:
            _log.error("sweep.failed", sweep="settle", error=exc.code, request_id=due.subject)
        await self._ledger.put_off(due, self._policies.max_check_gap)


def _completion_of_fact(request_id: str, end: End, told: Mapping[str, Any]) -> Completion:
    """Return what the fact alone says of an end: everything but the output."""
    http_status = told.get("http_status")
    is_expired = end.witness is Witness.STATUS
    return Completion(
        request_id,
        FactName(end.state.value),
        http_status if isinstance(http_status, int) else None,
        _maybe_text(told, "error"),
        _maybe_text(told, "error_type"),
        output_missing=OutputMissing.EXPIRED.value if is_expired else None,
        billable_units=_maybe_text(told, "billable_units"),
    )


def _maybe_text(told: Mapping[str, Any], name: str) -> str | None:
    value = told.get(name)
    return value if isinstance(value, str) else None
