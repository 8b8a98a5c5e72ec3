"""
Requests and submissions as programs read them: flat, instants as RFC 3339 in UTC.

What the command line prints with `--json` and the console answers.
"""

from datetime import datetime
from typing import Any

from consumer.core.cancellation import Cancellation, cancellation_of
from consumer.core.event import format_time
from consumer.core.standing import Request, Submission


def public_request(request: Request) -> dict[str, Any]:
    """Return a request as programs read it."""
    end, result, series = request.end, request.result, request.series
    cancellation = cancellation_of(request)
    return {
        "request_id": request.request_id,
        "state": request.state.value,
        "is_open": request.is_open,
        "is_tracked": request.is_tracked,
        "has_conflict": request.has_conflict,
        "endpoint": request.endpoint.value if request.endpoint else None,
        "submission_id": request.submission.value if request.submission else None,
        "command_id": request.command_id or None,
        "tags": request.tags,
        "group": request.group or None,
        "supersedes": series.key if series else None,
        "number": series.number if series else None,
        "start_by": _maybe_text(request.start_by),
        "finish_by": _maybe_text(request.finish_by),
        "accounts": list(request.accounts),
        "queue_position": request.queue_position,
        "first_at": format_time(request.first_at),
        "last_at": format_time(request.last_at),
        "ended_at": format_time(end.at) if end else None,
        "witness": end.witness.value if end else None,
        "cancellation": public_cancellation(cancellation) if cancellation else None,
        "result_revision": result.revision if result else None,
        "http_status": result.http_status if result else None,
        "billable_units": result.billable_units if result else None,
        "output_missing": result.output_missing if result else None,
    }


def public_cancellation(cancellation: Cancellation) -> dict[str, Any]:
    """Return a cancellation as programs read it: who wanted it, and what truly happened."""
    return {
        "policy": cancellation.policy,
        "happened": cancellation.happened.value,
        "wanted_at": _maybe_text(cancellation.wanted_at),
        "asked_at": _maybe_text(cancellation.asked_at),
        "status": cancellation.status or None,
        "answer": cancellation.answer or None,
        "by": cancellation.by or None,
        "is_billed": cancellation.is_billed,
    }


def public_submission(submission: Submission) -> dict[str, Any]:
    """Return a submission as programs read it."""
    series = submission.series
    return {
        "submission_id": submission.submission_id,
        "state": submission.state.value,
        "request_id": submission.request.value if submission.request else None,
        "endpoint": submission.endpoint or None,
        "command_id": submission.command_id or None,
        "tags": submission.tags,
        "group": submission.group or None,
        "supersedes": series.key if series else None,
        "number": series.number if series else None,
        "reason": submission.reason or None,
        "is_cancel_remembered": submission.is_cancel_remembered,
        "first_at": format_time(submission.first_at),
        "last_at": format_time(submission.last_at),
    }


def _maybe_text(instant: datetime | None) -> str | None:
    return None if instant is None else format_time(instant)
