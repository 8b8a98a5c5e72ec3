"""A small HTTP server that answers what a test tells it, and the real client in front of it."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from consumer.fal import Credential, FalLimits, FalQueueClient, fixed_credential, open_fal
from consumer.telemetry import Metrics

KEY = "id-of-key:secret-of-key"
QUICK = FalLimits(retry_wait_s=0.001, max_retry_wait_s=0.02, probe_s=0.0, limited_wait_s=0.001)


@dataclass(frozen=True)
class Canned:
    """One answer. `fault` is `cut` (nothing comes), `truncate` (half comes) or `hang`."""

    http_status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    fault: str = ""


@dataclass(frozen=True)
class Seen:
    """One request as it came."""

    method: str
    path_qs: str
    headers: dict[str, str]
    body: bytes


class CannedServer:
    """Answers in the order given; the last answer is given for ever."""

    def __init__(self) -> None:
        self.seen: list[Seen] = []
        self.answers: deque[Canned] = deque([Canned()])
        self.url = ""
        self.hung = asyncio.Event()
        self.let_go = asyncio.Event()

    def answer(self, *answers: Canned) -> None:
        """Give these from now on."""
        self.answers = deque(answers)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        self.seen.append(Seen(request.method, request.raw_path, dict(request.headers), body))
        canned = self.answers.popleft() if len(self.answers) > 1 else self.answers[0]
        if canned.fault == "cut":
            request.transport.abort()
        if canned.fault == "hang":
            self.hung.set()
            await self.let_go.wait()
        if canned.fault == "truncate":
            response = web.StreamResponse(status=canned.http_status, headers=canned.headers)
            response.content_length = len(canned.body) + 10
            await response.prepare(request)
            await response.write(canned.body)
            request.transport.close()
            return response
        return web.Response(status=canned.http_status, body=canned.body, headers=canned.headers)


@asynccontextmanager
async def serving(
    handle: Callable[[web.Request], Awaitable[web.StreamResponse]],
) -> AsyncIterator[str]:
    """Serve every path with `handle` on a free port; yields the origin."""
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", handle)
    async with TestServer(app) as server:
        yield str(server.make_url("")).rstrip("/")


@pytest.fixture
async def server() -> AsyncIterator[CannedServer]:
    """A canned server that runs."""
    canned = CannedServer()
    async with serving(canned.handle) as canned.url:
        yield canned
        canned.let_go.set()


@pytest.fixture
async def other_server() -> AsyncIterator[CannedServer]:
    """A second one, on another port: another origin."""
    canned = CannedServer()
    async with serving(canned.handle) as canned.url:
        yield canned
        canned.let_go.set()


OpenFal = Callable[..., Awaitable[FalQueueClient]]


@pytest.fixture
def metrics() -> Metrics:
    """Metrics of one test."""
    return Metrics()


@pytest.fixture
async def open_client(server: CannedServer, metrics: Metrics) -> AsyncIterator[OpenFal]:
    """Open the real client in front of `server`, closed when the test ends."""
    async with AsyncExitStack() as stack:

        async def open_it(
            url: str = "", credential: Credential | None = None, **given: Any
        ) -> FalQueueClient:
            given = {"limits": QUICK, "metrics": metrics} | given
            opened = open_fal(url or server.url, credential or fixed_credential(KEY), **given)
            return await stack.enter_async_context(opened)

        yield open_it


@pytest.fixture
async def fal(open_client: OpenFal) -> FalQueueClient:
    """The real client with quick retries."""
    return await open_client()
