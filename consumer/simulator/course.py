"""
The course of one job: waits in line, runs, loses its runner, is stopped, ends.

One task per job walks it. State lies in `jobs` and `line`; this file only decides when what moves.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from consumer.simulator.config import SimulatorConfig
from consumer.simulator.jobs import IN_QUEUE, Job, new_request_id
from consumer.simulator.lines import Line
from consumer.simulator.outcomes import CANCELLED, RUNNER_LOST, START_TIMEOUT, ending_of
from consumer.simulator.scenarios import Course

_STOP_AFTER_S = 0.5  # from the cancel signal to the end of a running job, in fal's seconds
_FOREVER = float("inf")


@dataclass(slots=True)
class JobCourse:
    """Walks one job through its queue; `deadline` is when it must have started, loop time."""

    job: Job
    line: Line
    config: SimulatorConfig
    now: Callable[[], float]
    deadline: float = _FOREVER

    async def walk(self) -> None:
        """Return when the job has ended, in whatever way."""
        job = self.job
        limit_s = job.order.start_timeout_s
        if limit_s is not None:
            self.deadline = asyncio.get_running_loop().time() + limit_s
        is_stuck = job.scenario.course is Course.STUCK
        wait_s = _FOREVER if is_stuck else job.queue_s * self.config.time_scale
        if await self._reaches_runner(wait_s) and await self._runs_to_its_end():
            wanted = job.order.input.get("simulate_error_type")
            self.line.end(job, ending_of(job.scenario, job.seed, wanted), self.now())

    async def _reaches_runner(self, wait_s: float) -> bool:
        """Wait in line; True when the job then runs, False when it ended here."""
        job, line = self.job, self.line
        loop = asyncio.get_running_loop()
        is_late = loop.time() + wait_s > self.deadline
        await self._cancelled_within(min(wait_s, self.deadline - loop.time()))
        if not is_late and job.ending is None:
            is_late = not await self._is_its_turn()
        if job.ending is not None:
            return False
        line.leave(job)
        if is_late:
            line.end(job, START_TIMEOUT, self.now())
            return False
        line.start(job, self.now())
        return True

    async def _is_its_turn(self) -> bool:
        """Wait for those of higher priority; False when the deadline came first."""
        moved = asyncio.Event()
        self.line.watchers.add(moved)
        try:
            async with asyncio.timeout_at(None if self.deadline == _FOREVER else self.deadline):
                while self.job.ending is None and not self.line.is_turn_of(self.job):
                    moved.clear()
                    await moved.wait()
        except TimeoutError:
            return False
        finally:
            self.line.watchers.discard(moved)
        return True

    async def _runs_to_its_end(self) -> bool:
        """Run; False when something else ended the job: a cancel, a deadline, a lost runner."""
        job = self.job
        run_s = job.run_s * self.config.time_scale
        if job.scenario.course is Course.IGNORES_CANCEL:
            await asyncio.sleep(run_s)
            return True
        if job.scenario.course is Course.REGRESSES and not await self._loses_runner(run_s / 2):
            return False
        if await self._cancelled_within(run_s):
            await asyncio.sleep(_STOP_AFTER_S * self.config.time_scale)
            self.line.end(job, CANCELLED, self.now())
            return False
        return True

    async def _loses_runner(self, after_s: float) -> bool:
        """Lose the first runner and queue once more; False when the job ended of it."""
        job = self.job
        if await self._cancelled_within(after_s):
            return True  # the run itself ends the job
        if not job.order.may_retry:
            self.line.end(job, RUNNER_LOST, self.now())
            return False
        self.line.rejoin(job)
        job.retried_as = new_request_id(self.now())
        job.enter(IN_QUEUE, self.now())
        return await self._reaches_runner(job.queue_s / 2 * self.config.time_scale)

    async def _cancelled_within(self, seconds: float) -> bool:
        """Wait for a cancel, at most so many real seconds; True when one came."""
        try:
            async with asyncio.timeout(None if seconds == _FOREVER else seconds):
                await self.job.cancel_asked.wait()
        except TimeoutError:
            return False
        return True
