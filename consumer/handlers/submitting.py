"""
Sending a job to fal, once.

The claim is durable before the call; whoever finds a claim does not send again. What the
call ended in is kept in the claim before it is published, so that a kill at any moment
leaves either nothing sent, or a claim that says how far it came.
"""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any
from uuid import uuid4

from consumer.core.command import Submit
from consumer.core.event import decode, encode, parse_time
from consumer.core.fact import Fact, FactName, Witness, fact_event, fact_from
from consumer.core.policy import (
    DeadLetter,
    Done,
    Outcome,
    Policies,
    RetryAt,
    retry_gap,
    waits_for_account,
)
from consumer.core.result import Correlation, bare_result
from consumer.core.token import Token, callback_url
from consumer.handlers.results import Facts, Results
from consumer.handlers.submission_facts import (
    PUT_OFF,
    correlation_in,
    fact_of_answer,
    is_put_off,
    shown,
    submission_fact,
)
from consumer.handlers.wishes import Wishes
from consumer.ports import (
    Claim,
    ClaimKind,
    Clock,
    FalQueue,
    Ledger,
    SubmitAnswer,
    SubmitOrder,
    SubmitRefused,
)
from consumer.telemetry import get_logger

_log = get_logger()

_MIN_START_TIMEOUT_S = 0.1
# Source: fal docs, "Platform headers" (2026-10): X-Fal-Request-Start-Timeout is a number > 0.1.


class Callbacks:
    """Makes callback URLs: the public address of the receiver and a fresh token."""

    def __init__(self, public_url: str, secrets: tuple[bytes, ...]) -> None:
        self._public_url = public_url
        self._secrets = secrets

    def url(self, endpoint: str, submission_id: str = "") -> str:
        """
        Return the URL for `fal_webhook`, or an empty text where no public address is configured.
        """
        if not self._public_url:
            return ""
        return callback_url(self._public_url, Token(endpoint, submission_id), self._secrets)


