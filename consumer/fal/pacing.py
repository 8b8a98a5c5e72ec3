"""
The pace towards one host: calls wait here for their turn, in the order in which they came.

How fast is `core.pace`'s decision; here are the clock, the waiting and the telling.
"""

import asyncio
import random
import time
from collections.abc import Mapping
from math import inf

from consumer.core.pace import Pace
from consumer.errors import FalUnavailable
from consumer.fal import wire
from consumer.fal.call import Answer, Call, Host
from consumer.fal.transport import FalLimits, Transport
from consumer.telemetry import Metrics, get_logger

_ADMISSION = "fal_max_queue_length="


class NotSent(FalUnavailable):
    """The host is closed for longer than a call may wait; nothing was sent."""


class Pacer:
    """Shared by all calls to one host."""

    def __init__(self, host: Host, limits: FalLimits, metrics: Metrics) -> None:
        self._host = host
        self._limits = limits
        self._metrics = metrics
        self._pace = Pace(limits.limited_wait_s)
        self._turn = asyncio.Lock()
        self._told_rate: float | None = None

    async def send(self, transport: Transport, call: Call) -> Answer:
        """
        Send the call when its turn has come.

        Raises NotSent where the host is closed for longer than a call may wait, and what
        `transport` raises.
        """
        await self.turn()
        sent_at = time.monotonic()
        answer = await transport.send(call)
        is_named = wire.retry_after_s(answer.headers) is not None
        if _ADMISSION not in call.query or is_named or not wire.is_limited(answer):
            # With that parameter a bare 429 means that the queue is longer than is wanted.
            is_own = answer.http_status == 429 and not wire.is_limited(answer)
            self.note(sent_at, 200 if is_own else answer.http_status, answer.headers)
        return answer

    async def turn(self) -> None:
        """Wait for the turn of a call. Raises NotSent."""
        has_waited = self._turn.locked()
        async with self._turn:
            while (wait_s := self._pace.wait_s(time.monotonic())) > 0:
                closed_s = self._pace.closed_until - time.monotonic()
                if closed_s > self._limits.max_retry_wait_s:
                    raise NotSent("rate_limited", retry_after_s=closed_s)
                has_waited = True
                await asyncio.sleep(wait_s)
            self._pace.start(time.monotonic(), has_waited=has_waited)

    def note(self, sent_at: float, http_status: int, headers: Mapping[str, str]) -> None:
        """Learn from an answer to a call of `sent_at`, monotonic seconds."""
        now = time.monotonic()
        if http_status == 429:
            wait_s = wire.retry_after_s(headers)
            self._pace.refuse(sent_at, now, wait_s, random.random())  # noqa: S311  spreads calls
        elif http_status < 500:
            self._pace.accept(now)
        self._tell()

    def _tell(self) -> None:
        rate, told = self._pace.rate, self._told_rate
        if rate == told:
            return
        self._metrics.fal_rate.labels(self._host.value).set(inf if rate is None else rate)
        if rate is not None and (told is None or rate < told):
            get_logger().warning("fal.pace_cut", host=self._host.value, calls_per_s=round(rate, 2))
        self._told_rate = rate
