"""
fal's answers, judged: bodies and headers into values of `ports`, or into one error of ours.

Pure. Decides on bodies first, on status codes second, because fal's documentation and its
recorded answers disagree about the codes. No text of an answer enters an error: some of
fal's refusals quote the key.
"""

import re
from collections.abc import Mapping
from typing import Any, NoReturn

from consumer.core.endpoint import is_request_id
from consumer.core.text import parse_json
from consumer.errors import FalRefused, FalUnavailable
from consumer.fal.answers import Status
from consumer.fal.call import Answer
from consumer.fal.reading import drift, json_of, read
from consumer.ports import (
    CancelAnswer,
    QueueStatus,
    ResultAnswer,
    ResultKind,
    StatusAnswer,
    SubmitAnswer,
    SubmitRefused,
    Submitted,
    SubmitUnknown,
)

# The text of a result that is read too early, under 400 and other codes.
# Source: clients of fal that recorded it (2026); fal's own pages do not describe this case.
NOT_READY_DETAIL = "Request is still in progress"
_NOT_FOUND = {"status": "NOT_FOUND"}  # Source: recorded answers to unknown ids, 2026
_WORDS = frozenset(QueueStatus) - {QueueStatus.NOT_FOUND}
_ALL_WORDS = (frozenset(QueueStatus) | frozenset(CancelAnswer)) - {QueueStatus.NOT_FOUND}
_PENDING = {QueueStatus.IN_QUEUE, QueueStatus.IN_PROGRESS}
_ERROR_FIELDS = {"detail", "error", "error_type", "message"}
# What fal's and the platform's errors are told in (fal docs, "Errors", 2026-10).
_MAX_WAIT_S = 3600.0
_MAX_MARKER_BYTES = 64 * 1024  # a marker body is a few hundred bytes; outputs are not parsed here
_REASON = re.compile(r"[a-z][a-z_]{0,63}")
_DECIMAL = re.compile(r"[0-9]{1,18}(\.[0-9]{1,18})?([eE][+-]?[0-9]{1,2})?")
_UNKNOWN_APP = re.compile(r'Application\s+["\'].*["\']?\s+not found', re.DOTALL)


# ---------------------------------------------------------------- the three reads


def parse_status(answer: Answer, request_id: str) -> StatusAnswer:
    """Return what handlers and sweeps need of `read_status`. Raises what it raises."""
    return status_answer(read_status(answer, request_id))


def read_status(answer: Answer, request_id: str) -> Status:
    """
    Return what fal's status says, whether it came under 200 or 202.

    Raises FalUnavailable, FalRefused, SchemaDrift, and nothing else.
    """
    body = _json_object(answer)
    if body == _NOT_FOUND and answer.http_status < 500:
        return Status(status=QueueStatus.NOT_FOUND, request_id=request_id)
    if body is None or not _has_status_word(answer, body):
        raise_unless_ok(answer, "status")
    if body is None:
        _refuse_unreadable(answer, "status")
    status, drifts = read(Status, body, "status", answer.body)
    if status.status not in _WORDS:  # more than fal's exact answer to an unknown id
        raise drift("status", "status", answer.body, expected="a word alone", value=body)
    if status.request_id is not None and status.request_id.lower() != request_id.lower():
        raise drift(
            "status", "request_id", answer.body, expected="the one asked for", value=request_id
        )
    return status.with_drifts(drifts)


def status_answer(status: Status) -> StatusAnswer:
    """Return a status as handlers and sweeps know it."""
    is_completed = status.status is QueueStatus.COMPLETED
    return StatusAnswer(
        status.status,
        queue_position=status.queue_position if status.status is QueueStatus.IN_QUEUE else None,
        error=status.error if is_completed else None,
        error_type=status.error_type if is_completed else None,
        drifts=status.drifts,
    )


