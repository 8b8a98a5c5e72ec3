"""
Every event into the ledger. This handler alone writes the projection.

A webhook completion is judged again first; the evidence of dead letters from the receiver
is kept like any other. What the join finds out of order (two ends, a token that names
another's submission) is told as a fact of its own.
"""

from collections.abc import Sequence

from consumer.core.event import Event, EventType, Topic, decode
from consumer.core.fact import Fact, FactName, Witness, new_fact
from consumer.core.key_proof import PROOF_ATTRIBUTE
from consumer.core.lifecycle import REQUEST_TABLE, is_bound
from consumer.core.policy import DeadLetter, Done, Outcome, Policies
from consumer.core.projection import (
    DeadLetterEntry,
    Entry,
    Judgement,
    entry_of,
    entry_of_webhook,
)
from consumer.core.replay import is_meant_for
from consumer.core.standing import ENDS, Request
from consumer.core.token import is_key_set_proof
from consumer.errors import EventError
from consumer.handlers.judging import Judge, outcome_of_verdict
from consumer.handlers.results import Facts
from consumer.handlers.wishes import Wishes
from consumer.ports import Clock, Ledger, Record, Recorded
from consumer.telemetry import get_logger

_log = get_logger()


class RecordEvents:
    """The handler of every topic that tells something."""

    name = "record"
    topics = (Topic.COMPLETIONS, Topic.RESULTS, Topic.LIFECYCLE, Topic.DEAD_LETTERS)

    def __init__(  # noqa: PLR0913  the handler joins these parts
        self,
        judge: Judge,
        ledger: Ledger,
        facts: Facts,
        *,
        key_set_urls: frozenset[str],
        secrets: Sequence[bytes],
        policies: Policies,
        clock: Clock,
    ) -> None:
        self._judge = judge
        self._ledger = ledger
        self._facts = facts
        self._key_set_urls = key_set_urls
        self._secrets = tuple(secrets)
        self._policies = policies
        self._clock = clock
        self._wishes = Wishes(ledger, facts, clock=clock)

    async def handle(self, record: Record, attempt: int) -> Outcome:  # noqa: ARG002
        """Return Done once everything that the record tells is durable in the ledger."""
        if record.position.topic is Topic.DEAD_LETTERS:
            return await self._handle_dead_letter(record)
        event = decode(record.headers, record.value)
        if not is_meant_for(event.extensions, self.name):
            return Done()
        if event.type is EventType.WEBHOOK_COMPLETION:
            return await self._handle_webhook(event)
        entry = entry_of(event)
        if entry.key_set is not None and not self._is_trusted(event, entry):
            return DeadLetter("unverified", "a key set without our proof, or from another address")
        await self._follow_up(entry, await self._ledger.record(entry))
        return Done()

    async def _handle_webhook(self, event: Event) -> Outcome:
        verdict = await self._judge.judge(event)
        outcome = outcome_of_verdict(verdict, event, self._clock(), self._policies)
        if outcome is not None or not isinstance(verdict, Judgement):
            return outcome or Done()
        entry = entry_of_webhook(event, verdict)
        await self._follow_up(entry, await self._ledger.record(entry))
        return Done()

    async def _handle_dead_letter(self, record: Record) -> Outcome:
        headers = dict(record.headers)
        letter = DeadLetterEntry(
            f"{record.position.partition}/{record.position.offset}",
            record.key,
            headers.get("dlreason", b"").decode("utf-8", "replace"),
            headers.get("dlorigin", b"").decode("utf-8", "replace"),
            record.appended_at,
        )
        await self._ledger.record(Entry(f"dead-letter/{letter.id}", dead_letter=letter))
        return await self._keep_evidence(record) if letter.origin == "receiver" else Done()

    async def _keep_evidence(self, record: Record) -> Outcome:
        """
        Keep the evidence of a delivery whose body nobody could read, if it still verifies.

        Like any other evidence it waits for a key that is not known yet.
        """
        try:
            return await self._handle_webhook(decode(record.headers, record.value))
        except EventError:
            return Done()  # no evidence in it: the letter itself is all there is

    def _is_trusted(self, event: Event, entry: Entry) -> bool:
        if entry.key_set is None or entry.key_set.url not in self._key_set_urls:
            return False
        proof = event.extensions.get(PROOF_ATTRIBUTE, "")
        return is_key_set_proof(proof, entry.key_set.sha256, self._secrets)

    async def _follow_up(self, entry: Entry, recorded: Recorded) -> None:
        """Tell what the join found: a repetition tells it again, under the same id."""
        await self._wishes.follow(entry, recorded)
        request = recorded.request
        if request is None:
            return
        if request.has_conflict and any(REQUEST_TABLE.get(f.name) in ENDS for f in entry.facts):
            await self._tell_conflict(request)
        for fact in entry.facts:
            if fact.witness is Witness.TOKEN and fact.submission_id:
                await self._tell_mismatch(fact, request, recorded)

    async def _tell_conflict(self, request: Request) -> None:
        ends = [end for end in request.ends if end.counts or request.is_ours]
        told = {end.state.value: end.witness.value for end in ends}
        stands = request.state.value
        _log.warning(
            "request.conflicted", request_id=request.request_id, held=stands, reported=told
        )
        await self._facts.publish(
            new_fact(
                FactName.CONFLICTED,
                Witness.SWEEP,
                max(end.at for end in ends),
                request_id=request.request_id,
                detail={"ends": told, "stands": stands},
            )
        )

    async def _tell_mismatch(self, fact: Fact, request: Request, recorded: Recorded) -> None:
        submission = recorded.submission
        if submission is None or submission.submission_id != fact.submission_id:
            return
        if is_bound(request, submission):
            return
        _log.warning("token.mismatched", request_id=request.request_id)
        await self._facts.publish(
            new_fact(
                FactName.TOKEN_MISMATCHED,
                Witness.SWEEP,
                fact.at,
                request_id=request.request_id,
                detail={"submission_id": fact.submission_id},
            )
        )
