"""
Submit and cancel through a running service: each is a command on the log, and leaves facts.

The wait for what comes of it is bounded; what was asked for goes on after it.
"""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal
from uuid import uuid4

from consumer.agents.answers import CancelAnswer, SubmitAnswer
from consumer.agents.arguments import OfCancel, OfSubmit
from consumer.agents.reading import Progress
from consumer.agents.sentences import ToolFailed
from consumer.commanding.cancelling import Cancelled, cancel_by
from consumer.commanding.desk import Desk, facts_about, raise_if_set_aside
from consumer.commanding.submitting import Progress as SubmitProgress
from consumer.commanding.submitting import progress_of
from consumer.core.command import Submit, command_event, parse_command, submission_id_of
from consumer.core.event import Event, format_time
from consumer.core.fact import FactName
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
_SUBMIT_STEPS = {
    SubmitProgress.WAITING: _NOT_YET,
    SubmitProgress.SENDING: _NOT_YET,
    SubmitProgress.UNKNOWN: _UNKNOWN,
    SubmitProgress.SENT: _SENT,
}
_SUBMIT_OUTCOMES: Mapping[SubmitProgress, Literal["submitted", "sending", "unknown"]] = {
    SubmitProgress.WAITING: "sending",
    SubmitProgress.SENDING: "sending",
    SubmitProgress.UNKNOWN: "unknown",
    SubmitProgress.SENT: "submitted",
}
_PUT_OFF = (
    "fal takes no submit now for the account's sake ({reason}), so nothing was sent. The service "
    "tries for about a day and sends it once that is over. Tell the account's owner; call again "
    "with the same command_id to see how it stands, or cancel it by its submission_id."
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


@dataclass
class _Found:
    """What was seen of a submit; `put_off` is why it waits for the account, where it does."""

    progress: SubmitProgress = SubmitProgress.WAITING
    request_id: str | None = None
    put_off: str = ""


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
        found = _Found()
        with suppress(TimeoutError):
            async with asyncio.timeout(asked.wait_s), self._open_desk() as desk:
                await desk.ask(command)
                await self._watch(desk, command, found, progress)
        return _submit_answer(asked, command, found)

    async def _watch(self, desk: Desk, command: Event, found: _Found, tell: Progress) -> None:
        """Keep in `found` what is seen of a submit, until nothing better is to be waited for."""
        submission_id, sha256 = submission_id_of(command.id), _input_sha256(command)
        while found.progress not in (SubmitProgress.SENT, SubmitProgress.UNKNOWN):
            news = await desk.look()
            raise_if_set_aside(news, command)
            for fact in facts_about(news, {submission_id}):
                if fact.name is FactName.INTENDED:
                    found.put_off = str(fact.detail.get("reason", ""))
            submission = await desk.ledger.submission(submission_id)
            latest = progress_of(submission, sha256)
            if latest is not found.progress:
                await tell(0.0, latest.value)
            found.progress = latest
            if submission is not None and submission.request is not None:
                found.request_id = submission.request.value

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


def _submit_answer(asked: OfSubmit, command: Event, found: _Found) -> SubmitAnswer:
    is_sending = found.progress is SubmitProgress.SENDING
    is_sent = found.progress is SubmitProgress.SENT
    return SubmitAnswer(
        recorded=True,
        outcome=_SUBMIT_OUTCOMES[found.progress],
        command_id=command.id,
        endpoint=asked.endpoint,
        request_id=found.request_id if is_sent else None,
        submission_id=submission_id_of(command.id),
        next_step=_PUT_OFF.format(reason=found.put_off)
        if is_sending and found.put_off
        else _SUBMIT_STEPS[found.progress],
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
