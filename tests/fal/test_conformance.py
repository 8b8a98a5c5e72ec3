"""The conformance suite of fal's queue, over the fake and over the real client."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from uuid import uuid4

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from consumer.errors import FalRefused
from consumer.fal import FalLimits, fixed_credential, open_fal
from consumer.ports import QueueStatus, ResultKind, SubmitOrder, SubmitRefused
from consumer.telemetry import Metrics
from consumer.testing.fal import FakeFal, FakeJob
from tests.conformance import fal as suite

_LOCKED = b'{"detail":"User is locked. Reason: Exhausted balance."}'
_BAD_GATEWAY = b"<html><head><title>502 Bad Gateway</title></head></html>"


class World:
    """Serves the jobs of a `FakeFal` in fal's own form; decides nothing but that form."""

    def __init__(self, fake: FakeFal) -> None:
        self.fake = fake

    async def submit(self, request: web.Request) -> web.StreamResponse:
        endpoint = request.match_info["endpoint"]
        self.fake.calls.append(("submit", endpoint))
        refused = self._scripted("submit", request)
        if refused is not None:
            return refused
        job = self.fake.add(endpoint, str(uuid4()))
        tags = request.headers.get("X-Fal-Tags", "")
        timeout = request.headers.get("X-Fal-Request-Start-Timeout")
        job.order = SubmitOrder(
            endpoint,
            json.loads(await request.read()),
            request.query.get("fal_webhook", ""),
            float(timeout) if timeout else None,
            dict(pair.split("=", 1) for pair in tags.split(",") if pair),
        )
        self.fake.orders.append(job.order)
        return web.json_response({"request_id": job.request_id, "status": "IN_QUEUE"})

    async def about_job(self, request: web.Request) -> web.StreamResponse:
        request_id, tail = request.match_info["id"], request.match_info["tail"]
        operation = tail.strip("/") or "result"
        self.fake.calls.append((operation, request_id))
        refused = self._scripted(operation, request)
        if refused is not None:
            return refused
        job = self.fake._find(request.match_info["app"], request_id)
        if job is None:
            return web.json_response({"status": "NOT_FOUND"}, status=404)
        return getattr(self, f"_{operation}")(job)

    def _status(self, job: FakeJob) -> web.Response:
        body = {"status": job.status, "request_id": job.request_id, "logs": None, "metrics": {}}
        if job.status is QueueStatus.IN_QUEUE:
            body["queue_position"] = job.queue_position
        if job.error:
            body |= {"error": job.error, "error_type": job.error_type}
        return web.json_response(body, status=200 if job.status is QueueStatus.COMPLETED else 202)

    def _result(self, job: FakeJob) -> web.Response:
        result = job.result
        if result.kind is ResultKind.NOT_READY:
            return web.json_response({"detail": "Request is still in progress"}, status=400)
        if result.kind is ResultKind.NOT_FOUND:
            return web.json_response({"status": "NOT_FOUND"}, status=404)
        headers = {"Content-Type": result.content_type, "x-fal-request-id": job.request_id}
        if result.billable_units is not None:
            headers["X-Fal-Billable-Units"] = result.billable_units
        return web.Response(status=result.http_status, body=result.body, headers=headers)

    def _cancel(self, job: FakeJob) -> web.Response:
        if job.status is QueueStatus.COMPLETED:
            return web.json_response({"status": "ALREADY_COMPLETED"}, status=400)
        if job.status is QueueStatus.IN_PROGRESS:
            return web.json_response({"status": "CANCELLATION_REQUESTED"}, status=202)
        job.status = QueueStatus.COMPLETED
        return web.json_response({"status": "OK"})

    def _scripted(self, operation: str, request: web.Request) -> web.Response | None:
        scripts = self.fake._scripts[operation]
        if not scripts:
            return None
        script = scripts.popleft()
        if isinstance(script, (FalRefused, SubmitRefused)):
            headers = {"Content-Type": "application/json"}
            return web.Response(status=script.http_status, body=_LOCKED, headers=headers)
        if operation == "submit":
            request.transport.abort()
        return web.Response(status=502, body=_BAD_GATEWAY, content_type="text/html")


@asynccontextmanager
async def in_memory() -> AsyncIterator[object]:
    """The fake itself."""
    fake = FakeFal()
    yield suite.Stage(fake, fake)


@asynccontextmanager
async def over_http() -> AsyncIterator[object]:
    """The real client, before a server that answers from a fake's jobs."""
    fake = FakeFal()
    world = World(fake)
    app = web.Application()
    about = r"/{app:.+}/requests/{id:[0-9a-f-]{36}}{tail:(/status|/cancel)?}"
    app.router.add_route("*", about, world.about_job)
    app.router.add_post("/{endpoint:.+}", world.submit)
    limits = replace(FalLimits(), tries=1, probe_s=0.0)
    async with TestServer(app) as server:
        fake.origin = str(server.make_url("")).rstrip("/")
        credential = fixed_credential("a:b")
        async with open_fal(fake.origin, credential, metrics=Metrics(), limits=limits) as fal:
            yield suite.Stage(fal, fake)


@pytest.mark.parametrize("open_stage", [in_memory, over_http])
@pytest.mark.parametrize("promise", suite.PROMISES, ids=lambda promise: promise.__name__)
async def test_every_fal_queue_keeps_its_promises(
    open_stage: Callable[[], AbstractAsyncContextManager[object]], promise
):
    """Fake and real client keep the same promises."""
    async with open_stage() as stage:
        await promise(stage)


def test_the_suite_lists_every_promise():
    """No promise is written and then forgotten in the list."""
    written = [value for name, value in vars(suite).items() if hasattr(value, "__code__")]

    assert set(suite.PROMISES) == {one for one in written if one.__module__ == suite.__name__}
