"""
The whole life of a few jobs, in any order of what may happen: webhooks, checks, cancels by
caller, group, deadline and series, restarts, and two workers whose clocks differ.

Whatever comes, each job is paid once at most, ends as fal's own books say, and its facts
explain the end.
"""

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from consumer.core.cancellation import Happened, cancellation_of
from consumer.core.command import submission_id_of
from consumer.core.event import Topic, format_time
from consumer.core.fact import FactName
from consumer.core.policy import Policies
from consumer.core.standing import Request, State, SubmissionState
from consumer.ports import QueueStatus, RequestFilter
from tests.handlers.stage import ENDPOINT, MINUTE, SECOND, T0, ManualClock, Stage, World

JOBS = 3
SKEW = 5 * MINUTE
POLICIES = Policies(cancel_queued_after=9 * MINUTE, max_cancels_a_minute=2)


@dataclass
class SkewedClock:
    """The true clock, and how far this machine's is from it."""

    true: ManualClock
    skew: timedelta

    def __call__(self) -> datetime:
        return self.true.now + self.skew

    def advance(self, span: timedelta) -> None:
        self.true.advance(span)


@dataclass
class Town:
    """Two workers on one log, ledger and fal; commands wait until one of them takes them."""

    skews: tuple[timedelta, timedelta]
    world: World = field(default_factory=lambda: World(policies=POLICIES))
    commands: list[Any] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.stages = [self._stage(skew) for skew in self.skews]

    def _stage(self, skew: timedelta) -> Stage:
        clock: Any = SkewedClock(self.world.clock, skew)
        machine = World(clock, POLICIES, self.world.signer, self.world.fal)
        machine.log, machine.ledger = self.world.log, self.world.ledger
        machine.keys = self.world.keys
        return Stage(machine)

    async def do(self, step: tuple[str, int, int]) -> None:
        """Carry out one step: what, about which job, by which worker."""
        what, job, worker = step
        await getattr(self, f"_{what}")(job, self.stages[worker])

    async def _submit(self, job: int, stage: Stage) -> None:
        fields: dict[str, Any] = {"command_id": f"c{job}", "input": {"n": job}}
        fields |= [
            {"supersedes": "k", "group": "g"},
            {"supersedes": "k"},
            {"finish_by": format_time(T0 + 20 * MINUTE), "group": "g"},
        ][job]
        self.commands.append(await stage.submit(**fields))

    async def _cancel(self, job: int, stage: Stage) -> None:
        subject = submission_id_of(f"c{job}")
        command_id = f"x{len(self.commands)}"
        record = await stage.command("cancel", command_id=command_id, subject=subject)
        self.commands.append(record)

    async def _cancel_group(self, _job: int, stage: Stage) -> None:
        command_id = f"g{len(self.commands)}"
        self.commands.append(await stage.command("cancel", command_id=command_id, group="g"))

    async def _work(self, job: int, stage: Stage) -> None:
        """Handle a waiting command, not always the first; one that must wait waits on."""
        if self.commands:
            record = self.commands.pop(job % len(self.commands))
            outcome = await stage.commands.handle(record, 1)
            if hasattr(outcome, "when"):
                self.commands.append(record)

    async def _again(self, _job: int, stage: Stage) -> None:
        """A record comes twice, as after a crash before its commit."""
        for record in self.world.log.records(Topic.COMMANDS)[:1]:
            await stage.commands.handle(record, 1)

    async def _record(self, _job: int, _stage: Stage) -> None:
        await self.stages[0].catch_up()

    async def _start(self, job: int, _stage: Stage) -> None:
        for found in self._jobs(job, QueueStatus.IN_QUEUE):
            self.world.fal.start(found.request_id)

    async def _finish(self, job: int, _stage: Stage) -> None:
        for found in self._jobs(job, QueueStatus.IN_PROGRESS):
            if found.is_cancel_asked and job:  # a running job may be stopped, or not
                error = ("Request was cancelled", "client_cancelled", 499)
                self.world.fal.break_down(found.request_id, *error)
            else:
                self.world.fal.finish(found.request_id, {"n": job})

    async def _webhook(self, job: int, stage: Stage) -> None:
        for found in self._jobs(job, QueueStatus.COMPLETED):
            if found.error is None:
                await stage.webhook(request_id=found.request_id)
                for record in self.world.log.records(Topic.COMPLETIONS):
                    await stage.fetch.handle(record, 1)

    async def _sweep(self, job: int, stage: Stage) -> None:
        sweep = (stage.reconcile, stage.cancel, stage.claims)[job]
        await sweep.round()

    async def _wait(self, job: int, _stage: Stage) -> None:
        self.world.clock.advance((SECOND, MINUTE, 10 * MINUTE)[job])

    async def _restart(self, _job: int, stage: Stage) -> None:
        place = self.stages.index(stage)
        if place:  # the other one keeps its place in the log
            self.stages[place] = self._stage(self.skews[place])

    def _jobs(self, job: int, status: QueueStatus) -> list[Any]:
        jobs = self.world.fal.jobs.values()
        return [j for j in jobs if j.order.input["n"] == job and j.status is status]

    async def settle(self) -> None:
        """Let all commands be handled, all jobs end, and the sweeps run for hours."""
        for turn in range(24):
            for job in range(JOBS):
                await self.do(("work", job, turn % 2))
                if turn > 8:
                    await self.do(("start", job, 0))
                    await self.do(("finish", job, 0))
                await self.do(("sweep", job, turn % 2))
            await self.stages[0].catch_up()
            for record in self.world.log.records(Topic.COMPLETIONS):
                await self.stages[0].fetch.handle(record, 1)
            await self.stages[0].catch_up()
            self.world.clock.advance(4 * MINUTE)