class Submitter:
    """Carries a submit command through: intended, claimed, sent, told."""

    def __init__(  # noqa: PLR0913  it joins these parts
        self,
        fal: FalQueue,
        facts: Facts,
        results: Results,
        ledger: Ledger,
        callbacks: Callbacks,
        *,
        policies: Policies,
        clock: Clock,
    ) -> None:
        self._fal = fal
        self._facts = facts
        self._results = results
        self._ledger = ledger
        self._callbacks = callbacks
        self._policies = policies
        self._clock = clock
        self._wishes = Wishes(ledger, facts, clock=clock)

    async def submit(self, command: Submit, attempt: int = 1) -> Outcome:
        """
        Send the command's job unless a claim says that it was sent, and tell what came of it.

        While fal refuses every submit, for a locked account or a refused key, it waits. One
        that is not wanted any more (its group is cancelled, a newer one of its series is at
        fal, somebody asked) is stopped instead.
        """
        reason = "" if self._is_late(command) else self._fal.holds_back
        if reason and waits_for_account(reason, attempt):
            await self._intend(command)
            return self._wait(command.submission_id, reason, attempt)
        return await self._claim_and_send(command, 1, attempt)

    async def _claim_and_send(self, command: Submit, revision: int, attempt: int) -> Outcome:
        # Both before the claim: a log that fails after it would leave a job that was never
        # sent as one of which nobody can tell.
        detail = await self._intend(command)
        policy = await self._wishes.reason_to_stop(command.submission_id, detail)
        if policy:
            await self.stop(command.submission_id, detail, revision, reason=policy)
            return Done()
        await self._facts.publish(
            submission_fact(FactName.SENDING, command.submission_id, self._clock(), detail)
        )
        claim = self._claim(command, detail, revision)
        stands = await self._ledger.claim(claim)
        if stands.detail.get("nonce") != claim.detail["nonce"]:
            return await self.found(command, stands, attempt)
        answer = await self._send(command, stands)
        if isinstance(answer, SubmitRefused) and waits_for_account(answer.reason, attempt):
            await self._put_off(stands, answer.reason)
            return self._wait(command.submission_id, answer.reason, attempt)
        await self.conclude(stands, fact_of_answer(answer, stands, self._clock()))
        return Done()

    async def found(self, command: Submit, claim: Claim, attempt: int = 1) -> Outcome:
        """
        Return what follows from an earlier claim: publish what it holds, wait, or give up.

        A claim that was put off, with a certain no and no job, is followed by the next one.
        """
        if claim.fingerprint != command.input_sha256:
            return DeadLetter("command_conflict", "this command_id was used with another input")
        if claim.event is not None:
            await self.publish(claim)
            if not is_put_off(claim):
                return Done()
            reason = "" if self._is_late(command) else self._fal.holds_back
            if reason and waits_for_account(reason, attempt):
                return self._wait(command.submission_id, reason, attempt)
            return await self._claim_and_send(command, claim.revision + 1, attempt)
        if self._clock() < claim.deadline_at:
            return RetryAt(claim.deadline_at + timedelta(seconds=1), "claimed")
        await self.give_up(claim)
        return Done()

    async def stop(
        self,
        submission_id: str,
        detail: Mapping[str, Any],
        revision: int = 1,
        *,
        reason: str = "cancelled",
    ) -> bool:
        """Take the claim before anybody sends; True when the submission is now never sent."""
        why = {**detail, "reason": reason}
        fact = submission_fact(FactName.STOPPED, submission_id, self._clock(), why)
        return await self._preclude(fact, detail, revision) is None

    async def leave_unknown(self, command: Submit, reason: str, revision: int = 1) -> Outcome:
        """
        Take the claim of a submit in doubt that has none: it is never sent, and told as unknown,
        for it may have been sent by a ledger that is gone.
        """
        detail = self._detail(command)
        why = {**detail, "reason": reason}
        fact = submission_fact(FactName.UNKNOWN, command.submission_id, self._clock(), why)
        stands = await self._preclude(fact, detail, revision)
        return Done() if stands is None else await self.found(command, stands)

    async def _preclude(
        self, fact: Fact, detail: Mapping[str, Any], revision: int = 1
    ) -> Claim | None:
        """
        Claim a submission with the fact that it ends in, so that nobody sends it, and tell it.

        Returns the claim that was there before, in its place, or None.
        """
        nonce = uuid4().hex
        claim = Claim(
            ClaimKind.SUBMISSION,
            fact.submission_id,
            revision,
            str(detail.get("input_sha256", "")),
            {**detail, "nonce": nonce, PUT_OFF: None},
            fact.at,
            fact.at,
            encode(fact_event(fact, self._fal.origin)),
        )
        stands = await self._ledger.claim(claim)
        if stands.detail.get("nonce") != nonce:
            return stands
        await self.conclude(stands, fact)
        return None

    async def conclude(self, claim: Claim, fact: Fact) -> None:
        """Keep what the submission ended in, then publish it and, where it ended, its result."""
        event = encode(fact_event(fact, self._fal.origin))
        detail = {**claim.detail, "request_id": fact.request_id or None}
        await self._ledger.settle_claim(claim, event, detail)
        stands = await self._standing(claim)
        await self.publish(stands)
        if fact.request_id and stands.detail.get("request_id") != fact.request_id:
            # Given up meanwhile as unanswered, and answered after all: the id must not be lost.
            await self._facts.publish(fact)

    async def publish(self, claim: Claim) -> None:
        """Publish the event that a claim holds, with the result of a submission that ended."""
        if claim.event is None or claim.is_published:
            return
        fact = fact_from(decode(claim.event.headers, claim.event.value))
        await self._publish_end(fact, claim.detail)
        _tell(fact)
        await self._results.publish_claim(claim)

    async def give_up(self, claim: Claim) -> None:
        """Tell that the outcome of an overdue claim is not known: never sent again."""
        reason = {"reason": "no_answer"}
        fact = submission_fact(
            FactName.UNKNOWN, claim.key, self._clock(), {**shown(claim.detail), **reason}
        )
        await self.conclude(claim, fact)

    async def publish_lost(self, submission_id: str, correlation: Correlation) -> None:
        """Tell that a submission was never confirmed within its horizon."""
        now = self._clock()
        reason = "never_confirmed"
        await self._results.publish(
            bare_result("lost", correlation, reason=reason, witness="sweep", ended_at=now)
        )
        await self._facts.publish(
            submission_fact(
                FactName.NEVER_CONFIRMED, submission_id, now, {"reason": reason}, Witness.SWEEP
            )
        )

    # ------------------------------------------------------------ waiting for the account

    async def _intend(self, command: Submit) -> dict[str, Any]:
        detail = self._detail(command)
        if command.supersedes:
            # Before anything is told: who is handled later has the higher number.
            detail["number"] = await self._ledger.number_of(
                command.supersedes, command.submission_id
            )
        fact = submission_fact(FactName.INTENDED, command.submission_id, self._clock(), detail)
        await self._facts.publish(fact)
        return detail

    async def _put_off(self, claim: Claim, reason: str) -> None:
        """
        Close a claim whose call was certainly refused for the account's sake: no job exists, and
        the next claim may send. A kill before this leaves it as one of which nobody can tell.
        """
        fact = submission_fact(
            FactName.INTENDED, claim.key, self._clock(), {**shown(claim.detail), "reason": reason}
        )
        event = encode(fact_event(fact, self._fal.origin))
        await self._ledger.settle_claim(claim, event, {**claim.detail, PUT_OFF: reason})
        stands = await self._ledger.latest_claim(ClaimKind.SUBMISSION, claim.key)
        if stands is not None:
            await self.publish(stands)

    def _wait(self, submission_id: str, reason: str, attempt: int) -> Outcome:
        gap = retry_gap(attempt, self._policies)
        _log.warning(
            "submission.put_off", submission_id=submission_id, reason=reason, attempt=attempt
        )
        return RetryAt(self._clock() + gap, reason)

    def _is_late(self, command: Submit) -> bool:
        """Tell whether the deadline to start has passed, which ends it whatever fal says."""
        return command.start_by is not None and parse_time(command.start_by) <= self._clock()

    # ------------------------------------------------------------ the parts

    async def _standing(self, claim: Claim) -> Claim:
        return await self._ledger.latest_claim(ClaimKind.SUBMISSION, claim.key) or claim

    async def _send(self, command: Submit, claim: Claim) -> SubmitAnswer:
        start_timeout_s = None
        if command.start_by is not None:
            left = parse_time(command.start_by) - self._clock()
            start_timeout_s = left.total_seconds()
            if start_timeout_s <= _MIN_START_TIMEOUT_S:
                return SubmitRefused(None, "start_deadline_passed")
        return await self._fal.submit(
            SubmitOrder(
                command.endpoint,
                command.input,
                self._callbacks.url(command.endpoint, claim.key),
                start_timeout_s,
                command.tags,
                command.options,
            )
        )

    def _detail(self, command: Submit) -> dict[str, Any]:
        return {
            "endpoint": command.endpoint,
            "command_id": command.command_id,
            "tags": command.tags,
            "input_sha256": command.input_sha256,
            "start_by": command.start_by,
            "finish_by": command.finish_by,
            "has_callback": bool(self._callbacks.url(command.endpoint)),
            "group": command.group,
            "supersedes": command.supersedes,
            "store_io": command.options.store_io,
        }

    def _claim(self, command: Submit, detail: dict[str, Any], revision: int) -> Claim:
        now = self._clock()
        return Claim(
            ClaimKind.SUBMISSION,
            command.submission_id,
            revision,
            command.input_sha256,
            {**detail, "nonce": uuid4().hex},
            now,
            now + self._policies.submit_deadline,
        )

    async def _publish_end(self, fact: Fact, detail: Mapping[str, Any]) -> None:
        outcome = {FactName.REFUSED: "failed", FactName.STOPPED: "cancelled"}.get(fact.name)
        if outcome is None:
            return
        await self._results.publish(
            bare_result(
                outcome,
                correlation_in(fact.submission_id, detail),
                reason=str(fact.detail.get("reason", "")),
                witness=fact.witness.value,
                ended_at=fact.at,
                http_status=fact.detail.get("http_status"),
            )
        )


def _tell(fact: Fact) -> None:
    if fact.name is FactName.INTENDED:
        return  # it was put off, and told so
    name = {FactName.SUBMITTED: "submission.sent", FactName.UNKNOWN: "submission.unknown"}.get(
        fact.name, "submission.refused"
    )
    _log.info(
        name,
        submission_id=fact.submission_id,
        request_id=fact.request_id,
        reason=fact.detail.get("reason"),
    )
