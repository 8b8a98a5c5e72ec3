"""
The webhook sender: signs each attempt anew, posts it, and retries on fal's schedule.

It posts to loopback only, whatever it is told: `loopback_url` is the one gate, and the
resolver behind it answers nothing but 127.0.0.1.
"""

import asyncio
import io
import ipaddress
import secrets
import socket
from collections.abc import Callable
from random import Random
from typing import Self

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from consumer.simulator.books import Attempt
from consumer.simulator.config import SimulatorConfig
from consumer.simulator.deliveries import Delivery
from consumer.simulator.keys import KeyRing

# Gaps between attempts in seconds. Source: a retry series recorded at fal on 2026-07-16
# showed the first six; what follows was not observed, growth to ten minutes is our guess.
RETRY_GAPS_S = (2.0, 39.0, 75.0, 55.0, 190.0, 340.0, 600.0)
_JITTER = 0.1


class NotLoopbackError(ValueError):
    """A webhook URL that is not plain http(s) to this machine; the simulator sends nothing out."""

    def __str__(self) -> str:
        return "the simulator delivers to loopback only: 127.0.0.0/8, ::1 or localhost"


def loopback_url(text: str) -> URL:
    """
    Return the URL, when it names this machine.

    Raises NotLoopbackError when it is no absolute http(s) URL, or its host is any other.
    """
    try:
        url = URL(text)
        host = url.host or ""
        is_loopback = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError as exc:
        raise NotLoopbackError from exc
    if not is_loopback or url.scheme not in {"http", "https"}:
        raise NotLoopbackError
    return url


class _LoopbackResolver(AbstractResolver):
    """Resolves every name to 127.0.0.1: even a strange hosts file cannot lead elsewhere."""

    async def resolve(
        self,
        host: str,
        port: int = 0,
        family: socket.AddressFamily = socket.AF_INET,  # noqa: ARG002 - the base class's form
    ) -> list[ResolveResult]:
        return [
            ResolveResult(
                hostname=host, host="127.0.0.1", port=port, family=socket.AF_INET, proto=0, flags=0
            )
        ]

    async def close(self) -> None:
        """Nothing is held."""


class WebhookSender:
    """Posts deliveries, at most `max_concurrent_webhooks` at a time; use as a context manager."""

    def __init__(
        self, config: SimulatorConfig, keys: KeyRing, now: Callable[[], float], rng: Random
    ) -> None:
        self._config = config
        self._keys = keys
        self._now = now
        self._rng = rng
        self._slots = asyncio.Semaphore(config.max_concurrent_webhooks)
        self._running = asyncio.Event()
        self._running.set()
        self.sent = asyncio.Event()  # replaced after each attempt: wait on the present one

    async def __aenter__(self) -> Self:
        # The semaphore is the bound; a second one in the connector would count slots twice.
        connector = aiohttp.TCPConnector(resolver=_LoopbackResolver(), limit=0)
        self._session = aiohttp.ClientSession(
            connector=connector, cookie_jar=aiohttp.DummyCookieJar(), trust_env=False
        )
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._session.close()

    def pause(self) -> None:
        """Hold every attempt that has not begun."""
        self._running.clear()

    def resume(self) -> None:
        """Let held attempts go."""
        self._running.set()

    def sign(self, delivery: Delivery) -> dict[str, str]:
        """Return the four headers for an attempt made now."""
        key = delivery.key or self._keys.signing
        timestamp = int(self._now()) + delivery.timestamp_offset_s
        signed = delivery.body if delivery.signed_body is None else delivery.signed_body
        return key.sign_headers(delivery.request_id, delivery.user_id, timestamp, signed)

    async def send(
        self,
        url: URL,
        delivery: Delivery,
        note: Callable[[Attempt], None],
        *,
        first_headers: dict[str, str] | None = None,
        retry_until: float | None = None,
    ) -> None:
        """
        Post until the receiver takes it, refuses for good, or the attempts are used up.

        Each attempt is noted. `first_headers` replaces the signature of the first attempt
        (a copy of another delivery); no attempt starts after `retry_until`, unix seconds.
        """
        attempts = self._config.max_webhook_attempts if delivery.is_retried else 1
        for number in range(1, attempts + 1):
            attempt = await self._attempt(url, delivery, number, first_headers)
            first_headers = None
            note(attempt)
            if not attempt.is_retryable or number == attempts:
                return
            await asyncio.sleep(self._gap_s(number) * self._config.time_scale)
            if retry_until is not None and self._now() > retry_until:
                return

    def _gap_s(self, number: int) -> float:
        gap = RETRY_GAPS_S[min(number, len(RETRY_GAPS_S)) - 1]
        return gap * self._rng.uniform(1 - _JITTER, 1 + _JITTER)

    async def _attempt(
        self, url: URL, delivery: Delivery, number: int, headers: dict[str, str] | None
    ) -> Attempt:
        await self._running.wait()
        async with self._slots:
            at = self._now()
            answer, error = None, None
            try:
                answer = await self._post(url, delivery, number, headers or self.sign(delivery))
            except TimeoutError:
                error = "timeout"
            except aiohttp.ClientError:
                error = "network"
        announced, self.sent = self.sent, asyncio.Event()
        announced.set()
        return Attempt(at, delivery.kind, number, answer, error)

    async def _post(self, url: URL, delivery: Delivery, number: int, signed: dict[str, str]) -> int:
        config = self._config
        is_first = number == 1
        timeout_s = config.webhook_timeout_s if is_first else config.webhook_retry_timeout_s
        headers = {"Content-Type": "application/json", "Accept": "*/*", "Accept-Encoding": "gzip"}
        async with self._session.post(
            url,
            # aiohttp warns about large plain bytes: they would be written in one go.
            data=io.BytesIO(delivery.body),
            headers=headers | signed | ({} if is_first else _retry_headers()),
            skip_auto_headers=("User-Agent",),
            allow_redirects=False,
            timeout=aiohttp.ClientTimeout(total=timeout_s),
        ) as response:
            return response.status


def _retry_headers() -> dict[str, str]:
    """
    Return what only retries carry: another sender is at work there.

    Source: deliveries recorded 2026-07-16.
    """
    trace, parent = secrets.token_hex(8), secrets.token_hex(8)
    high = f"{int(trace[:8], 16):08x}00000000"
    return {
        "User-Agent": "python-httpx/0.27.0",
        "traceparent": f"00-{high}{trace}-{parent}-00",
        "tracestate": f"dd=p:{parent};s:0;t.dm:-1;t.tid:{high}",
        "x-datadog-trace-id": str(int(trace, 16)),
        "x-datadog-parent-id": str(int(parent, 16)),
        "x-datadog-sampling-priority": "0",
        "x-datadog-tags": f"_dd.p.dm=-1,_dd.p.tid={high}",
    }
