"""
The queue over HTTP: submit, status, stream, result, cancel, as `queue.fal.run` answers them.

Reads the request, asks `jobqueue`, writes the answer.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from consumer.simulator.access import is_anonymous
from consumer.simulator.calls import QUEUE_METHODS
from consumer.simulator.catalog import Catalog
from consumer.simulator.config import SimulatorConfig, UrlForm
from consumer.simulator.door import Door
from consumer.simulator.errors import refusal
from consumer.simulator.faults import Operation, cut
from consumer.simulator.jobqueue import JobQueue, UnknownScenarioError
from consumer.simulator.jobs import COMPLETED, Job, Order
from consumer.simulator.model_logs import logs_of
from consumer.simulator.orders import BadOrderError, read_order
from consumer.simulator.outcomes import START_TIMEOUT
from consumer.simulator.queue_bodies import CancelBody, NotFoundBody, NotReadyBody, OldCancelBody
from consumer.simulator.queue_wire import QueuePath, parse_path, status_of, submitted, urls_of
from consumer.simulator.scenarios import Submit
from consumer.simulator.standing import Api
from consumer.simulator.status_stream import StatusStream
from consumer.simulator.webhooks import NotLoopbackError

_MAX_ANSWER_HELD_S = 10.0  # real seconds that `early` waits for its webhook's first attempt
_NOT_FOUND: NotFoundBody = {"status": "NOT_FOUND"}


@dataclass(frozen=True, slots=True)
class QueueApi:
    """The handlers of the queue host."""

    config: SimulatorConfig
    queue: JobQueue
    catalog: Catalog
    door: Door

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer any call below the queue's root."""
        path = parse_path(request.match_info["tail"])
        if path is None or not self.catalog.has_app(path.app):
            named = request.match_info["tail"]
            return refusal(Api.QUEUE, 404, f'Application "{named}" not found')
        allowed = QUEUE_METHODS[path.operation]
        if path.is_misplaced and self.config.url_form is UrlForm.APP:
            allowed = "POST"
        if request.method != allowed:
            return refusal(Api.QUEUE, 405, "Method Not Allowed", headers={"Allow": allowed})
        refused = self.door.access.refusal_of(request, path.app)
        if refused is not None and is_anonymous(request) and self._is_unknown(path):
            refused = None  # fal says that it does not know an id to anybody
        return await self.door.admit(
            request, path.operation, refused, lambda: self._carry_out(request, path)
        )

    async def _carry_out(self, request: web.Request, path: QueuePath) -> web.StreamResponse:
        if path.operation is Operation.SUBMIT:
            return self.door.refusal_of_lock() or await self._submit(request, path)
        job = self._job_of(path)
        if job is None:
            return web.json_response(_NOT_FOUND, status=404)
        match path.operation:
            case Operation.STATUS:
                return self._status(request, job)
            case Operation.STREAM:
                return await self._stream(request, job)
            case Operation.CANCEL:
                return self._cancel(job)
            case _:
                return self._result(request, job)

    def _job_of(self, path: QueuePath) -> Job | None:
        job = self.queue.find(path.request_id)
        return None if job is None or job.order.app != path.app else job

    def _is_unknown(self, path: QueuePath) -> bool:
        return path.operation is not Operation.SUBMIT and self._job_of(path) is None

    async def _submit(self, request: web.Request, path: QueuePath) -> web.Response:
        try:
            order = await read_order(request, path)
            scenario = self.queue.choose_scenario(order)
        except BadOrderError as exc:
            return _flat(exc.http_status, exc.detail, exc.error_type)
        except (NotLoopbackError, UnknownScenarioError) as exc:
            return refusal(Api.QUEUE, 400, str(exc))
        if self._is_full(order):
            return _flat(429, "Queue is full", "concurrent_requests_limit")
        if scenario.submit is Submit.FAILED:
            self.queue.note_refused()
            return refusal(Api.QUEUE, 500, "Internal Server Error")
        job = self.queue.submit(order, scenario)
        if scenario.submit is Submit.CUT:
            return cut(request)
        if scenario.submit is Submit.AFTER_WEBHOOK and order.webhook_url is not None:
            await _first_attempt(job)
        urls = urls_of(request, job, self.config)
        return _answer(job, submitted(urls, job, self.queue.position(job)), 200)

    def _is_full(self, order: Order) -> bool:
        most = order.max_queue_length
        return most is not None and self.queue.line(order.endpoint).queued > most

    def _status(self, request: web.Request, job: Job) -> web.Response:
        logs = None
        if _wants_logs(request):
            logs = logs_of(job, self.door.now(), self.config.time_scale)
        urls = urls_of(request, job, self.config)
        body = status_of(urls, job, self.queue.position(job), logs)
        return _answer(job, body, 200 if job.status == COMPLETED else 202)

    async def _stream(self, request: web.Request, job: Job) -> web.StreamResponse:
        urls = urls_of(request, job, self.config)
        stream = StatusStream(
            self.config, self.queue, self.door, job, urls, has_logs=_wants_logs(request)
        )
        return await stream.send(request)

    def _cancel(self, job: Job) -> web.Response:
        call = self.queue.cancel(job)
        body: CancelBody | OldCancelBody = {"status": call.status}
        if self.config.has_old_cancel and call.http_status < 400:
            return _answer(job, {"success": True}, 200)
        return _answer(job, body, call.http_status)

    def _result(self, request: web.Request, job: Job) -> web.Response:
        ending = job.ending
        if ending is None:
            early: NotReadyBody = {
                "detail": "Request is still in progress",
                "request_id": job.request_id,
                **urls_of(request, job, self.config),
            }
            return _answer(job, early, 400)
        if self.queue.is_expired(job):
            return web.json_response(_NOT_FOUND, status=404)
        job.entry.result_reads += 1
        output = job.output(ending)
        headers = {
            "x-fal-request-id": job.request_id,
            "X-Fal-Billable-Units": f"{ending.billable_units:g}",
            "X-Fal-Served-From": f"simulator-{job.seed % 97:02d}",
            "Content-Type": output.content_type,
        }
        if ending.error_type is not None:
            headers["X-Fal-Error-Type"] = ending.error_type
        if ending is START_TIMEOUT:
            headers["X-Fal-Request-Timeout-Type"] = "user"
        return web.Response(body=output.content, status=ending.http_status, headers=headers)


def _wants_logs(request: web.Request) -> bool:
    return request.query.get("logs") in {"1", "true"}


async def _first_attempt(job: Job) -> None:
    try:
        async with asyncio.timeout(_MAX_ANSWER_HELD_S):
            await job.first_attempt_over.wait()
    except TimeoutError:
        return


def _answer(job: Job, body: Mapping[str, Any], http_status: int) -> web.Response:
    return web.json_response(body, status=http_status, headers={"x-fal-request-id": job.request_id})


def _flat(http_status: int, detail: str, error_type: str) -> web.Response:
    """
    Return an error of the infrastructure, whose type stands in body and header.

    Source: fal docs, Request errors (read 2026-10-07).
    """
    body = {"detail": detail, "error_type": error_type}
    return web.json_response(body, status=http_status, headers={"X-Fal-Error-Type": error_type})
