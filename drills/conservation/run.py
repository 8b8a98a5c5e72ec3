"""One run: load and jobs on one side, the faults one after another on the other, then the count."""

import asyncio
import random
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from consumer.app import open_ledger
from consumer.core.standing import SubmissionState
from consumer.devservers import open_postgres
from consumer.handlers.commands import Commands
from consumer.handlers.fetch import Fetch
from consumer.handlers.record import RecordEvents
from consumer.ledger import Ledger
from consumer.ports import Log, RequestFilter
from consumer.simulator import SimulatorConfig
from drills.conservation.count import Report, count_ledger, count_topics
from drills.conservation.faults import FAULTS, NEEDS_DISK, Ground, Spans
from drills.conservation.jobs import WEIGHTS, Jobs, orphans
from drills.load import Load, Mix
from drills.stage import KafkaStage, Plan, Timeline, open_stage, small_disk, until

_GROUPS = {
    Fetch.name: Fetch.topics,
    RecordEvents.name: RecordEvents.topics,
    Commands.name: Commands.topics,
}
_SLOWER = 3


@dataclass(frozen=True)
class Size:
    """
    How much: at least so many `deliveries`, `rate` a second, and every fault at least once.

    `between_s` passes between two faults. `patience_s` is how long the end may take.
    `on_postgres`, the workers keep their ledger there and not in a SQLite file that they share.
    """

    deliveries: int = 200_000
    rate: float = 250.0
    job_rate: float = 2.0
    spans: Spans = field(default_factory=Spans)
    between_s: float = 10.0
    disk_mib: int = 256
    horizon_s: float = 120.0
    patience_s: float = 1800.0
    on_postgres: bool = False
    seed: int = 1


async def run_conservation(folder: Path, size: Size) -> Report:
    """
    Play one run in a folder of its own and return what it counted.

    The fault that needs a small file system is left out where this user may not mount one;
    the report names the faults that were played.
    """
    say = Timeline()
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(open_postgres()) if size.on_postgres else None
        disk = folder / "disk"
        is_mounted = stack.enter_context(small_disk(disk, size.disk_mib))
        plan = Plan(
            SimulatorConfig(seed=size.seed, weights=WEIGHTS, time_scale=0.05, late_s=60.0),
            receiver_folder=disk / "receiver" if is_mounted else None,
            ledger_url=database.url() if database else "",
            environ={
                "FAL_CONSUMER_FIRST_CHECK_S": "2",
                "FAL_CONSUMER_SUBMIT_TIMEOUT_S": "5",
                "FAL_CONSUMER_UNCONFIRMED_AFTER_S": f"{size.horizon_s:g}",
                "FAL_CONSUMER_PUBLISH_TIMEOUT_S": "1",
            },
        )
        async with open_stage(folder, plan) as stage:
            await stage.start()
            say("three brokers, a receiver and two workers run")
            return await _Run(stage, size, disk if is_mounted else None, say).play()


class _Run:
    """The parts of one run, and its report as it grows."""

    def __init__(self, stage: KafkaStage, size: Size, disk: Path | None, say: Timeline) -> None:
        self._stage = stage
        self._size = size
        self._say = say
        self._load = Load(
            lambda: stage.receiver.port,
            stage.simulator.keys.signing,
            stage.account,
            seed=size.seed,
            mix=Mix(),
        )
        self._jobs = Jobs()
        self._ground = Ground(stage, self._load, size.spans, say, random.Random(size.seed), disk)
        self._report = Report()
        self._have_been_played = False

    async def play(self) -> Report:
        """Return the report of the whole run."""
        report, posted = self._report, self._load.posted
        began = self._say.now_s
        async with self._stage.log() as log:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._load.run(self._rate, self._is_over))
                tasks.create_task(self._jobs.run(log, self._size.job_rate, self._is_over))
                await self._play_faults()
            report.load_s = self._say.now_s - began
            report.deliveries, report.answers = posted.deliveries, posted.answers
            report.debts, report.jobs = len(posted.debts), self._jobs.count
            self._say(f"load ends: {posted.deliveries} deliveries, {len(posted.debts)} debts")
            await self._until_over(log)
            await self._stage.stop()
            report.spooled = self._count_spooled()
            report.stray_lines = len(self._stage.stray_lines())
            books = self._stage.simulator.books()
            await count_topics(log, posted, books, report)
        async with open_ledger(self._stage.settings) as ledger:
            await count_ledger(ledger, posted, books, self._jobs, report)
        self._say("counted")
        return report

    def _rate(self) -> float:
        """Return the pace: slower where only faults are still to come."""
        return self._size.rate / (_SLOWER if self._is_enough() else 1)

    def _is_enough(self) -> bool:
        return self._load.posted.deliveries >= self._size.deliveries

    def _is_over(self) -> bool:
        return self._have_been_played and self._is_enough()

    async def _play_faults(self) -> None:
        """Let every fault happen once, and all again until enough was delivered."""
        names = [name for name in FAULTS if self._ground.disk or name != NEEDS_DISK]
        while not self._is_over():
            for name in names:
                await asyncio.sleep(self._size.between_s)
                if self._is_over():
                    return
                self._say(name)
                await FAULTS[name](self._ground)
                self._report.faults.append(name)
            self._have_been_played = True

    # ------------------------------------------------------------ the end

    async def _until_over(self, log: Log) -> None:
        """Wait until the spool is empty, every group is at the end, and every job has ended."""
        began, patience_s, report = self._say.now_s, self._size.patience_s, self._report
        try:
            await until(self._stage.is_drained, within_s=patience_s)
            report.spool_drained_s = self._say.now_s - began
            self._say("the spool is empty")
            await until(partial(_is_at_end, log), within_s=patience_s)
            report.caught_up_s = self._say.now_s - began
            self._say("the workers have caught up")
            async with open_ledger(self._stage.settings) as ledger:
                await until(partial(self._is_settled, ledger, log), within_s=patience_s)
            self._say("every job has ended")
        except TimeoutError:
            report.mistakes.append(f"not over after {patience_s:g} s")

    async def _is_settled(self, ledger: Ledger, log: Log) -> bool:
        if self._stage.simulator.pending()["pending_deliveries"]:
            return False
        if await ledger.requests(RequestFilter(open_only=True, limit=1)):
            return False
        submissions = await ledger.submissions(limit=10**6)
        if len(submissions) < self._jobs.count or any(
            _is_pending(one.state) for one in submissions
        ):
            return False
        books = self._stage.simulator.books()
        without = orphans(books, submissions)
        has_open = any(
            entry.end == "open" for key, entry in books.requests.items() if key not in without
        )
        return not has_open and await _is_at_end(log)

    def _count_spooled(self) -> int:
        told = self._stage.told("delivery.accepted")
        return sum(line.get("partition") == -1 for line in told)


def _is_pending(state: SubmissionState) -> bool:
    return state in (SubmissionState.INTENDED, SubmissionState.SENDING, SubmissionState.UNKNOWN)


async def _is_at_end(log: Log) -> bool:
    """Tell whether the worker's groups have committed all that the topics hold."""
    for group, topics in _GROUPS.items():
        committed = await log.committed(group)
        for place, span in (await log.offsets(topics)).items():
            if committed.get(place, span.start) < span.stop:
                return False
    return True
