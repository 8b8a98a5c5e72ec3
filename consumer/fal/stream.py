"""
The status of a request as it changes: fal's event stream, opened again whenever it is cut.

Each state is told once, whatever a new connection repeats. The stream ends with COMPLETED,
or NOT_FOUND. Source: fal docs, "Queue status stream" (2026-10): a comment every 15 s, no
resuming; a new connection begins with the current state.
"""

import asyncio
import random
from collections.abc import AsyncGenerator
from contextlib import aclosing

import aiohttp

from consumer.errors import FalUnavailable
from consumer.fal import wire
from consumer.fal.answers import Status
from consumer.fal.call import Answer, Call
from consumer.fal.caller import Caller
from consumer.fal.news import Told
from consumer.fal.queue import path_of
from consumer.fal.sse import EventReader
from consumer.fal.transport import read_bounded
from consumer.ports import QueueStatus
from consumer.telemetry import get_logger

_ENDS = frozenset({QueueStatus.COMPLETED, QueueStatus.NOT_FOUND})
_MAX_SILENT = 8
# Connections in a row that told nothing at all: after about half a minute it is the caller's.
_MAX_STREAMS = 256


class StatusStream:
    """Follows requests, each by connections of its own."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller
        self._limits = caller.limits
        self._streams = asyncio.Semaphore(_MAX_STREAMS)

    async def follow(
        self, endpoint: str, request_id: str, *, has_logs: bool = False
    ) -> AsyncGenerator[Status, None]:
        """
        Yield each new state of a request until its end.

        Raises FalRefused and SchemaDrift, and FalUnavailable after eight connections in a row
        that told nothing.
        """
        call = self._call(endpoint, request_id, has_logs=has_logs)
        told, silent, connections = Told(), 0, 0
        async with self._streams:
            while True:
                trouble = FalUnavailable("cut")
                silent, connections = silent + 1, connections + 1
                try:
                    async with aclosing(self._connection(call, request_id)) as statuses:
                        async for status in statuses:
                            silent = 0
                            if (news := told.news_of(status)) is not None:
                                yield news
                            if status.status in _ENDS:
                                return
                except FalUnavailable as exc:
                    trouble = exc
                if silent >= _MAX_SILENT:
                    raise trouble
                await self._wait(trouble, connections, silent)

    def _call(self, endpoint: str, request_id: str, *, has_logs: bool) -> Call:
        return Call(
            "stream",
            "GET",
            f"{path_of(endpoint, request_id)}/status/stream",
            self._limits.max_answer_bytes,
            query="logs=1" if has_logs else "",
            headers={"Accept": "text/event-stream"},
        )

    async def _wait(self, trouble: FalUnavailable, connections: int, silent: int) -> None:
        get_logger().info("fal.stream_reopened", connections=connections, error=trouble.problem)
        wait_s = min(self._limits.retry_wait_s * 2**silent, self._limits.max_retry_wait_s)
        wait_s *= random.uniform(0.5, 1.0)  # noqa: S311  spreads connections, protects nothing
        await asyncio.sleep(max(wait_s, trouble.retry_after_s or 0.0))

    async def _connection(self, call: Call, request_id: str) -> AsyncGenerator[Status, None]:
        """Yield what one connection tells, to its end. Raises FalUnavailable where it is cut."""
        reader = EventReader(self._limits.max_page_bytes)
        async with self._caller.open_stream(call) as response:
            if response.status != 200 or response.content_type != "text/event-stream":
                body = await read_bounded(response, call.max_bytes)
                yield wire.read_status(
                    Answer(response.status, response.headers.copy(), body), request_id
                )
                return
            while piece := await self._piece(response):
                for data in reader.feed(piece):
                    yield wire.read_status(Answer(200, {}, data), request_id)

    async def _piece(self, response: aiohttp.ClientResponse) -> bytes:
        try:
            async with asyncio.timeout(self._limits.stream_quiet_s):
                return await response.content.readany()
        except TimeoutError as exc:
            raise FalUnavailable("quiet") from exc
