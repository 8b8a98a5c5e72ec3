"""
Asking fal for a result, and what its answer tells as a completion.

One place for handlers and sweeps, so that billable units and outputs too large for the log
are treated alike wherever a result is read.
"""

from dataclasses import replace
from datetime import datetime

from consumer.core.completion import Completion, completion_of_answer, reconciled_event
from consumer.core.event import Event
from consumer.core.result import MAX_OUTPUT_BYTES, OutputMissing
from consumer.core.text import dump_json
from consumer.errors import FalRefused
from consumer.ports import FalQueue, ResultKind

Told = Completion | ResultKind
"""The end of a request in fal's words, or why there is none to read: NOT_READY, NOT_FOUND."""


async def ask_result(fal: FalQueue, endpoint: str, request_id: str) -> Told:
    """
    Return the end that fal's result answer tells, with its billable units.

    An output over the client's bound is `too_large`: the end is known from the HTTP status.
    Raises FalUnavailable, FalRefused and SchemaDrift.
    """
    try:
        answer = await fal.result(endpoint, request_id)
    except FalRefused as exc:
        if exc.reason != OutputMissing.TOO_LARGE.value:
            raise
        told = completion_of_answer(request_id, exc.http_status, b"", "")
        return without_output(told, OutputMissing.TOO_LARGE)
    if answer.kind is not ResultKind.READY:
        return answer.kind
    told = completion_of_answer(request_id, answer.http_status, answer.body, answer.content_type)
    return replace(told, billable_units=answer.billable_units)


def completion_event(completion: Completion, *, source: str, at: datetime) -> Event:
    """
    Return the event of a completion found by asking, small enough for every log.

    An output over 10 MiB is left out here already: no result event would carry it.
    """
    if _output_size(completion) > MAX_OUTPUT_BYTES:
        completion = without_output(completion, OutputMissing.TOO_LARGE)
    return reconciled_event(completion, source=source, at=at)


def without_output(completion: Completion, missing: OutputMissing) -> Completion:
    """Return the completion with no output, marked with why."""
    return replace(
        completion,
        has_output=False,
        output=None,
        output_base64=None,
        content_type=None,
        output_missing=missing.value,
    )


def _output_size(completion: Completion) -> int:
    if completion.output_base64 is not None:
        return len(completion.output_base64)
    return len(dump_json(completion.output)) if completion.has_output else 0
