"""
Submit and cancel straight at fal, for use without a running service: nothing is recorded.

What was submitted is remembered while this process runs, so that a repeated call with the
same `command_id` never pays twice within it.
"""

import asyncio
from dataclasses import dataclass
from hashlib import sha256
from uuid import uuid4

from consumer.agents.answers import CancelAnswer, SubmitAnswer
from consumer.agents.arguments import OfDirectSubmit, OfRequest
from consumer.agents.reading import Progress
from consumer.agents.sentences import ToolFailed, refusal_of, sentence_of
from consumer.core.text import dump_json
from consumer.errors import CommandRefused
from consumer.fal import FalClient, Submission, SubmitWord
from consumer.ports import CancelAnswer as Answered
from consumer.ports import SubmitOrder
from consumer.telemetry import get_logger

_log = get_logger()

MAX_REMEMBERED = 10_000
# Submits of one process, about 1 KiB each. Past it none is taken: to forget one would be to
# break the promise that its id is never sent twice.

_UNRECORDED = "Nothing was recorded: keep the request id."
_SENT = f"{_UNRECORDED} Follow it with FAL_AI_QUEUE_GET_STATUS_STREAM, then read its result."
_UNKNOWN = (
    "fal did not answer clearly, so a job may exist, and its request id is not known. It is not "
    "sent again under this command_id; another one may pay twice. Nothing was recorded: only "
    "the account's requests at fal can tell."
)
_EVENTS = {
    SubmitWord.SUBMITTED: "submission.sent",
    SubmitWord.REFUSED: "submission.refused",
    SubmitWord.UNKNOWN: "submission.unknown",
}
_OUTCOMES = {
    Answered.REMOVED: ("removed", "It is cancelled: it never ran and never will."),
    Answered.REQUESTED: (
        "asked",
        "fal was asked to stop it, which is no promise: look at its status for its end.",
    ),
    Answered.ALREADY_COMPLETED: ("already_completed", "It had ended already: read its result."),
    Answered.NOT_FOUND: (
        "not_found",
        "fal has no such request: check the request id and the endpoint.",
    ),
}


@dataclass(frozen=True, slots=True)
class _Sent:
    """A submit under its id: the hash of what was asked, and the call, which is never repeated."""

    fingerprint: str
    call: asyncio.Task[Submission]


class Direct:
    """Changes things by calling fal at once. Close it with `drain`."""

    is_recorded = False

    def __init__(self, fal: FalClient) -> None:
        self._fal = fal
        self._sent: dict[str, _Sent] = {}

    async def submit(self, asked: OfDirectSubmit, _progress: Progress) -> SubmitAnswer:
        """Send the job once, or return what became of it under the same id."""
        command_id = asked.command_id or uuid4().hex
        fingerprint = _fingerprint(asked)
        sent = self._sent.get(command_id) or self._send(command_id, asked, fingerprint)
        if sent.fingerprint != fingerprint:
            raise ToolFailed(sentence_of(CommandRefused("command_conflict")))
        # An agent that stops waiting must not cut a paid call whose answer holds its id.
        submission = await asyncio.shield(sent.call)
        if submission.outcome is SubmitWord.REFUSED:
            if self._sent.get(command_id) is sent:  # a certain no: no job exists
                del self._sent[command_id]
            raise ToolFailed(refusal_of(submission.http_status, submission.reason))
        is_sent = submission.outcome is SubmitWord.SUBMITTED
        return SubmitAnswer(
            recorded=False,
            outcome="submitted" if is_sent else "unknown",
            command_id=command_id,
            endpoint=asked.endpoint,
            request_id=submission.request_id,
            queue_position=submission.queue_position,
            next_step=_SENT if is_sent else _UNKNOWN,
        )

    async def cancel(self, asked: OfRequest, _progress: Progress) -> CancelAnswer:
        """Ask fal to stop a request; return its own answer."""
        told = await self._fal.cancel(asked.endpoint, asked.request_id)
        outcome, step = _OUTCOMES[told.outcome]
        return CancelAnswer.model_validate(
            {
                "recorded": False,
                "outcome": outcome,
                "request_id": asked.request_id,
                "is_cancelled": told.is_cancelled,
                "detail": f"fal answered {told.outcome.value}",
                "next_step": f"{step} Nothing was recorded.",
            }
        )

    async def drain(self) -> None:
        """Wait for submits under way; each has the client's own deadline."""
        await asyncio.gather(*(sent.call for sent in self._sent.values()), return_exceptions=True)

    def _send(self, command_id: str, asked: OfDirectSubmit, fingerprint: str) -> _Sent:
        if len(self._sent) >= MAX_REMEMBERED:
            raise ToolFailed(
                f"This server has sent {MAX_REMEMBERED} jobs and remembers no more: ask whoever "
                "runs it to start it again. Nothing was sent."
            )
        order = SubmitOrder(
            asked.endpoint,
            asked.input,
            start_timeout_s=asked.start_within_s,
            tags=asked.tags,
            options=asked.options,
        )
        call = asyncio.create_task(self._submitted(command_id, order), name="submit")
        sent = self._sent[command_id] = _Sent(fingerprint, call)
        return sent

    async def _submitted(self, command_id: str, order: SubmitOrder) -> Submission:
        """Send it, and tell in the log what came of it: its agent may have gone meanwhile."""
        submission = await self._fal.submit(order)
        _log.info(
            _EVENTS[submission.outcome],
            command_id=command_id,
            request_id=submission.request_id,
            reason=submission.reason,
        )
        return submission


def _fingerprint(asked: OfDirectSubmit) -> str:
    try:
        return sha256(dump_json([asked.endpoint, asked.input])).hexdigest()
    except (TypeError, ValueError) as exc:
        raise ToolFailed(refusal_of(None, "bad_input")) from exc
