"""A simulator on a free port, somebody who calls it, and an inbox for its webhooks."""

import asyncio
import base64
import hashlib
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from nacl.exceptions import BadSignatureError
from nacl.signing import VerifyKey

from consumer.simulator import Simulator, SimulatorConfig

WAIT_S = 20.0


@dataclass(frozen=True)
class Received:
    """One POST as the inbox saw it."""

    headers: dict[str, str]
    body: bytes

    @property
    def timestamp(self) -> int:
        return int(self.headers["X-Fal-Webhook-Timestamp"])

    def is_signed_by(self, jwk: dict[str, str]) -> bool:
        """True when libsodium accepts the signature under this published key."""
        key = VerifyKey(base64.urlsafe_b64decode(jwk["x"]))
        names = ("Request-Id", "User-Id", "Timestamp")
        parts = [self.headers[f"X-Fal-Webhook-{name}"] for name in names]
        message = "\n".join([*parts, hashlib.sha256(self.body).hexdigest()]).encode()
        try:
            key.verify(message, bytes.fromhex(self.headers["X-Fal-Webhook-Signature"]))
        except BadSignatureError:
            return False
        return True


class Inbox:
    """A receiver that keeps everything; `answer` decides the status by attempt number from 1."""

    def __init__(self) -> None:
        self.received: list[Received] = []
        self.answer: Callable[[int], int] = lambda _number: 200
        self.hold: asyncio.Event | None = None
        self.url = ""
        self._arrived = asyncio.Condition()

    async def take(self, request: web.Request) -> web.Response:
        got = Received(dict(request.headers), await request.read())
        async with self._arrived:
            self.received.append(got)
            number = len(self.received)
            self._arrived.notify_all()
        if self.hold is not None:
            await self.hold.wait()
        status = self.answer(number)
        headers = {"Location": "/elsewhere"} if 300 <= status < 400 else {}
        return web.Response(status=status, headers=headers)

    async def wait_for(self, count: int) -> list[Received]:
        """Return what arrived once it is at least `count`."""
        async with asyncio.timeout(WAIT_S), self._arrived:
            await self._arrived.wait_for(lambda: len(self.received) >= count)
        return self.received


class Caller:
    """Calls one simulator with a key, as a client of fal's would."""

    def __init__(self, simulator: Simulator, http: aiohttp.ClientSession) -> None:
        self.simulator = simulator
        self.http = http

    async def submit(
        self, scenario: str = "plain", webhook: str | None = None, **options: Any
    ) -> dict[str, Any]:
        endpoint = options.pop("endpoint", "fal-ai/flux/dev")
        params = {"fal_webhook": webhook} if webhook else {}
        answer = await self.http.post(
            f"{self.simulator.url}/{endpoint}",
            params=params | options.pop("params", {}),
            json={"simulate": scenario, "prompt": "a red apple"} | options.pop("input", {}),
            headers=options.pop("headers", {}),
        )
        body = await answer.json()
        assert answer.status == 200, body
        return body

    async def get(self, url: str, **options: Any) -> tuple[int, Any]:
        async with self.http.get(url, **options) as answer:
            return answer.status, await answer.json(content_type=None)

    async def cancel(self, submitted: dict[str, Any]) -> tuple[int, Any]:
        async with self.http.put(submitted["cancel_url"]) as answer:
            return answer.status, await answer.json()

    async def control(self, name: str, **body: Any) -> Any:
        async with self.http.post(f"{self.simulator.url}/_simulator/{name}", json=body) as answer:
            assert answer.status == 200, await answer.text()
            return await answer.json()

    async def keys(self) -> list[dict[str, str]]:
        _status, document = await self.get(self.simulator.jwks_url)
        return document["keys"]

    async def reach(self, submitted: dict[str, Any], wanted: str) -> dict[str, Any]:
        """Follow the status stream until the request has this status."""
        async with asyncio.timeout(WAIT_S):
            async with self.http.get(submitted["status_url"] + "/stream") as answer:
                async for line in answer.content:
                    if line.startswith(b"data: "):
                        body = json.loads(line[6:])
                        if body["status"] == wanted:
                            return body
        pytest.fail(f"the stream ended before {wanted}")

    def entry(self, submitted: dict[str, Any]) -> Any:
        return self.simulator.books().requests[submitted["request_id"]]


@pytest.fixture
async def inbox() -> AsyncIterator[Inbox]:
    inbox = Inbox()
    app = web.Application(client_max_size=32 * 1024 * 1024)
    app.router.add_post("/{path:.*}", inbox.take)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    inbox.url = f"http://127.0.0.1:{runner.addresses[0][1]}/webhooks/fal"
    yield inbox
    await runner.cleanup()


@pytest.fixture
async def start() -> AsyncIterator[Callable[..., Any]]:
    """Start simulators with the given settings; fal's second lasts a millisecond."""
    async with AsyncExitStack() as stack:

        async def start(now: Any = None, **settings: Any) -> Caller:
            config = SimulatorConfig(**{"seed": 7, "time_scale": 0.001} | settings)
            simulator = Simulator(config) if now is None else Simulator(config, now)
            await stack.enter_async_context(simulator)
            http = aiohttp.ClientSession(headers={"Authorization": "Key id:secret"})
            return Caller(simulator, await stack.enter_async_context(http))

        yield start


@pytest.fixture
async def fal(start: Callable[..., Any]) -> Caller:
    return await start()