def parse_result(answer: Answer) -> ResultAnswer:
    """
    Return the model's own answer that fal replays, or that there is none yet, or none any more.

    What the model answered is READY under any code, also 401, 404 and 5xx: it is told from
    fal's and a proxy's own answers by the headers that only a run leaves.
    Raises FalUnavailable and FalRefused, and nothing else.
    """
    is_small = len(answer.body) <= _MAX_MARKER_BYTES
    body = _json_object(answer) if is_small or answer.http_status >= 400 else None
    if body is not None and body.get("detail") == NOT_READY_DETAIL:
        return ResultAnswer(ResultKind.NOT_READY)
    if has_run(answer):
        return _ready(answer)
    if body == _NOT_FOUND and 400 <= answer.http_status < 500:
        return ResultAnswer(ResultKind.NOT_FOUND)
    if body is not None and _is_pending_object(answer, body):
        return ResultAnswer(ResultKind.NOT_READY)
    if not _is_replay(answer, body):
        raise_unless_ok(answer)
        if not answer.body:
            raise FalUnavailable("empty_answer", came=answer.came)
        if answer.is_page and "x-fal-request-id" not in answer.headers:
            raise FalUnavailable("unreadable_answer", came=answer.came)
    return _ready(answer)


def parse_cancel(answer: Answer) -> CancelAnswer:
    """
    Return what fal says about a cancel. Any 2xx it does not explain is REQUESTED.

    Raises FalUnavailable, FalRefused, SchemaDrift, and nothing else.
    """
    body = _json_object(answer) or {}
    if body == _NOT_FOUND and answer.http_status < 500:
        return CancelAnswer.NOT_FOUND
    word = body.get("status")
    if word == CancelAnswer.ALREADY_COMPLETED and answer.http_status < 500:
        return CancelAnswer.ALREADY_COMPLETED
    raise_unless_ok(answer, "cancel")
    # Before 2026 models documented 200 {"success": bool}. False too is no more than "look
    # again": the request's end is learned from its status, not from here.
    return CancelAnswer.REMOVED if word == CancelAnswer.REMOVED else CancelAnswer.REQUESTED


def parse_submit(answer: Answer) -> SubmitAnswer:
    """
    Return whether a job exists, for certain or not. Raises nothing.

    408 and 499 are no refusals: they say that somebody stopped waiting.
    """
    status = answer.http_status
    if 400 <= status < 500 and status not in (408, 499):
        return SubmitRefused(status, reason_of(answer))
    if not 200 <= status < 300:
        return SubmitUnknown(f"http_{status}")
    request_id = (_json_object(answer) or {}).get("request_id")
    if not isinstance(request_id, str) or not is_request_id(request_id):
        told = drift(
            "submit", "request_id", answer.body, expected="a UUID", value=request_id or None
        )
        return SubmitUnknown("unreadable_id", told)
    return Submitted(request_id.lower())


# ---------------------------------------------------------------- what is not an answer


def raise_unless_ok(answer: Answer, operation: str = "") -> None:
    """
    Return for 2xx; otherwise raise the error that says who must act.

    Raises FalUnavailable (5xx, 429, pages and waits of a proxy) and FalRefused (the rest).
    With an `operation` that answers 400 and 404 with words of its own, an object under one of
    these codes that describes no error either is SchemaDrift.
    """
    status = answer.http_status
    if 200 <= status < 300:
        return
    if status >= 500 or status in (408, 425, 429):
        reason = "rate_limited" if status == 429 else f"http_{status}"
        wait_s = retry_after_s(answer.headers)
        raise FalUnavailable(reason, retry_after_s=wait_s, came=answer.came)
    if status == 407 or (status == 403 and answer.is_page):
        problem = "proxy_refused" if status == 407 else "challenged"
        raise FalUnavailable(problem, came=answer.came)
    body = _json_object(answer)
    if operation and status in (400, 404) and body is not None and _says_nothing(body):
        expected = "a word that is known, or an error's description"
        raise drift(operation, "status", answer.body, expected=expected, value=body.get("status"))
    raise FalRefused(status, reason_of(answer))


def reason_of(answer: Answer) -> str:
    """Return a word for a refusal: fal's own error type if it has one, else one by its status."""
    if is_locked(answer):
        return "locked"
    if answer.http_status == 401 and _lacks_access(answer):
        return "no_access"
    body = _json_object(answer) or {}
    envelope = body.get("error")  # the platform's: {"error": {"type": …, "message": …}}
    kind = envelope.get("type") if isinstance(envelope, dict) else None
    for word in (answer.headers.get("X-Fal-Error-Type"), body.get("error_type"), kind):
        if isinstance(word, str) and _REASON.fullmatch(word):
            return word
    words = {401: "unauthorized", 403: "forbidden", 404: "not_found", 429: "rate_limited"}
    return words.get(answer.http_status, f"http_{answer.http_status}")


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """
    Return the seconds that `Retry-After` or `x-ratelimit-reset` asks for, None without a number.

    Source: fal docs, "Rate limits" of the platform, 2026; dates are not read, fal sends none.
    """
    for name in ("Retry-After", "x-ratelimit-reset"):
        text = headers.get(name, "").strip()
        if not _DECIMAL.fullmatch(text) or len(text) > 12:
            continue
        seconds = float(text)
        if name != "Retry-After" and seconds > _MAX_WAIT_S:
            continue  # no end of a window of a minute, but perhaps an instant
        return min(seconds, _MAX_WAIT_S)
    return None


