"""
Completion to result: every completion that counts ends in exactly one result event.

A reconciled completion carries its result. For a webhook completion fal is asked (billable
units, null payloads); where fal cannot be asked, refuses, or has not answered within the
patience, the signed payload is the result.
"""

from dataclasses import replace
from datetime import datetime

from consumer.core.completion import Completion, parse_reconciled, parse_webhook
from consumer.core.event import Event, EventType, Topic, decode
from consumer.core.policy import Done, Outcome, Policies, RetryAt, retry_gap
from consumer.core.projection import Judgement
from consumer.core.replay import is_meant_for, is_replayed, replayed_at
from consumer.core.result import Correlation, OutputMissing, result_of
from consumer.errors import FalRefused, FalUnavailable, SchemaDrift, UndecodableEvent
from consumer.handlers.answers import ask_result
from consumer.handlers.judging import Judge, outcome_of_verdict
from consumer.handlers.results import Results, correlation_of
from consumer.ports import Clock, FalQueue, Ledger, Record, ResultKind

_TEMPORARY = frozenset({"unauthorized", "no_key"})
# A key that is being rotated: within the patience fal is asked again.


class Fetch:
    """The handler of `fal.completions` that publishes results."""

    name = "fetch"
    topics = (Topic.COMPLETIONS,)

    def __init__(  # noqa: PLR0913  the handler joins these parts
        self,
        judge: Judge,
        fal: FalQueue | None,
        results: Results,
        ledger: Ledger,
        *,
        policies: Policies,
        clock: Clock,
    ) -> None:
        self._judge = judge
        self._outputs = Outputs(fal)
        self._results = results
        self._ledger = ledger
        self._policies = policies
        self._clock = clock

    async def handle(self, record: Record, attempt: int) -> Outcome:
        """Return Done once the completion's result is published, or nothing follows from it."""
        event = decode(record.headers, record.value)
        if not is_meant_for(event.extensions, self.name):
            return Done()
        if event.type is EventType.RECONCILED_COMPLETION:
            await self._publish(parse_reconciled(event), None, event.time, "result")
            return Done()
        if event.type is not EventType.WEBHOOK_COMPLETION:
            raise UndecodableEvent("ce_type", "not a completion")
        return await self._handle_webhook(event, attempt)

    async def _handle_webhook(self, event: Event, attempt: int) -> Outcome:
        now = self._clock()
        verdict = await self._judge.judge(event)
        outcome = outcome_of_verdict(verdict, event, now, self._policies)
        if outcome is not None or not isinstance(verdict, Judgement):
            return outcome or Done()
        completion = parse_webhook(event.data, event.subject)
        if not verdict.counts and not await self._is_ours(event.subject):
            return Done()
        correlation = await correlation_of(self._ledger, event.subject, verdict.token)
        if is_replayed(event.extensions):
            signed = result_of(completion, correlation, witness="webhook", ended_at=event.time)
            if await self._results.is_told(signed):
                return Done()  # fal is not asked again for what is published, whole
        try:
            completion = await self._outputs.complete(completion, correlation.endpoint)
        except FalUnavailable:
            began_at = replayed_at(event.extensions, now) or event.time
            patience_ends = began_at + self._policies.fetch_patience
            if now < patience_ends:
                when = min(now + retry_gap(attempt, self._policies), patience_ends)
                return RetryAt(when, "fal_unavailable")
            completion = without_answer(completion, OutputMissing.UNAVAILABLE)
        await self._results.publish(
            result_of(completion, correlation, witness="webhook", ended_at=event.time)
        )
        return Done()

    async def _is_ours(self, request_id: str) -> bool:
        request = await self._ledger.request(request_id)
        return request is not None and request.is_ours

    async def _publish(
        self,
        completion: Completion,
        correlation: Correlation | None,
        ended_at: datetime,
        witness: str,
    ) -> None:
        found = correlation or await correlation_of(self._ledger, completion.request_id, None)
        await self._results.publish(
            result_of(completion, found, witness=witness, ended_at=ended_at)
        )


class Outputs:
    """Asks fal for what a webhook leaves out: billable units, and payloads that were null."""

    def __init__(self, fal: FalQueue | None) -> None:
        self._fal = fal

    async def complete(self, completion: Completion, endpoint: str) -> Completion:
        """
        Return the completion with fal's own answer, or the signed payload where fal cannot tell.

        Raises FalUnavailable when asking again may help.
        """
        if self._fal is None or not endpoint:
            reason = OutputMissing.UNAVAILABLE if endpoint else OutputMissing.ENDPOINT_UNKNOWN
            return without_answer(completion, reason)
        try:
            told = await ask_result(self._fal, endpoint, completion.request_id)
        except (FalRefused, SchemaDrift) as exc:
            if isinstance(exc, FalRefused) and exc.reason in _TEMPORARY:
                raise FalUnavailable(exc.reason) from exc
            return without_answer(completion, OutputMissing.UNAVAILABLE)
        if told is ResultKind.NOT_READY:
            raise FalUnavailable("the result is not ready yet")
        if not isinstance(told, Completion):
            return without_answer(completion, OutputMissing.EXPIRED)
        return _merged(completion, told)


def without_answer(completion: Completion, missing: OutputMissing) -> Completion:
    """Return the signed payload as the result; a null one is marked with why it is missing."""
    if completion.has_output:
        return completion
    return replace(completion, output_missing=missing.value)


def _merged(signed: Completion, told: Completion) -> Completion:
    """
    Return fal's answer under the signed outcome.

    The signature outranks an answer that tells another end: then the signed payload stands
    and only the units are taken. It also stands where the answer was too large to read.
    """
    if told.end is not signed.end:
        kept = without_answer(signed, OutputMissing.UNAVAILABLE)
        return replace(kept, billable_units=told.billable_units)
    if signed.has_output and not told.has_output:
        # Too large to read, or not JSON where fal signed a JSON payload: the signed one stands.
        return replace(signed, billable_units=told.billable_units)
    return replace(told, error=signed.error)
