"""
fal's answers to submit, result and cancel, as the typed outcomes of the plain client. Pure.

What an answer is, is `wire`'s decision; here it gets its whole form.
"""

from base64 import b64encode
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from consumer.core.text import parse_json
from consumer.errors import FalRefused
from consumer.fal import wire
from consumer.fal.answers import Cancellation, RequestResult, ResultWord, Status, Submission
from consumer.fal.answers import SubmitWord as Word
from consumer.fal.call import Answer
from consumer.fal.reading import drift, read
from consumer.ports import (
    CancelAnswer,
    QueueStatus,
    ResultAnswer,
    ResultKind,
    SubmitAnswer,
    SubmitRefused,
    Submitted,
    SubmitUnknown,
)


def submission_of(answer: SubmitAnswer) -> Submission:
    """Return a submit's outcome where fal said nothing more."""
    if isinstance(answer, Submitted):
        return Submission(outcome=Word.SUBMITTED, request_id=answer.request_id)
    if isinstance(answer, SubmitRefused):
        return Submission(
            outcome=Word.REFUSED, http_status=answer.http_status, reason=answer.reason
        )
    return Submission(outcome=Word.UNKNOWN, reason=answer.reason)


def read_submission(answer: Answer, verdict: SubmitAnswer) -> Submission:
    """Return a submit's outcome with what fal's answer says besides, whatever its form."""
    held = submission_of(verdict)
    if not isinstance(verdict, Submitted):
        held.http_status = answer.http_status
        drifted = verdict.drift if isinstance(verdict, SubmitUnknown) else None
        return held.with_drifts((drifted,) if drifted else ())
    told = {**_object(answer.body), "outcome": Word.SUBMITTED, "request_id": verdict.request_id}
    told["http_status"] = answer.http_status
    submission, drifts = read(Submission, told, "submit", answer.body)
    return submission.with_drifts(drifts)


def read_result(answer: Answer, request_id: str) -> RequestResult | None:
    """
    Return the outcome that a result answer tells, None where fal has no result under the id.

    Raises FalUnavailable and FalRefused, and nothing else.
    """
    told = wire.parse_result(answer)
    if told.kind is ResultKind.NOT_FOUND:
        return None
    if told.kind is ResultKind.NOT_READY:
        return RequestResult(outcome=ResultWord.NOT_READY, request_id=request_id)
    fields: dict[str, Any] = {
        "request_id": request_id,
        "http_status": told.http_status,
        "content_type": told.content_type or None,
        "billable_units": Decimal(told.billable_units) if told.billable_units else None,
    }
    if 200 <= told.http_status < 300:
        return RequestResult(outcome=ResultWord.SUCCEEDED, **fields, **_output(told))
    return RequestResult(**fields, **_failure(answer))


def result_without_body(status: Status, request_id: str) -> RequestResult:
    """
    Return what a status tells of a request whose result fal has not, or has no more.

    Raises FalRefused 404 `unknown_request` for one that fal does not know at all.
    """
    if status.status is QueueStatus.NOT_FOUND:
        raise FalRefused(404, "unknown_request")
    if status.status is not QueueStatus.COMPLETED:
        return RequestResult(outcome=ResultWord.NOT_READY, request_id=request_id)
    return RequestResult(
        outcome=ResultWord.EXPIRED,
        request_id=request_id,
        detail=status.error,
        error_type=status.error_type,
    )


def read_cancellation(answer: Answer, request_id: str) -> Cancellation:
    """
    Return what fal says about a cancel, with a drift where its word is not known.

    Raises FalUnavailable, FalRefused, SchemaDrift, and nothing else.
    """
    outcome = wire.parse_cancel(answer)
    cancellation = Cancellation(outcome=outcome, request_id=request_id)
    body = _object(answer.body)
    word = body.get("status")
    is_known = isinstance(body.get("success"), bool) or word in tuple(CancelAnswer)
    if not is_known:
        expected = f"one of {', '.join(CancelAnswer)}"
        told = drift("cancel", "status", answer.body, expected=expected, value=word)
        return cancellation.with_drifts((told,))
    return cancellation


def _output(told: ResultAnswer) -> dict[str, Any]:
    try:
        return {"output": parse_json(told.body)}
    except ValueError:
        return {"output_base64": b64encode(told.body).decode("ascii")}


def _failure(answer: Answer) -> dict[str, Any]:
    """
    Return whose failure it is, and all that is said of it.

    Source: fal docs, "Request errors" (2026-10): the platform's own carry `error_type` beside
    a flat `detail`, and the header `X-Fal-Error-Type`; a model's carry neither.
    """
    body = _object(answer.body)
    kind = answer.headers.get("X-Fal-Error-Type") or body.get("error_type")
    is_own = answer.headers.get("X-Fal-Request-Timeout-Type", "").lower() == "user"
    is_platform = isinstance(kind, str) or is_own or answer.http_status == 499
    fields: dict[str, Any] = {
        "outcome": ResultWord.INFRASTRUCTURE_FAILED if is_platform else ResultWord.MODEL_FAILED,
        "error_type": kind if isinstance(kind, str) else None,
        "is_own_deadline": is_own,
        "detail": body.get("detail"),
    }
    if body and "detail" in body:
        return fields
    try:
        return {**fields, "output": parse_json(answer.body)}
    except ValueError:
        return {**fields, "output_base64": b64encode(answer.body).decode("ascii")}


def _object(body: bytes) -> Mapping[str, Any]:
    try:
        value = parse_json(body)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
