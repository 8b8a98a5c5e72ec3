"""Many callers before a server that takes few calls a second: real sockets, real time."""

import asyncio
import time
from dataclasses import replace
from math import ceil, floor

import pytest
import structlog
from aiohttp import web

from consumer.core.submit_options import SubmitOptions
from consumer.errors import FalUnavailable
from consumer.fal import FalAddresses, FalClient, FalLimits, FalParts, open_client
from consumer.ports import QueueStatus, SubmitOrder
from tests.fal.canned import ENDPOINT, JOB, RUNNING, TAKEN
from tests.fal.conftest import QUICK, Canned, serving

CALLERS = 200
FIRST_SECONDS = 3.0


class LimitedServer:
    """Takes `calls` in each window of a second, and names its end in whole seconds, as fal does."""

    def __init__(self, calls: int, hint: str) -> None:
        self.calls = calls
        self.hint = hint
        self.began_at = time.monotonic()
        self.answers: list[tuple[float, int]] = []
        self._window, self._taken = -1, 0

    async def handle(self, request: web.Request) -> web.Response:
        now = time.monotonic()
        if floor(now) != self._window:
            self._window, self._taken = floor(now), 0
        self._taken += 1
        is_refused = self._taken > self.calls
        self.answers.append((now - self.began_at, 429 if is_refused else 202))
        if is_refused:
            left = str(max(1, ceil(self._window + 1 - now)))
            return web.Response(status=429, headers={self.hint: left} if self.hint else {})
        return web.json_response({"status": "IN_PROGRESS"}, status=202)

    @property
    def late_share(self) -> float:
        """The part of the calls after the first seconds that were refused."""
        late = [status for at, status in self.answers if at > FIRST_SECONDS]
        return late.count(429) / max(len(late), 1)


async def drive(server: LimitedServer, calls_each: int) -> float:
    """Let 200 callers make their calls, all of which must be answered; the seconds it took."""
    limits = FalLimits(status_s=300.0)

    async def call(client: FalClient) -> None:
        for _ in range(calls_each):
            status = await client.status(ENDPOINT, JOB)
            assert status.status is QueueStatus.IN_PROGRESS

    async with serving(server.handle) as url:
        addresses = FalAddresses(url, url, url)
        async with open_client("a:b", addresses, FalParts(limits)) as client:
            server.began_at = began_at = time.monotonic()
            await asyncio.gather(*(call(client) for _ in range(CALLERS)))
            return time.monotonic() - began_at


@pytest.mark.parametrize("hint", ["Retry-After", ""])
async def test_two_hundred_callers_settle_below_a_limit(hint):
    """All calls of 200 callers are answered, and after the first seconds at most 5 % with 429."""
    server = LimitedServer(50, hint)

    seconds = await drive(server, calls_each=2)

    assert seconds <= 1.5 * CALLERS * 2 / server.calls  # a busy machine is slower than its clock
    assert server.late_share <= 0.05


@pytest.mark.slow
async def test_two_hundred_callers_settle_below_ten_calls_a_second():
    """Under 10 calls a second, for ideally 40 s, it takes no more than 1.2 of that."""
    server = LimitedServer(10, "Retry-After")

    seconds = await drive(server, calls_each=2)

    assert seconds <= 1.2 * CALLERS * 2 / server.calls
    assert server.late_share <= 0.05


async def test_a_long_wait_that_fal_names_is_the_callers_for_every_call(server):
    """While the host is closed for a minute no call is sent to it, and each says how long."""
    server.answer(Canned(429, b"", {"x-ratelimit-reset": "60"}), RUNNING)
    addresses = FalAddresses(server.url, server.url, server.url)
    async with open_client("a:b", addresses, FalParts(QUICK)) as client:
        for _ in range(3):
            with pytest.raises(FalUnavailable, match="rate_limited") as unavailable:
                await client.status(ENDPOINT, JOB)
            assert unavailable.value.retry_after_s == pytest.approx(60, abs=5)
        submission = await client.submit(SubmitOrder(ENDPOINT, {}))

    assert (submission.outcome, submission.reason) == ("refused", "rate_limited")
    assert len(server.seen) == 1


async def test_a_full_queue_is_no_rate_limit(server):
    """A 429 to a submit that bounds the queue's length slows no other call down."""
    server.answer(Canned(429, b'{"detail":"too long"}'), TAKEN)
    order = SubmitOrder(ENDPOINT, {}, options=SubmitOptions(max_queue_length=3))
    addresses = FalAddresses(server.url, server.url, server.url)
    async with open_client("a:b", addresses, FalParts(FalLimits())) as client:
        with structlog.testing.capture_logs() as lines:
            refused = await client.submit(order)
            taken = await client.submit(replace(order, options=SubmitOptions()))

    assert (refused.outcome, refused.http_status) == ("refused", 429)
    assert refused.reason == "queue_too_long"
    assert taken.outcome == "submitted"
    assert lines == []
