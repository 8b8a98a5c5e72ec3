"""
Submit and cancel through a running service: each is a command on the log, and leaves facts.

The wait for what comes of it is bounded; what was asked for goes on after it.
"""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

from consumer.agents.answers import CancelAnswer, SubmitAnswer
from consumer.agents.arguments import OfCancel, OfSubmit
from consumer.agents.reading import Progress
from consumer.agents.sentences import ToolFailed
from consumer.commanding.cancelling import Cancelled, cancel_by
from consumer.commanding.desk import Desk, raise_if_set_aside
from consumer.commanding.submitting import Progress as SubmitProgress
from consumer.commanding.submitting import progress_of
from consumer.core.command import Submit, command_event, parse_command, submission_id_of
from consumer.core.event import Event, format_time
from consumer.core.standing import Submission
from consumer.errors import UndecodableEvent
from consumer.ports import Clock

SOURCE = "fal-consumer/mcp"
OpenDesk = Callable[[], AbstractAsyncContextManager[Desk]]

_SENT = "Follow it with FAL_AI_QUEUE_GET_STATUS_STREAM, then read its result."
_NOT_YET = (
    "The service has it and goes on. Call again with the same command_id and the same arguments: "
    "that asks how it stands and never sends a second job."
)
_UNKNOWN = (
    "fal did not answer clearly, so a job may exist. It is not sent again, and the service goes "
    "on looking for it. Do not submit it under another command_id: that may pay twice. Call "
    "again later with the same command_id and arguments to learn what came of it."
)
_CANCEL_STEPS = {
    "removed": "It is cancelled: it never ran and never will.",
    "stopped": "It is cancelled before it was sent: it never runs.",
    "asked": "fal was asked to stop it, which is no promise: look at its status for its end.",
    "remembered": "fal is asked as soon as its request id is known; look at it again later.",
    "already_completed": "It had ended already: read its result.",
    "not_found": "fal has no such request any more; there is nothing to cancel.",
    "ended": "It had ended already; there was nothing left to cancel.",
}
_REFUSED_BY_ANSWER = {"ALREADY_COMPLETED": "already_completed", "NOT_FOUND": "not_found"}


class Recorded:
    """Changes things through a service's log. One desk is opened for each call."""

    is_recorded = True

    def __init__(self, open_desk: OpenDesk, clock: Clock) -> None:
        self._open_desk = open_desk
        self._clock = clock

    async def submit(self, asked: OfSubmit, progress: Progress) -> SubmitAnswer:
        """
        Put the job on the log and wait for its request id.

        Raises CommandRefused, NoService and what the log and the ledger raise.
        """
        command = self._command(_submit_fields(asked, self._clock()))
        seen = SubmitProgress.WAITING
        submission: Submission | None = None
        try:
            async with asyncio.timeout(asked.wait_s), self._open_desk() as desk:
                await desk.ask(command)
                sha256 = _input_sha256(command)
                while seen is not SubmitProgress.SENT:
                    raise_if_set_aside(await desk.look(), command)
                    submission = await desk.ledger.submission(submission_id_of(command.id))
                    latest = progress_of(submission, sha256)
                    if latest is not seen:
                        await progress(0.0, latest.value)
                    seen = latest
                    if seen is SubmitProgress.UNKNOWN:
                        break
        except TimeoutError:
            pass
        return _submit_answer(asked, command, seen, submission)

    async def cancel(self, asked: OfCancel, _progress: Progress) -> CancelAnswer:
        """Put the wish on the log and wait for what comes of it. Raises as `submit` does."""
        fields = {"command": "cancel", "command_id": uuid4().hex, "subject": asked.request_id}
        command = self._command(fields)
        try:
            async with asyncio.timeout(asked.wait_s), self._open_desk() as desk:
                found = await cancel_by(desk, command)
        except TimeoutError as exc:
            raise ToolFailed(
                f"Nothing came of it within {asked.wait_s:g} s; the service goes on trying. "
                "Look at the request's status before you ask again."
            ) from exc
        return _cancel_answer(asked.request_id, found)

    def _command(self, fields: Mapping[str, Any]) -> Event:
        try:
            return command_event(fields, source=SOURCE, at=self._clock())
        except UndecodableEvent as exc:
            where, problem = exc.part.partition(".")[2] or exc.part, exc.problem
            told = problem.removeprefix("Value error, ")
            raise ToolFailed(f"Nothing was asked: {where}: {told}.") from exc


def _submit_fields(asked: OfSubmit, now: datetime) -> dict[str, Any]:
    return {
        "command": "submit",
        "command_id": asked.command_id or uuid4().hex,
        "endpoint": asked.endpoint,
        "input": asked.input,
        "tags": asked.tags,
        "start_by": _deadline(now, asked.start_within_s),
        "finish_by": _deadline(now, asked.finish_within_s),
        "options": asked.options.model_dump(),
    }


def _deadline(now: datetime, seconds: float | None) -> str | None:
    return None if seconds is None else format_time(now + timedelta(seconds=seconds))


def _input_sha256(command: Event) -> str:
    parsed = parse_command(command.data)
    return parsed.input_sha256 if isinstance(parsed, Submit) else ""


def _submit_answer(
    asked: OfSubmit, command: Event, seen: SubmitProgress, submission: Submission | None
) -> SubmitAnswer:
    is_sent = seen is SubmitProgress.SENT
    bound = submission.request if is_sent and submission else None
    step = {SubmitProgress.SENT: _SENT, SubmitProgress.UNKNOWN: _UNKNOWN}.get(seen, _NOT_YET)
    outcome = {SubmitProgress.SENT: "submitted", SubmitProgress.UNKNOWN: "unknown"}
    return SubmitAnswer.model_validate(
        {
            "recorded": True,
            "outcome": outcome.get(seen, "sending"),
            "command_id": command.id,
            "endpoint": asked.endpoint,
            "request_id": bound.value if bound else None,
            "submission_id": submission_id_of(command.id),
            "next_step": step,
        }
    )


def _cancel_answer(request_id: str, found: Cancelled) -> CancelAnswer:
    outcome = found.outcome
    if outcome == "refused":
        outcome = _REFUSED_BY_ANSWER.get(found.answer, "ended")
    is_ended = found.outcome == "ended"
    return CancelAnswer.model_validate(
        {
            "recorded": True,
            "outcome": outcome,
            "request_id": request_id,
            "is_cancelled": outcome in ("removed", "stopped") or (is_ended and found.is_on_its_way),
            "detail": found.sentence,
            "next_step": _CANCEL_STEPS[outcome],
        }
    )
