"""
The queue over HTTP: submit, status, stream, result, cancel, as `queue.fal.run` answers them.

Reads the request, asks `jobqueue`, writes the answer. URLs are served in the app form only:
a call with the model's sub path kept meets the submit route and answers 405, as at fal.
"""

import asyncio
import json
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from consumer.simulator.access import is_anonymous, key_id_of
from consumer.simulator.catalog import Catalog
from consumer.simulator.config import SimulatorConfig
from consumer.simulator.door import Door
from consumer.simulator.errors import refusal
from consumer.simulator.faults import Operation, cut
from consumer.simulator.jobqueue import JobQueue, UnknownScenarioError
from consumer.simulator.jobs import COMPLETED, Job, Order
from consumer.simulator.outcomes import START_TIMEOUT
from consumer.simulator.queue_wire import (
    QueuePath,
    parse_path,
    status_of,
    urls_of,
)
from consumer.simulator.scenarios import Submit
from consumer.simulator.standing import Api
from consumer.simulator.webhooks import NotLoopbackError, loopback_url

_MAX_ANSWER_HELD_S = 10.0  # real seconds that `early` waits for its webhook's first attempt
_MIN_START_TIMEOUT_S = 0.1  # fal refuses less (docs, Platform headers, read 2026-10-07)
_NOT_FOUND = {"status": "NOT_FOUND"}
_METHODS = {
    Operation.SUBMIT: "POST",
    Operation.STATUS: "GET",
    Operation.STREAM: "GET",
    Operation.RESULT: "GET",
    Operation.CANCEL: "PUT",
}


class BadOrderError(ValueError):
    """The submit call itself cannot be taken; carries the HTTP status and fal's words."""

    def __init__(self, http_status: int, detail: str, error_type: str) -> None:
        super().__init__(http_status, detail, error_type)
        self.http_status = http_status
        self.detail = detail
        self.error_type = error_type


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
        allowed = _METHODS[path.operation]
        if request.method != allowed:
            raise web.HTTPMethodNotAllowed(request.method, [allowed])
        refused = self.door.access.refusal_of(request, path.app)
        if refused is not None and is_anonymous(request) and self._is_unknown(path):
            refused = None  # fal says that it does not know an id to anybody
        return await self.door.admit(
            request, path.operation, refused, lambda: self._carry_out(request, path)
        )

    async def _carry_out(self, request: web.Request, path: QueuePath) -> web.StreamResponse:
        if path.operation is Operation.SUBMIT:
            return self.door.refusal_of_lock() or await self._submit(request, path)
        return await self._about_job(request, path)

    def _is_unknown(self, path: QueuePath) -> bool:
        if path.operation is Operation.SUBMIT:
            return False
        job = self.queue.find(path.request_id)
        return job is None or job.order.app != path.app

    async def _about_job(self, request: web.Request, path: QueuePath) -> web.StreamResponse:
        job = self.queue.find(path.request_id)
        if job is None or job.order.app != path.app:
            return web.json_response(_NOT_FOUND, status=404)
        match path.operation:
            case Operation.STATUS:
                return self._status(request, job)
            case Operation.STREAM:
                return await self._stream(request, job)
            case Operation.CANCEL:
                call = self.queue.cancel(job)
                return _answer(job, {"status": call.status}, call.http_status)
            case _:
                return self._result(request, job)

    async def _submit(self, request: web.Request, path: QueuePath) -> web.Response:
        try:
            order = await _read_order(request, path)
            scenario = self.queue.choose_scenario(order)
        except BadOrderError as exc:
            body = {"detail": exc.detail, "error_type": exc.error_type}
            return web.json_response(body, status=exc.http_status)
        except (NotLoopbackError, UnknownScenarioError) as exc:
            return refusal(Api.QUEUE, 400, str(exc))
        most = request.query.get("fal_max_queue_length", "")
        if most.isdecimal() and self.queue.line(order.endpoint).queued > int(most):
            body = {"detail": "Queue is full", "error_type": "concurrent_requests_limit"}
            return web.json_response(body, status=429)
        if scenario.submit is Submit.FAILED:
            self.queue.note_refused()
            return refusal(Api.QUEUE, 500, "Internal Server Error")
        job = self.queue.submit(order, scenario)
        if scenario.submit is Submit.CUT:
            return cut(request)
        if scenario.submit is Submit.AFTER_WEBHOOK and order.webhook_url is not None:
            await _first_attempt(job)
        return _answer(job, self._submit_answer(request, job), 200)

    def _submit_answer(self, request: web.Request, job: Job) -> dict[str, Any]:
        return {
            "status": "IN_QUEUE",
            "request_id": job.request_id,
            **urls_of(request, job),
            "queue_position": self._position(job),
            "gateway_request_id": job.request_id,
            "logs": None,
            "metrics": {},
        }

    def _position(self, job: Job) -> int:
        return self.queue.line(job.order.endpoint).position(job)

    def _status(self, request: web.Request, job: Job) -> web.Response:
        body = status_of(request, job, self._position(job))
        return _answer(job, body, 200 if job.status == COMPLETED else 202)

    async def _stream(self, request: web.Request, job: Job) -> web.StreamResponse:
        response = web.StreamResponse(
            headers={"Content-Type": "text/event-stream", "Cache-Control": "no-cache"}
        )
        await response.prepare(request)
        try:
            async with asyncio.timeout(self.door.standing.stream_cut_s):
                await self._tell(request, response, job)
        except TimeoutError:
            cut(request)
        return response

    async def _tell(self, request: web.Request, response: web.StreamResponse, job: Job) -> None:
        """Write the status at each change, until it is COMPLETED."""
        while True:
            changed, completed = job.changed, job.status == COMPLETED
            text = json.dumps(status_of(request, job, self._position(job)))
            await response.write(f"data: {text}\n\n".encode())
            if completed:
                return
            await self._comment_until(changed, response)

    async def _comment_until(self, changed: asyncio.Event, response: web.StreamResponse) -> None:
        while not changed.is_set():
            try:
                async with asyncio.timeout(self.config.stream_comment_s * self.config.time_scale):
                    await changed.wait()
            except TimeoutError:
                await response.write(b": keep-alive\n\n")

    def _result(self, request: web.Request, job: Job) -> web.Response:
        ending = job.ending
        if ending is None:
            body = {"detail": "Request is still in progress", "request_id": job.request_id}
            return _answer(job, body | urls_of(request, job), 400)
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


