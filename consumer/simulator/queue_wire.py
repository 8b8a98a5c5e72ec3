"""The queue's URLs and its status object: pure translation between paths, jobs and JSON."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from aiohttp import web

from consumer.simulator.faults import Operation
from consumer.simulator.jobs import COMPLETED, IN_QUEUE, Job

# These owners stand in front of a full owner/app pair (fal's clients, read 2026-08-15).
_NAMESPACES = frozenset({"workflows", "comfy"})
_TAILS: dict[tuple[str, ...], Operation] = {
    (): Operation.RESULT,
    ("response",): Operation.RESULT,
    ("status",): Operation.STATUS,
    ("status", "stream"): Operation.STREAM,
    ("cancel",): Operation.CANCEL,
}


@dataclass(frozen=True, slots=True)
class QueuePath:
    """What a path of the queue host asks for; `request_id` is empty for a submit."""

    operation: Operation
    endpoint: str
    app: str
    request_id: str = ""


def parse_path(path: str) -> QueuePath | None:
    """
    Return what the path asks for, None when it names no app at all.

    `owner/app[/path]` is a submit, `owner/app/requests/{id}[/…]` everything else.

    Source: fal docs, Queue (read 2026-10-07).
    """
    segments = path.strip("/").split("/")
    depth = 3 if segments[0] in _NAMESPACES else 2
    if len(segments) < depth or not all(segments):
        return None
    app = "/".join(segments[:depth])
    rest = tuple(segments[depth:])
    if len(rest) >= 2 and rest[0] == "requests" and rest[2:] in _TAILS:
        return QueuePath(_TAILS[rest[2:]], app, app, rest[1])
    return QueuePath(Operation.SUBMIT, "/".join(segments), app)


def urls_of(request: web.Request, job: Job) -> dict[str, str]:
    """Return the three URLs of a job, on the origin the caller used, in the app form."""
    base = f"{request.scheme}://{request.host}/{job.order.app}/requests/{job.request_id}"
    return {"response_url": base, "status_url": f"{base}/status", "cancel_url": f"{base}/cancel"}


def status_of(request: web.Request, job: Job, position: int) -> dict[str, Any]:
    """
    Return fal's status object; `queue_position` only while queued, `logs` null unless asked.

    A model's own failure shows a bare COMPLETED; `error` and `error_type` are for
    infrastructure failures and cancels.

    Source: fal docs, Queue status (read 2026-10-07); a recorded status of a 422.
    """
    body: dict[str, Any] = {
        "status": job.status,
        "request_id": job.request_id,
        **urls_of(request, job),
        "logs": _logs_of(job) if request.query.get("logs") in {"1", "true"} else None,
        "metrics": {"inference_time": job.run_s} if job.status == COMPLETED else {},
    }
    if job.status == IN_QUEUE:
        body["queue_position"] = position
    if job.ending is not None and job.ending.error is not None:
        body |= {"error": job.ending.error, "error_type": job.ending.error_type}
    return body


def _logs_of(job: Job) -> list[dict[str, str]]:
    return [
        {
            "message": f"now {change.status}",
            "timestamp": datetime.fromtimestamp(change.at, UTC).isoformat(),
            "level": "INFO",
            "source": "USER",
        }
        for change in job.entry.changes
    ]