# ---------------------------------------------------------------- parts


def _ready(answer: Answer) -> ResultAnswer:
    units = answer.headers.get("X-Fal-Billable-Units", "").strip()
    return ResultAnswer(
        ResultKind.READY,
        http_status=answer.http_status,
        body=answer.body,
        content_type=answer.headers.get("Content-Type", ""),
        billable_units=units if _DECIMAL.fullmatch(units) else None,
    )


def is_unauthorized(answer: Answer) -> bool:
    """
    Tell whether fal does not take our key; a model may answer 401 of its own.

    So may one application that the key has no access to: the key is good elsewhere.
    """
    return answer.http_status == 401 and not has_run(answer) and not _lacks_access(answer)


def _lacks_access(answer: Answer) -> bool:
    """Source: recorded answers, 2026: 401 with a detail like `Cannot access application "…"`."""
    detail = (_json_object(answer) or {}).get("detail")
    return isinstance(detail, str) and detail.startswith("Cannot access application")


def is_limited(answer: Answer) -> bool:
    """Tell whether the host says that it is asked too often; a model may answer 429 of its own."""
    return answer.http_status == 429 and not has_run(answer)


def is_locked(answer: Answer) -> bool:
    """
    Tell whether fal says that the account is locked, which only a human can end.

    Source: recorded answers, 2026: 403 with a detail like "User is locked. Reason: …".
    """
    if answer.http_status != 403 or has_run(answer):
        return False
    detail = (_json_object(answer) or {}).get("detail")
    return isinstance(detail, str) and "locked" in detail.lower()


def has_run(answer: Answer) -> bool:
    """
    Tell whether a runner gave this answer, by the headers that fal replays with it.

    Source: fal docs, "Queue result", 2026-10: the model's headers are replayed.
    """
    return "X-Fal-Billable-Units" in answer.headers or "X-Fal-Served-From" in answer.headers


def _is_replay(answer: Answer, body: dict[str, Any] | None) -> bool:
    """
    Tell whether an answer without a runner's headers is still the request's own.

    fal's official clients take a 502, 503 or 504 without `x-fal-request-id` for a proxy's.
    """
    status = answer.http_status
    if status < 400 or answer.is_page or status in (401, 403, 405, 408, 429):
        return False
    if status == 404 and body is not None and _names_no_application(body):
        return False
    marks = ("x-fal-request-id", "X-Fal-Error-Type", "X-Fal-Request-Timeout-Type")
    is_marked = any(mark in answer.headers for mark in marks)
    return is_marked if status >= 500 else is_marked or body is not None


def _says_nothing(body: Mapping[str, Any]) -> bool:
    """Tell whether an object holds neither a word of fal's nor an error's description."""
    word = body.get("status")
    is_word = isinstance(word, str) and word in _ALL_WORDS
    return not is_word and not _ERROR_FIELDS & set(body)


def _names_no_application(body: Mapping[str, Any]) -> bool:
    detail = body.get("detail")
    return isinstance(detail, str) and _UNKNOWN_APP.match(detail) is not None


def _has_status_word(answer: Answer, body: Mapping[str, Any]) -> bool:
    """Tell whether the body is a status after all, under a code that would refuse it."""
    word = body.get("status")
    return answer.http_status < 429 and isinstance(word, str) and word in _WORDS


def _is_pending_object(answer: Answer, body: Mapping[str, Any]) -> bool:
    """Tell whether this is a status object, as one gateway gave it under 400 for a result."""
    status = body.get("status")
    return answer.http_status in (202, 400) and isinstance(status, str) and status in _PENDING


def _json_object(answer: Answer) -> dict[str, Any] | None:
    try:
        value = parse_json(answer.body)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _refuse_unreadable(answer: Answer, operation: str) -> NoReturn:
    """Tell a broken answer, which may be whole next time, from JSON that is no object."""
    value = json_of(answer)
    raise drift(operation, "the answer", answer.body, expected="an object", value=value)
