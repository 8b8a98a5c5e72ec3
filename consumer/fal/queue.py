"""
fal's queue over HTTP: submit once; read status, result and cancel with a few patient tries.

Ids are judged before any URL is built. What an answer means is `wire`'s decision, how a
call travels is `transport`'s. Source of every path: fal docs, "Queue", read 2026-10-07.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import TypeVar

import stamina
from yarl import URL

from consumer.core.endpoint import is_endpoint_id, is_request_id, request_path
from consumer.errors import FalRefused, FalUnavailable, InvariantBroken
from consumer.fal import wire
from consumer.fal.call import Answer, Call
from consumer.fal.credentials import Credential
from consumer.fal.order import UnfitOrder, submit_call
from consumer.fal.transport import (
    BACKUP_ORIGINS,
    FalLimits,
    NotConnected,
    Transport,
    open_transport,
)
from consumer.ports import (
    CancelAnswer,
    ResultAnswer,
    StatusAnswer,
    SubmitAnswer,
    SubmitOrder,
    SubmitRefused,
    Submitted,
    SubmitUnknown,
)
from consumer.telemetry import Metrics, get_logger

_Read = TypeVar("_Read", StatusAnswer, ResultAnswer, CancelAnswer)


@asynccontextmanager
async def open_fal(
    queue_url: str,
    credential: Credential,
    *,
    metrics: Metrics,
    limits: FalLimits | None = None,
    backup_url: str | None = None,
) -> AsyncIterator["FalQueueClient"]:
    """
    Open fal's queue at `queue_url`: https, or http on loopback (else InvariantBroken).

    Where no connection can be made, `backup_url` is asked once; for fal's own address it is
    fal's own backup. Closes its connections on leaving.
    """
    limits = limits or FalLimits()
    backup = backup_url or BACKUP_ORIGINS.get(queue_url.rstrip("/"))
    origins = [queue_url, backup] if backup else [queue_url]
    async with open_transport(origins, credential, limits, metrics) as transport:
        yield FalQueueClient(transport, credential, limits, str(URL(queue_url).origin()))


class FalQueueClient:
    """fal's queue, as `ports.FalQueue` promises it. Made by `open_fal`."""

    def __init__(
        self, transport: Transport, credential: Credential, limits: FalLimits, origin: str
    ) -> None:
        self._transport = transport
        self._credential = credential
        self._limits = limits
        self._origin = origin
        self._is_locked = False
        self._is_unauthorized = False

    @property
    def origin(self) -> str:
        """The configured origin, `https://host`; the backup's answers count as its own."""
        return self._origin

    @property
    def is_locked(self) -> bool:
        """Tell whether fal last said that the account is locked; a taken submit ends it."""
        return self._is_locked

    def problems(self) -> tuple[str, ...]:
        """Return what only a human can mend, for readiness: `locked`, `unauthorized`, `no_key`."""
        found = {
            "locked": self._is_locked,
            "unauthorized": self._is_unauthorized,
            "no_key": self._credential.key is None,
        }
        return tuple(word for word, is_so in found.items() if is_so)

    async def submit(self, order: SubmitOrder) -> SubmitAnswer:
        """
        Send the job, once; again only to the backup, when no connection was made.

        An order outside fal's grammar is refused here, with no call.
        """
        try:
            call = submit_call(order, self._limits.max_answer_bytes)
        except UnfitOrder as exc:
            return SubmitRefused(None, exc.reason)
        # A rotated key must be seen before the call: after a 401 this one is not sent again.
        await self._reread_key()
        if self._credential.key is None:
            return SubmitRefused(None, "no_key")
        return await self._send_order(call)

    async def _send_order(self, call: Call) -> SubmitAnswer:
        has_slot = False
        try:
            async with asyncio.timeout(self._limits.submit_s), self._transport.slot():
                has_slot = True
                answer = await self._transport.send(call)
        except NotConnected as exc:
            return SubmitRefused(None, exc.problem)
        except FalUnavailable as exc:
            return SubmitUnknown(exc.problem)
        except FalRefused as exc:
            return SubmitUnknown(exc.reason)
        except TimeoutError:
            return SubmitUnknown("timeout") if has_slot else SubmitRefused(None, "too_many_calls")
        self._note(answer)
        verdict = wire.parse_submit(answer)
        if isinstance(verdict, Submitted):
            self._is_locked = False
        return verdict

    async def status(self, endpoint: str, request_id: str) -> StatusAnswer:
        """Return fal's status of a request. Raises as the port says."""
        call = Call("status", "GET", f"{_path(endpoint, request_id)}/status", self._small)
        judge = partial(wire.parse_status, request_id=request_id)
        return await self._ask(call, self._limits.status_s, judge)

    async def result(self, endpoint: str, request_id: str) -> ResultAnswer:
        """
        Return the result of a request. Raises as the port says.

        One over `max_result_bytes` is a FalRefused with the reason `too_large`.
        """
        path = _path(endpoint, request_id)
        call = Call("result", "GET", path, self._limits.max_result_bytes)
        return await self._ask(call, self._limits.result_s, wire.parse_result)

    async def cancel(self, endpoint: str, request_id: str) -> CancelAnswer:
        """Ask fal to stop a request. Raises as the port says. Asking twice does no harm."""
        call = Call("cancel", "PUT", f"{_path(endpoint, request_id)}/cancel", self._small)
        return await self._ask(call, self._limits.cancel_s, wire.parse_cancel)

    @property
    def _small(self) -> int:
        return self._limits.max_answer_bytes

    async def _ask(self, call: Call, deadline_s: float, judge: Callable[[Answer], _Read]) -> _Read:
        """Call until there is an answer, within the deadline and the number of tries."""
        failures: list[str] = []
        try:
            async with asyncio.timeout(deadline_s), self._transport.slot():
                async for attempt in stamina.retry_context(
                    on=partial(self._wait_before_retry, failures),
                    attempts=self._limits.tries,
                    timeout=None,
                    wait_initial=self._limits.retry_wait_s,
                    wait_max=self._limits.max_retry_wait_s,
                    wait_jitter=self._limits.retry_wait_s,
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
        raise InvariantBroken("the last attempt returns or raises")

    def _wait_before_retry(self, failures: list[str], error: Exception) -> bool | float:
        """Tell whether another try is worth it, or how long fal wants us to wait first."""
        if not isinstance(error, FalUnavailable):
            return False
        failures.append(error.problem)
        if error.retry_after_s is None:
            return True
        # A longer wait is the caller's: he has the record parked, we would hold a slot.
        return error.retry_after_s <= self._limits.max_retry_wait_s and error.retry_after_s

    async def _answer(self, call: Call) -> Answer:
        """Send the call; where fal refuses the key, once more with the key read again."""
        if self._credential.key is None:
            await self._reread_key()
        if self._credential.key is None:
            raise FalRefused(0, "no_key")
        answer = await self._transport.send(call)
        if wire.is_unauthorized(answer):
            await self._reread_key()
            answer = await self._transport.send(call)
        self._note(answer)
        return answer

    async def _reread_key(self) -> None:
        await asyncio.to_thread(self._credential.reread)

    def _note(self, answer: Answer) -> None:
        """Remember what readiness must say."""
        if answer.http_status < 500:
            self._is_unauthorized = wire.is_unauthorized(answer)
        if wire.is_locked(answer):
            self._is_locked = True


def _path(endpoint: str, request_id: str) -> str:
    if not is_endpoint_id(endpoint):
        raise FalRefused(0, "bad_endpoint")
    if not is_request_id(request_id):
        raise FalRefused(0, "bad_request_id")
    return request_path(endpoint, request_id)
