"""
The line in front of one endpoint: who waits, who runs, who has ended.

Plain state, kept as jobs move, so that no question about it scans all jobs.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from consumer.simulator.jobs import Job


@dataclass(slots=True)
class Line:
    """Places are numbered by arrival; `queued` counts who waits now, over all callers."""

    queued: int = 0
    running: dict[str, Job] = field(default_factory=dict)
    ended: list[Job] = field(default_factory=list)
    _arrived: int = 0
    _departed: int = 0

    def join(self, job: Job) -> None:
        """Give the job its place at the end."""
        job.place = self._arrived
        self._arrived += 1
        self.queued += 1

    def rejoin(self, job: Job) -> None:
        """Put a job that lost its runner back, in front of everybody."""
        self.running.pop(job.request_id, None)
        job.place = 0
        self.queued += 1

    def pass_one(self) -> None:
        """Let those behind move up by one place."""
        self._departed += 1

    def position(self, job: Job) -> int:
        """Return how many requests are in front of this queued one."""
        return max(0, job.place - self._departed)

    def started(self) -> Iterator[Job]:
        """Yield the jobs that reached a runner: running ones, then ended ones, newest first."""
        yield from list(self.running.values())
        yield from reversed(self.ended)