async def _read_order(request: web.Request, path: QueuePath) -> Order:
    """
    Read a submit call; the input may hold anything, for fal does not validate it here.

    Raises BadOrderError when the body is no JSON object or the start deadline no number
    above 0.1, NotLoopbackError when the webhook URL leads off this machine.
    """
    content = await request.read()
    try:
        model_input = json.loads(content)
    except (ValueError, RecursionError) as exc:
        raise BadOrderError(422, "The body is not JSON", "bad_request") from exc
    if not isinstance(model_input, dict):
        raise BadOrderError(422, "The body is not a JSON object", "bad_request")
    webhook_url = request.query.get("fal_webhook")
    if webhook_url is not None:
        loopback_url(webhook_url)
    return Order(
        endpoint=path.endpoint,
        app=path.app,
        content=content,
        input=model_input,
        webhook_url=webhook_url,
        tags=request.headers.get("X-Fal-Tags"),
        headers=_headers_of_fal(request),
        start_timeout_s=_start_timeout_s(request),
        stores_io={"0": False, "1": True}.get(request.headers.get("X-Fal-Store-IO", "")),
        api_key_id=key_id_of(request),
    )


def _start_timeout_s(request: web.Request) -> float | None:
    # The old name still works; the new one wins (fal docs, Platform headers, read 2026-10-07).
    text = request.headers.get("X-Fal-Request-Start-Timeout")
    text = request.headers.get("X-Fal-Request-Timeout") if text is None else text
    if text is None:
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not _MIN_START_TIMEOUT_S < seconds < float("inf"):
        raise BadOrderError(400, "The start timeout is no number above 0.1", "bad_request")
    return seconds


def _headers_of_fal(request: web.Request) -> dict[str, str]:
    """Return the headers that fal's documentation names, by their names in lower case."""
    return {
        name.lower(): text
        for name, text in request.headers.items()
        if name.lower().startswith(("x-fal-", "x-app-fal-"))
    }


async def _first_attempt(job: Job) -> None:
    try:
        async with asyncio.timeout(_MAX_ANSWER_HELD_S):
            await job.first_attempt_over.wait()
    except TimeoutError:
        return


def _answer(job: Job, body: dict[str, Any], http_status: int) -> web.Response:
    return web.json_response(body, status=http_status, headers={"x-fal-request-id": job.request_id})
