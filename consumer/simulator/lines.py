"""
The line in front of one endpoint: who waits, who runs, who has ended.

Plain state, kept as jobs move, so that no question about it scans all jobs. Those of low
priority wait behind all others.
"""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field

from consumer.simulator.jobs import IN_PROGRESS, Job
from consumer.simulator.outcomes import Ending

_IN_FRONT = -1  # the place of a job that lost its runner


@dataclass(slots=True)
class _Lane:
    queued: int = 0
    arrived: int = 0
    departed: int = 0


@dataclass(slots=True)
class Line:
    """Places are numbered by arrival; `watchers` are set whenever the line moves."""

    running: dict[str, Job] = field(default_factory=dict)
    ended: list[Job] = field(default_factory=list)
    watchers: set[asyncio.Event] = field(default_factory=set)
    _normal: _Lane = field(default_factory=_Lane)
    _low: _Lane = field(default_factory=_Lane)

    @property
    def queued(self) -> int:
        """How many wait now, over all callers."""
        return self._normal.queued + self._low.queued

    def join(self, job: Job) -> None:
        """Give the job its place at the end of its lane."""
        lane = self._lane(job)
        job.place = lane.arrived
        lane.arrived += 1
        lane.queued += 1

    def rejoin(self, job: Job) -> None:
        """Put a job that lost its runner back, in front of everybody."""
        self.running.pop(job.request_id, None)
        job.place = _IN_FRONT
        self._lane(job).queued += 1

    def leave(self, job: Job) -> None:
        """Let a waiting job go, to a runner or for good; those behind move up by one place."""
        lane = self._lane(job)
        lane.queued -= 1
        if job.place != _IN_FRONT:
            lane.departed += 1
        for watcher in self.watchers:
            watcher.set()

    def start(self, job: Job, now: float) -> None:
        """Give a job that left the line its runner."""
        self.running[job.request_id] = job
        job.enter(IN_PROGRESS, now)

    def end(self, job: Job, ending: Ending, now: float) -> None:
        """Complete a job that waits no more."""
        self.running.pop(job.request_id, None)
        job.finish(ending, now)
        if job.sent_at is not None:
            self.ended.append(job)

    def is_turn_of(self, job: Job) -> bool:
        """Tell whether nobody of a higher priority waits."""
        return not job.order.is_low or job.place == _IN_FRONT or not self._normal.queued

    def position(self, job: Job) -> int:
        """Return how many requests are in front of this queued one."""
        lane = self._lane(job)
        before = self._normal.queued if lane is self._low and job.place != _IN_FRONT else 0
        return before + max(0, job.place - lane.departed)

    def started(self) -> Iterator[Job]:
        """Yield the jobs that reached a runner: running ones, then ended ones, newest first."""
        yield from list(self.running.values())
        yield from reversed(self.ended)

    def _lane(self, job: Job) -> _Lane:
        return self._low if job.order.is_low else self._normal
