"""
Commands: submit, track, cancel, refetch, as other services put them on `fal.commands`.

A command that cannot be carried out is a dead letter with its reason, or, for a submit,
a refusal with a result event that its sender can correlate.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from consumer.core.command import Cancel, Refetch, Submit, Track, parse_command
from consumer.core.completion import Completion
from consumer.core.event import EventType, Topic, decode
from consumer.core.fact import FactName, Witness, group_cancelled, new_fact
from consumer.core.policy import DeadLetter, Done, Outcome, Policies, RetryAt, retry_gap
from consumer.core.replay import is_meant_for, is_replayed
from consumer.core.result import Correlation, bare_result
from consumer.core.standing import CancelPolicy, Request, Submission, SubmissionState
from consumer.errors import UndecodableEvent
from consumer.handlers.answers import ask_result, completion_event
from consumer.handlers.cancelling import Canceller, cancel_case
from consumer.handlers.results import Facts, Results
from consumer.handlers.submission_facts import is_put_off
from consumer.handlers.submitting import Submitter
from consumer.ports import ClaimKind, Clock, FalQueue, Ledger, Record

_MAX_LOOKUPS = 6
# A command may name a request that the ledger learns of a moment later; after about half a
# minute of looking it is a mistake.
_MINUTE = timedelta(minutes=1)
_LIMITS = {
    "too_many_open": "as many requests are open as FAL_CONSUMER_MAX_OPEN_REQUESTS allows",
    "too_many_commands": "more in a minute than FAL_CONSUMER_COMMANDS_PER_MINUTE allows",
}
_UNSENT = frozenset({SubmissionState.INTENDED, SubmissionState.SENDING})


@dataclass(frozen=True, slots=True)
class Paid:
    """The parts that need a fal credential; absent without one."""

    fal: FalQueue
    submitter: Submitter
    canceller: Canceller


class Commands:
    """The handler of `fal.commands`."""

    name = "commands"
    topics = (Topic.COMMANDS,)

    def __init__(  # noqa: PLR0913  the handler joins these parts
        self,
        paid: Paid | None,
        facts: Facts,
        results: Results,
        ledger: Ledger,
        *,
        may_submit: Callable[[str], bool],
        policies: Policies,
        clock: Clock,
    ) -> None:
        self._paid = paid
        self._facts = facts
        self._results = results
        self._ledger = ledger
        self._may_submit = may_submit
        self._policies = policies
        self._clock = clock

    async def handle(self, record: Record, attempt: int) -> Outcome:
        """Return Done once the command's effect is durable. A replayed one never submits."""
        event = decode(record.headers, record.value)
        if not is_meant_for(event.extensions, self.name):
            return Done()
        if event.type is not EventType.COMMAND:
            raise UndecodableEvent("ce_type", "not a command")
        command = parse_command(event.data)
        match command:
            case Submit():
                doubt = "replayed" if is_replayed(event.extensions) else ""
                asked_at = min(event.time, record.appended_at)
                return await self._submit(command, attempt, doubt=doubt, asked_at=asked_at)
            case _ if self._paid is None:
                return DeadLetter("no_fal_key", f"{command.command} needs FAL_KEY")
            case Track():
                return await self._track(command)
            case Cancel():
                return await self._cancel(self._paid, command, attempt)
            case Refetch():
                return await self._refetch(self._paid, command, attempt)

    async def _submit(
        self, command: Submit, attempt: int, *, doubt: str, asked_at: datetime
    ) -> Outcome:
        claim = await self._ledger.latest_claim(ClaimKind.SUBMISSION, command.submission_id)
        if claim is None:
            doubt = doubt or await self._doubt(asked_at)
            if doubt:
                return await self._pass_over(command, doubt)
            reason = await self._reason_to_refuse(command)
            if reason or self._paid is None:
                return await self._refuse(command, reason or "no_fal_key")
            return await self._paid.submitter.submit(command, attempt)
        if self._paid is None or (is_put_off(claim) and doubt):
            return Done()  # claimed while there was a key: with the next one its end is told
        doubt = await self._doubt(claim.claimed_at) if is_put_off(claim) else ""
        if doubt:  # the claim that followed it may be the one that is forgotten
            submitter = self._paid.submitter
            return await submitter.leave_unknown(command, doubt, claim.revision + 1)
        return await self._paid.submitter.found(command, claim, attempt)

    async def _doubt(self, at: datetime) -> str:
        """Tell why a command of that time may have been sent, although it has no claim."""
        stamped_at = await self._ledger.stamped_at()
        return "before_stamp" if stamped_at is not None and at <= stamped_at else ""

    async def _pass_over(self, command: Submit, doubt: str) -> Outcome:
        """
        Send nothing for a submit that was replayed, or is older than what the ledger
        remembers, and has no claim; tell that it is unknown.

        A ledger that is gone may have sent it. What stands further, or has its result, is
        left as it is.
        """
        told = await self._ledger.latest_claim(ClaimKind.RESULT, command.submission_id)
        submission = await self._ledger.submission(command.submission_id)
        if told is not None or (submission is not None and submission.state not in _UNSENT):
            return Done()
        if self._paid is None:
            return DeadLetter("no_fal_key", "a submit in doubt is followed with FAL_KEY only")
        return await self._paid.submitter.leave_unknown(command, doubt)

    async def _reason_to_refuse(self, command: Submit) -> str | None:
        """
        Return why a command that was never claimed is not carried out, or None.

        One that was refused stays refused: its sender was told so, and a replay under other
        settings must not send the job after all.
        """
        if self._paid is None:
            return "no_fal_key"
        if not self._may_submit(command.endpoint):
            return "endpoint_not_allowed"
        told = await self._ledger.latest_claim(ClaimKind.RESULT, command.submission_id)
        if told is not None:
            return "refused_before"
        return await self._reason_of_limits(command.submission_id)

    async def _reason_of_limits(self, submission_id: str = "") -> str | None:
        """
        Return which limit a command that begins something new is past, or None.

        One that is handled again, because a process was killed meanwhile, may count twice.
        """
        most = self._policies.max_open_requests
        limit = self._policies.max_commands_a_minute
        if most is None and limit is None:
            return None
        if submission_id and await self._ledger.submission(submission_id) is not None:
            return None  # it waits since an earlier attempt, and is counted already
        if most is not None and await self._ledger.open_work(most) >= most:
            return "too_many_open"
        if limit is not None and not await self._ledger.allow("commands", limit, _MINUTE):
            return "too_many_commands"
        return None

    async def _refuse(self, command: Submit, reason: str) -> Outcome:
        """Tell that nothing was sent, and why, to whoever waits for the submission."""
        now = self._clock()
        correlation = Correlation(
            command.submission_id,
            command.command_id,
            command.endpoint,
            tuple(sorted(command.tags.items())),
        )
        await self._results.publish(
            bare_result("failed", correlation, reason=reason, witness="command", ended_at=now)
        )
        await self._facts.publish(
            new_fact(
                FactName.REFUSED,
                Witness.COMMAND,
                now,
                submission_id=command.submission_id,
                detail={
                    "reason": reason,
                    "endpoint": command.endpoint,
                    "command_id": command.command_id,
                },
            )
        )
        return Done()

    async def _track(self, command: Track) -> Outcome:
        reason = await self._reason_of_limits()
        if reason:
            return DeadLetter(reason, _LIMITS[reason])
        number = None
        if command.supersedes:
            number = await self._ledger.number_of(command.supersedes, command.request_id)
        await self._facts.publish(
            new_fact(
                FactName.TRACKED,
                Witness.COMMAND,
                self._clock(),
                request_id=command.request_id,
                detail={
                    "endpoint": command.endpoint,
                    "command_id": command.command_id,
                    "tags": command.tags,
                    "start_by": command.start_by,
                    "finish_by": command.finish_by,
                    "group": command.group,
                    "supersedes": command.supersedes,
                    "number": number,
                },
            )
        )
        return Done()

    async def _cancel(self, paid: Paid, command: Cancel, attempt: int) -> Outcome:
        if command.subject is None:
            return await self._cancel_group(command)
        return await self._cancel_subject(paid, command, command.subject, attempt)

    async def _cancel_subject(
        self, paid: Paid, command: Cancel, subject: str, attempt: int
    ) -> Outcome:
        claim = await self._ledger.latest_claim(ClaimKind.SUBMISSION, subject)
        if claim is not None:
            request_id = claim.detail.get("request_id")
            if is_put_off(claim):
                if await paid.submitter.stop(claim.key, claim.detail, claim.revision + 1):
                    return Done()
                return RetryAt(self._clock() + self._policies.retry_base, "claimed")
            if not request_id:
                return await self._remember(command, subject)
            return await self._cancel_request(paid, str(request_id), attempt)
        submission = await self._ledger.submission(subject)
        if submission is not None:
            return await self._stop(paid, submission)
        return await self._cancel_request(paid, subject, attempt)

    async def _cancel_group(self, command: Cancel) -> Outcome:
        """Tell that a group is cancelled; its members follow when that is recorded."""
        detail = {"command_id": command.command_id}
        await self._facts.publish(group_cancelled(command.group or "", self._clock(), detail))
        return Done()

    async def _stop(self, paid: Paid, submission: Submission) -> Outcome:
        detail = {
            "endpoint": submission.endpoint,
            "command_id": submission.command_id,
            "tags": submission.tags,
            "input_sha256": submission.input_sha256,
            "group": submission.group,
        }
        if await paid.submitter.stop(submission.submission_id, detail):
            return Done()
        return RetryAt(self._clock() + self._policies.retry_base, "claimed")

    async def _remember(self, command: Cancel, submission_id: str) -> Outcome:
        """Keep the wish: it is sent as soon as the submission's request id is known."""
        await self._facts.publish(
            new_fact(
                FactName.CANCEL_REMEMBERED,
                Witness.COMMAND,
                self._clock(),
                submission_id=submission_id,
                detail={"command_id": command.command_id, "policy": CancelPolicy.ASKED.value},
            )
        )
        return Done()

    async def _refetch(self, paid: Paid, command: Refetch, attempt: int) -> Outcome:
        """Ask for the result again: it becomes a revision only where it fills or outranks."""
        request = await self._ledger.request(command.request_id)
        case = cancel_case(request, "") if request else None
        if case is None:
            return self._unknown_subject(request, attempt)
        told = await ask_result(paid.fal, case.endpoint, case.request_id)
        if not isinstance(told, Completion):
            return DeadLetter("no_result", f"fal answered {told.value}")
        event = completion_event(told, source=paid.fal.origin, at=self._clock())
        await self._facts.publish_event(event)
        return Done()

    async def _cancel_request(self, paid: Paid, request_id: str, attempt: int) -> Outcome:
        request: Request | None = await self._ledger.request(request_id)
        case = cancel_case(request, CancelPolicy.ASKED.value) if request else None
        if case is None:
            return self._unknown_subject(request, attempt)
        if request is None or request.end is None:
            await paid.canceller.cancel_as_asked(case)
        return Done()

    def _unknown_subject(self, request: Request | None, attempt: int) -> Outcome:
        if attempt < _MAX_LOOKUPS:
            gap = retry_gap(attempt, self._policies)
            return RetryAt(self._clock() + gap, "unknown_subject")
        known = "its endpoint is not known" if request else "no such request or submission"
        return DeadLetter("unknown_subject", known)
