"""
A call with everything around it: a place, the key, a few patient tries, one deadline.

Knows no operation. What an answer means is the judge's decision, which the caller of `ask`
hands in; how a call travels is `transport`'s.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import TypeVar

import aiohttp
import stamina

from consumer.errors import FalRefused, FalUnavailable, InvariantBroken, SchemaDrift
from consumer.fal import wire
from consumer.fal.account import Account
from consumer.fal.call import Answer, Call, Host
from consumer.fal.pacing import Pacer
from consumer.fal.transport import FalLimits, Transport, read_bounded
from consumer.telemetry import Metrics, get_logger

_Read = TypeVar("_Read")
OnDrift = Callable[[SchemaDrift], None]
"""Hears of every drift, raised or done without."""


class Caller:
    """Makes calls, for every part of the client."""

    def __init__(
        self,
        transport: Transport,
        account: Account,
        limits: FalLimits,
        metrics: Metrics,
        on_drift: OnDrift | None = None,
    ) -> None:
        self.account = account
        self.limits = limits
        self._transport = transport
        self._metrics = metrics
        self._on_drift = on_drift
        self._pacers = {host: Pacer(host, limits, metrics) for host in Host}

    async def ask(self, call: Call, deadline_s: float, judge: Callable[[Answer], _Read]) -> _Read:
        """
        Call until there is an answer, within the deadline and the number of tries.

        Raises FalUnavailable, FalRefused, SchemaDrift, and what `judge` raises.
        """
        failures: list[str] = []
        try:
            async with asyncio.timeout(deadline_s), self._transport.slot():
                async for attempt in stamina.retry_context(
                    on=partial(self._wait_before_retry, failures),
                    attempts=self.limits.tries,
                    timeout=None,
                    wait_initial=self.limits.retry_wait_s,
                    wait_max=self.limits.max_retry_wait_s,
                    wait_jitter=self.limits.retry_wait_s,
                ):
                    if failures:
                        get_logger().warning(
                            "fal.call_retried",
                            operation=call.operation,
                            attempt=attempt.num,
                            error=failures[-1],
                        )
                    with attempt:
                        return judge(await self._answer(call))
        except TimeoutError as exc:
            raise FalUnavailable(failures[-1] if failures else "timeout") from exc
        except SchemaDrift as exc:
            self.tell([exc])
            raise
        raise InvariantBroken("the last attempt returns or raises")

    async def send_once(self, call: Call) -> Answer:
        """
        Send the call, once. The caller holds a slot, has a deadline and was admitted.

        Raises NotConnected, FalUnavailable, FalRefused.
        """
        answer = await self._pacers[call.host].send(self._transport, call)
        self.account.note(call, answer)
        return answer

    @asynccontextmanager
    async def open_stream(self, call: Call) -> AsyncIterator[aiohttp.ClientResponse]:
        """
        Hold the answer to a call open, to be read in pieces. Takes no slot: it may stay for hours.

        Raises FalUnavailable and FalRefused.
        """
        await self.account.admit()
        async with AsyncExitStack() as stack:
            sent_at = time.monotonic()
            response = await self._opened(call, stack)
            if response.status == 401:
                await self._note_401(call, response)
                await self.account.reread()
                response = await self._opened(call, stack)
            if response.status == 401:
                await self._note_401(call, response)
                raise FalRefused(401, "unauthorized")
            self._pacers[call.host].note(sent_at, response.status, response.headers)
            yield response

    async def _opened(self, call: Call, stack: AsyncExitStack) -> aiohttp.ClientResponse:
        try:
            async with asyncio.timeout(self.limits.status_s):
                await self._pacers[call.host].turn()
                return await stack.enter_async_context(self._transport.open(call))
        except TimeoutError as exc:
            raise FalUnavailable("timeout") from exc

    async def _note_401(self, call: Call, response: aiohttp.ClientResponse) -> None:
        body = await read_bounded(response, call.max_bytes)
        self.account.note(call, Answer(response.status, response.headers.copy(), body))

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        """Hold one of the bounded places for a call."""
        async with self._transport.slot():
            yield

    def tell(self, drifts: Sequence[SchemaDrift]) -> None:
        """Count what fal's answers have come to differ in, and hand it to whoever keeps it."""
        for drift in drifts:
            self._metrics.fal_drifts.labels(drift.operation).inc()
            get_logger().warning(
                "fal.answer_drifted",
                operation=drift.operation,
                where=drift.where,
                expected=drift.expected,
                came=drift.came,
            )
            if self._on_drift is not None:
                self._on_drift(drift)

    def _wait_before_retry(self, failures: list[str], error: Exception) -> bool | float:
        """Tell whether another try is worth it, or how long fal wants us to wait first."""
        if not isinstance(error, FalUnavailable):
            return False
        failures.append(error.problem)
        if error.problem == "rate_limited":
            return False  # it was sent as often as it may be, at the pace of the host
        if error.retry_after_s is None:
            return True
        # A longer wait is the caller's: he has the record parked, we would hold a slot.
        return error.retry_after_s <= self.limits.max_retry_wait_s and error.retry_after_s

    async def _answer(self, call: Call) -> Answer:
        """Send the call; where fal refuses the key, once more with the key read again."""
        if call.is_public:
            return await self._sent(call)
        await self.account.admit()
        answer = await self._sent(call)
        if wire.is_unauthorized(answer):
            await self.account.reread()
            answer = await self._sent(call)
        self.account.note(call, answer)
        return answer

    async def _sent(self, call: Call) -> Answer:
        """Send the call at the host's pace, again where it is answered 429."""
        pacer = self._pacers[call.host]
        for _ in range(self.limits.limited_tries - 1):
            answer = await pacer.send(self._transport, call)
            wait_s = wire.retry_after_s(answer.headers) or 0.0
            if not wire.is_limited(answer) or wait_s > self.limits.max_retry_wait_s:
                return answer
        return await pacer.send(self._transport, call)
