"""The queue's URLs and its status object: pure translation between paths, jobs and JSON."""

import re
from dataclasses import dataclass

from aiohttp import web

from consumer.simulator.config import SimulatorConfig, UrlForm
from consumer.simulator.faults import Operation
from consumer.simulator.jobs import COMPLETED, IN_QUEUE, Job
from consumer.simulator.queue_bodies import LogLine, StatusBody, SubmitBody, Urls

# These owners stand in front of a full owner/app pair (fal's clients, read 2026-08-15).
_NAMESPACES = frozenset({"workflows", "comfy"})
# The form of the first endpoint ids: owner and app in one segment (fal's clients, likewise).
_OLD_ID = re.compile(r"([0-9]+)-([a-zA-Z0-9-]+)")
_TAILS: dict[tuple[str, ...], Operation] = {
    (): Operation.RESULT,
    ("response",): Operation.RESULT,
    ("status",): Operation.STATUS,
    ("status", "stream"): Operation.STREAM,
    ("cancel",): Operation.CANCEL,
}


@dataclass(frozen=True, slots=True)
class QueuePath:
    """
    What a path of the queue host asks for; `request_id` is empty for a submit.

    `is_misplaced` where the endpoint's sub path stands before a request: fal takes such a URL
    for a submit and answers 405, but for a result under `/response`.
    """

    operation: Operation
    endpoint: str
    app: str
    request_id: str = ""
    is_misplaced: bool = False


def parse_path(path: str) -> QueuePath | None:
    """
    Return what the path asks for, None when it names no app at all.

    `owner/app[/path]` is a submit, `owner/app/requests/{id}[/…]` everything else.

    Source: fal docs, Queue (read 2026-10-07).
    """
    segments = path.strip("/").split("/")
    old = _OLD_ID.fullmatch(segments[0])
    if old:
        segments[:1] = old.groups()
    depth = 3 if segments[0] in _NAMESPACES else 2
    if len(segments) < depth or not all(segments):
        return None
    app = "/".join(segments[:depth])
    for index in range(depth, len(segments) - 1):
        tail = tuple(segments[index + 2 :])
        if segments[index] == "requests" and tail in _TAILS:
            is_misplaced = index > depth and tail != ("response",)
            endpoint = "/".join(segments[:index])
            return QueuePath(_TAILS[tail], endpoint, app, segments[index + 1], is_misplaced)
    return QueuePath(Operation.SUBMIT, "/".join(segments), app)


def urls_of(request: web.Request, job: Job, config: SimulatorConfig) -> Urls:
    """Return the three URLs of a job, on the origin the caller used."""
    is_full = config.url_form is UrlForm.FULL
    owner = job.order.endpoint if is_full else job.order.app
    base = f"{request.scheme}://{request.host}/{owner}/requests/{job.request_id}"
    return {
        "response_url": f"{base}/response" if is_full else base,
        "status_url": f"{base}/status",
        "cancel_url": f"{base}/cancel",
    }


def submitted(urls: Urls, job: Job, position: int) -> SubmitBody:
    """Return the answer to a submit."""
    return {
        "status": "IN_QUEUE",
        "request_id": job.request_id,
        **urls,
        "queue_position": position,
        "gateway_request_id": job.gateway_request_id,
        "logs": None,
        "metrics": {},
    }


def status_of(urls: Urls, job: Job, position: int, logs: list[LogLine] | None) -> StatusBody:
    """
    Return fal's status object; `queue_position` only while queued, `logs` null unless asked.

    A model's own failure shows a bare COMPLETED; `error` and `error_type` are for
    infrastructure failures and cancels.

    Source: fal docs, Queue status (read 2026-10-07); a recorded status of a 422.
    """
    body: StatusBody = {
        "status": job.status,
        "request_id": job.request_id,
        "response_url": urls["response_url"],
        "status_url": urls["status_url"],
        "cancel_url": urls["cancel_url"],
        "logs": logs,
        "metrics": {"inference_time": job.run_s} if job.status == COMPLETED else {},
    }
    if job.status == IN_QUEUE:
        body["queue_position"] = position
    if job.ending is not None and job.ending.error is not None:
        body["error"] = job.ending.error
        body["error_type"] = job.ending.error_type or ""
    return body