_STEPS = (
    "submit",
    "cancel",
    "cancel_group",
    *("work",) * 4,
    *("start", "record", "sweep", "wait") * 2,
    "again",
    "record",
    "start",
    "finish",
    "webhook",
    "sweep",
    "wait",
    "restart",
)
steps = st.lists(
    st.tuples(st.sampled_from(_STEPS), st.integers(0, JOBS - 1), st.integers(0, 1)),
    min_size=5,
    max_size=40,
)
skews = st.sampled_from([timedelta(0), SKEW, -SKEW])


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(steps, skews, skews)
def test_whatever_happens_every_job_ends_as_fal_says(todo, one, other):
    """Any order of witnesses, cancels, restarts and clocks: paid once, ended truly, explained."""
    asyncio.run(_play(todo, (one, other)))


async def _play(todo: list[tuple[str, int, int]], clocks: tuple[timedelta, timedelta]) -> None:
    town = Town(clocks)
    for job in range(JOBS):  # each is asked for; when it is taken up is anybody's guess
        await town.do(("submit", job, 0))
    for step in todo:
        await town.do(step)
    await town.settle()

    ledger, fal = town.world.ledger, town.world.fal
    requests = await ledger.requests(RequestFilter(limit=100))
    by_input = Counter(order.input["n"] for order in fal.orders)
    assert all(count == 1 for count in by_input.values())
    assert {request.request_id for request in requests} == set(fal.jobs)
    for request in requests:
        _assert_true_end(request, fal.jobs[request.request_id])
        _assert_explained(request)
    await _assert_submissions(town)
    _assert_covered(town)
    _assert_the_newest_stands(requests)


def _assert_true_end(request: Request, job: Any) -> None:
    """The end is the one in fal's books, its result is told, and nothing is left to do."""
    truth = State.SUCCEEDED if job.error is None else State.CANCELLED
    assert truth is request.state
    assert not request.is_open
    assert request.result is not None
    assert truth.value == request.result.outcome


def _assert_explained(request: Request) -> None:
    """What is said of a cancellation fits the end, and no cancelled request is without one."""
    found = cancellation_of(request)
    if request.state is State.CANCELLED:
        assert found is not None
        assert found.happened in (Happened.REMOVED, Happened.STOPPED)
        assert found.status in ("IN_QUEUE", "IN_PROGRESS")
    elif found is not None:
        assert found.happened in (Happened.COMPLETED, Happened.REFUSED)
        assert found.is_billed


async def _assert_submissions(town: Town) -> None:
    for job in range(JOBS):
        submission = await town.world.ledger.submission(submission_id_of(f"c{job}"))
        assert submission is not None
        is_sent = any(order.input["n"] == job for order in town.world.fal.orders)
        expected = SubmissionState.SUBMITTED if is_sent else SubmissionState.CANCELLED
        assert expected is submission.state
        assert is_sent == (submission.request is not None)


def _assert_covered(town: Town) -> None:
    """Right before each cancel its status was asked, and the fact names policy and status."""
    calls = town.world.fal.calls
    for number, (name, request_id) in enumerate(calls):
        if name == "cancel":
            of_it = [call for call, subject in calls[:number] if subject == request_id]
            assert "status" == of_it[-1]
    for fact in town.stages[0].told_facts():
        if fact.name is FactName.CANCEL_ASKED:
            running = {policy.value for policy in POLICIES.cancel_running}
            assert fact.detail["status"] == "IN_QUEUE" or fact.detail["policy"] in running


def _assert_the_newest_stands(requests: list[Request]) -> None:
    """Of a series the highest number that fal took was never superseded."""
    numbered = [request for request in requests if request.series is not None]
    if numbered:
        newest = max(numbered, key=lambda request: request.series.number)
        assert "superseded" not in {note.policy for note in newest.cancels}


def test_the_endpoint_is_the_stages():
    """The play is about the endpoint that the stage submits to."""
    assert {ENDPOINT} == {"fal-ai/flux/dev"}
