"""
The simulated queue: takes orders, moves jobs along in time, answers cancels.

One task per job, owned by the simulator's TaskGroup; counters are kept as jobs move, so
nothing here scans all jobs. HTTP lives in `queue_api`, deliveries in `courier`.
"""

import asyncio
import hashlib
from collections.abc import Callable, Collection
from random import Random

from consumer.simulator.books import Books, CancelCall, RequestEntry
from consumer.simulator.config import SimulatorConfig
from consumer.simulator.courier import Courier
from consumer.simulator.course import JobCourse
from consumer.simulator.jobs import COMPLETED, IN_PROGRESS, IN_QUEUE, Job, Order, new_request_id
from consumer.simulator.lines import Line
from consumer.simulator.outcomes import CANCELLED, FAL_FILES
from consumer.simulator.retention import readable_until
from consumer.simulator.scenarios import SCENARIOS, Course, Scenario

_SLOWNESS = {Course.SLOW: 20.0, Course.IGNORES_CANCEL: 5.0, Course.INSTANT: 0.0}


class UnknownScenarioError(ValueError):
    """The input's `simulate` names no scenario; loud, because it is a mistake in a test."""

    def __init__(self, name: object) -> None:
        super().__init__(name)
        self.name = name

    def __str__(self) -> str:
        return f"unknown scenario {self.name!r}; known: {', '.join(SCENARIOS)}"


class JobQueue:
    """All jobs of one simulator."""

    def __init__(
        self, config: SimulatorConfig, books: Books, courier: Courier, now: Callable[[], float]
    ) -> None:
        self._config = config
        self._books = books
        self._courier = courier
        self._now = now
        self.files_url = FAL_FILES
        self._rng = Random(config.seed)
        self._names = list(config.weights)
        self._weights = list(config.weights.values())
        self._jobs: dict[str, Job] = {}
        self._lines: dict[str, Line] = {}
        self._live_tasks = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._tasks: asyncio.TaskGroup | None = None

    def attach(self, tasks: asyncio.TaskGroup) -> None:
        """Let jobs live in this group; call before the first order."""
        self._tasks = tasks

    @property
    def open_requests(self) -> int:
        """How many requests have not ended."""
        return self._books.ends["open"]

    @property
    def pending_deliveries(self) -> int:
        """How many ended requests still have a delivery to send or to retry."""
        return self._live_tasks - self.open_requests

    async def wait_idle(self, timeout_s: float) -> bool:
        """Return True once nothing is open or pending; False after `timeout_s` real seconds."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._idle.wait()
        except TimeoutError:
            return False
        return True

    def choose_scenario(self, order: Order) -> Scenario:
        """
        Return the scenario the input names, else one drawn by weight.

        Raises UnknownScenarioError when the input names one that does not exist.
        """
        name = order.input.get("simulate")
        if name is None:
            name = self._rng.choices(self._names, self._weights)[0]
        if not isinstance(name, str) or name not in SCENARIOS:
            raise UnknownScenarioError(name)
        return SCENARIOS[name]

    def submit(self, order: Order, scenario: Scenario) -> Job:
        """Accept the order: the job exists, is in the books, and starts to move."""
        if self._tasks is None:
            raise RuntimeError("the simulator is not running")
        now = self._now()
        entry = RequestEntry(
            request_id=new_request_id(now),
            endpoint=order.endpoint,
            scenario=scenario.name,
            input_sha256=hashlib.sha256(order.content).hexdigest(),
            tags=order.tags,
            has_webhook=order.webhook_url is not None,
            headers=order.headers,
        )
        slowness = _SLOWNESS.get(scenario.course, 1.0)
        job = Job(
            order,
            scenario,
            entry,
            self._books,
            seed=self._rng.getrandbits(64),
            queue_s=self._rng.uniform(*self._config.queue_s) * min(slowness, 1.0),
            run_s=self._rng.uniform(*self._config.run_s) * slowness,
            files_url=self.files_url,
        )
        self._enroll(job, now)
        self._tasks.create_task(self._live(job))
        return job

    def _enroll(self, job: Job, now: float) -> None:
        self._lines.setdefault(job.order.endpoint, Line()).join(job)
        self._jobs[job.request_id] = job
        self._books.requests[job.request_id] = job.entry
        self._books.ends["open"] += 1
        if job.order.webhook_url is not None:
            self._books.submits_by_webhook[job.order.webhook_url] += 1
        self._live_tasks += 1
        self._idle.clear()
        job.enter(IN_QUEUE, now)

    def find(self, request_id: str) -> Job | None:
        """Return the job of this id, None when unknown (or removed and forgotten)."""
        return self._jobs.get(request_id)

    def endpoints(self) -> list[str]:
        """Return every endpoint that was ever submitted to."""
        return list(self._lines)

    def by_end(self, endpoints: Collection[str]) -> list[Job]:
        """Return the jobs of these endpoints that started, running ones first, then latest ends."""
        jobs = [job for endpoint in endpoints for job in self.line(endpoint).started()]
        if len(endpoints) > 1:
            jobs.sort(key=lambda job: job.ended_at or float("inf"), reverse=True)
        return jobs

    def note_refused(self) -> None:
        """Count a submit that failed on fal's side and left no job."""
        self._books.submits_refused += 1

    def line(self, endpoint: str) -> Line:
        """Return the endpoint's line; an empty one where nothing was ever submitted."""
        return self._lines.get(endpoint) or Line()

    def position(self, job: Job) -> int:
        """Return how many requests are in front of this one in its line."""
        return self.line(job.order.endpoint).position(job)

    def is_expired(self, job: Job) -> bool:
        """True once the stored result of an ended job is gone."""
        until = readable_until(job, self._config)
        return until is not None and self._now() >= until

    def cancel(self, job: Job) -> CancelCall:
        """
        Ask the job to stop and return fal's answer, which the books keep.

        Source: fal docs, Queue cancel (read 2026-10-07).
        """
        now = self._now()
        if job.status == COMPLETED:
            call = CancelCall(now, 400, "ALREADY_COMPLETED")
        elif job.status == IN_PROGRESS:
            call = CancelCall(now, 202, "CANCELLATION_REQUESTED")
        else:
            call = CancelCall(now, 200, "OK")
            line = self._lines[job.order.endpoint]
            line.leave(job)
            line.end(job, CANCELLED, now)
            if self._config.forget_removed:
                del self._jobs[job.request_id]
        job.entry.cancels.append(call)
        job.cancel_asked.set()
        return call

    async def _live(self, job: Job) -> None:
        try:
            line = self._lines[job.order.endpoint]
            await JobCourse(job, line, self._config, self._now).walk()
            await self._courier.carry(job)
        finally:
            self._live_tasks -= 1
            if not self._live_tasks:
                self._idle.set()
