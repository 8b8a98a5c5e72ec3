"""
One status stream: tells the status at each change of it, comments when quiet, ends at COMPLETED.

Source: fal docs, Queue status stream (read 2026-10-07). That a new place in the queue and new
log lines count as changes is our reading. Each event carries the log lines since the one before:
fal's client for JavaScript (1.10.1) puts the lines of a stream's events together.
"""

import asyncio
import json
from dataclasses import dataclass

from aiohttp import web

from consumer.simulator.config import SimulatorConfig
from consumer.simulator.door import Door
from consumer.simulator.faults import cut
from consumer.simulator.jobqueue import JobQueue
from consumer.simulator.jobs import COMPLETED, Job
from consumer.simulator.model_logs import logs_of, next_log_at
from consumer.simulator.queue_bodies import LogLine, Urls
from consumer.simulator.queue_wire import status_of

_HEADERS = {"Content-Type": "text/event-stream", "Cache-Control": "no-cache"}
_LEAST_WAIT_S = 0.001


@dataclass(frozen=True, slots=True)
class StatusStream:
    """What one caller watches."""

    config: SimulatorConfig
    queue: JobQueue
    door: Door
    job: Job
    urls: Urls
    has_logs: bool

    async def send(self, request: web.Request) -> web.StreamResponse:
        """Write until the job is COMPLETED, or the stream is cut."""
        ids = {"x-fal-request-id": self.job.request_id}
        response = web.StreamResponse(headers=_HEADERS | ids)
        await response.prepare(request)
        changed = asyncio.Event()
        watched = (self.job.watchers, self.queue.line(self.job.order.endpoint).watchers)
        for watchers in watched:
            watchers.add(changed)
        try:
            async with asyncio.timeout(self.door.standing.stream_cut_s):
                await self._tell(response, changed)
        except TimeoutError:
            cut(request)
        finally:
            for watchers in watched:
                watchers.discard(changed)
        return response

    async def _tell(self, response: web.StreamResponse, changed: asyncio.Event) -> None:
        told, lines_told = None, 0
        while True:
            changed.clear()
            is_last, lines = self.job.status == COMPLETED, self._lines()
            new = None if lines is None else lines[lines_told:]
            state = self.job.status, self.queue.position(self.job)
            if state != told or new:
                told, lines_told = state, len(lines or ())
                text = json.dumps(status_of(self.urls, self.job, state[1], new))
                await response.write(f"data: {text}\n\n".encode())
            if is_last:
                return
            await self._wait(response, changed)

    def _lines(self) -> list[LogLine] | None:
        if not self.has_logs:
            return None
        return logs_of(self.job, self.door.now(), self.config.time_scale)

    async def _wait(self, response: web.StreamResponse, changed: asyncio.Event) -> None:
        """Return when there may be something to tell; comment as long as there is nothing."""
        quiet_s = self.config.stream_comment_s * self.config.time_scale
        while True:
            next_s = self._next_log_in_s()
            try:
                async with asyncio.timeout(min(quiet_s, next_s)):
                    await changed.wait()
            except TimeoutError:
                if next_s <= quiet_s:
                    return
                await response.write(b": keep-alive\n\n")
            else:
                return

    def _next_log_in_s(self) -> float:
        if not self.has_logs:
            return float("inf")
        now = self.door.now()
        at = next_log_at(self.job, now, self.config.time_scale)
        return float("inf") if at is None else max(_LEAST_WAIT_S, at - now)
