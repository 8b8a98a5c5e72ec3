"""The bench that a worker is tried on: a log, a ledger, a handler, and how to wait for it."""

import asyncio
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta

from consumer.core.event import NewRecord, Topic
from consumer.core.policy import Done, Policies
from consumer.ports import Plan
from consumer.telemetry import Metrics
from consumer.testing.ledger import MemoryLedger
from consumer.testing.log import MemoryLog
from consumer.worker import Worker, WorkerLimits

SOON_S = 30
GROUP = "tested"
TOPIC = Topic.COMMANDS
HEADERS = (("ce_id", b"1"), ("x", b"\xff"))
QUICK = Policies(retry_base=timedelta(milliseconds=5))


def now() -> datetime:
    return datetime.now(UTC)


class Handler:
    """A group whose step is the test's; it remembers what it was handed."""

    name = GROUP
    topics = (TOPIC,)

    def __init__(self, step=None):
        self.step = step
        self.handed = []
        self.done = []
        self.at_once = 0
        self.most_at_once = 0

    async def handle(self, record, attempt):
        self.handed.append((record.key, record.value, attempt))
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            outcome = await self.step(record, attempt) if self.step else Done()
        finally:
            self.at_once -= 1
        self.done.append(record.value)
        return outcome


class Bench:
    """A log, a ledger, and workers of one group on them, one after another."""

    def __init__(self, *, max_record_bytes: int = 1 << 20):
        self.clock = now
        self.log = MemoryLog(clock=now, max_record_bytes=max_record_bytes)
        self.ledger = MemoryLedger(plan=lambda _request, _now: Plan(), clock=now)

    def worker(self, step=None, **limits) -> Worker:
        return Worker(
            step if isinstance(step, Handler) else Handler(step),
            self.log,
            self.ledger,
            clock=self.read_clock,
            policies=QUICK,
            metrics=Metrics(),
            limits=WorkerLimits(**limits),
        )

    def read_clock(self) -> datetime:
        return self.clock()

    async def put(self, key: str, *values: bytes) -> None:
        for value in values:
            await self.log.append(NewRecord(TOPIC, key, value, HEADERS))

    async def committed(self) -> int:
        """Return how many records the group need not read again."""
        return sum((await self.log.committed(GROUP)).values())

    def letters(self):
        return self.log.records(Topic.DEAD_LETTERS)

    def parked(self):
        return list(self.ledger.rows.parked.values())


@asynccontextmanager
async def working(worker: Worker):
    """Let the worker run; at the end it is killed."""
    running = asyncio.create_task(worker.run(asyncio.Event()))
    try:
        yield running
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running


async def until(holds) -> None:
    """Return when the condition holds, which may be a coroutine function."""
    async with asyncio.timeout(SOON_S):
        while True:
            found = holds()
            if await found if asyncio.iscoroutine(found) else found:
                return
            await asyncio.sleep(0.002)


async def all_committed(bench: Bench, count: int) -> None:
    async def is_so():
        return await bench.committed() == count

    await until(is_so)


def never(_record, _attempt):
    return asyncio.Event().wait()
