"""
The account's own requests over HTTP, for audit and for finding what was lost.

Source: fal docs, Platform APIs, requests by endpoint (read 2026-10-07).
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from consumer.simulator.asked import DEFAULT_RANGE, LONG_RANGE, iso, paged
from consumer.simulator.jobqueue import JobQueue
from consumer.simulator.jobs import Job
from consumer.simulator.platform_bodies import RequestItem, RequestsBody
from consumer.simulator.platform_queries import RequestsQuery

_STATUS_CLASSES = {"success": (200, 400), "user_error": (400, 500), "error": (500, 600)}


@dataclass(frozen=True, slots=True)
class HistoryApi:
    """The handler of the request listing."""

    queue: JobQueue
    now: Callable[[], float]

    def requests(self, query: RequestsQuery) -> RequestsBody:
        """Return a page of the requests that reached a runner, the latest ends first."""
        jobs = self._listed(query)
        if query.sort_by == "duration":
            jobs = sorted(jobs, key=_duration_s, reverse=True)
        page, cursor = paged(jobs, query.page, query.limit)
        has_payloads = "payloads" in query.expand
        return {
            "items": [_item(job, has_payloads=has_payloads) for job in page],
            "next_cursor": cursor,
            "has_more": cursor is not None,
        }

    def _listed(self, query: RequestsQuery) -> Iterable[Job]:
        """Yield the jobs a call asks for, running ones first, then the latest ends."""
        default = LONG_RANGE if query.request_id else DEFAULT_RANGE
        start, end = query.span(self.now(), default)
        if query.request_id:
            job = self.queue.find(query.request_id.lower())
            is_listed = job is not None and job.sent_at is not None
            jobs = [job] if job and is_listed and job.order.endpoint in query.endpoint_id else []
        else:
            jobs = self.queue.by_end(query.endpoint_id)
        return (
            job
            for job in jobs
            if start <= (job.ended_at or job.sent_at or 0.0) < end and _has_class(job, query.status)
        )


def _item(job: Job, *, has_payloads: bool) -> RequestItem:
    started_at = iso(job.sent_at or 0.0)
    item: RequestItem = {
        "request_id": job.request_id,
        "endpoint_id": job.order.endpoint,
        "started_at": started_at,
        "sent_at": started_at,
    }
    if job.ending is not None:
        item["ended_at"] = iso(job.ended_at or 0.0)
        item["status_code"] = job.ending.http_status
        item["duration"] = _duration_s(job)
    if has_payloads and job.order.stores_io is not False:
        item["json_input"] = job.order.input
        item["json_output"] = None if job.ending is None else job.json_output(job.ending)
    return item


def _duration_s(job: Job) -> float:
    return (job.ended_at or 0.0) - job.sent_at if job.ended_at and job.sent_at else 0.0


def _has_class(job: Job, name: str | None) -> bool:
    if name is None:
        return True
    low, high = _STATUS_CLASSES[name]
    return job.ending is not None and low <= job.ending.http_status < high
