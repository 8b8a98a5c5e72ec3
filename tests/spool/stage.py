"""What tests of the spool stand on: a Kafka that can be away, stuck or refusing, and its front."""

import asyncio
from collections import Counter
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

from consumer.core.event import NewRecord, Topic
from consumer.errors import LogUnavailable, RecordRefused
from consumer.log.spool.publisher import Lanes, SpooledPublisher
from consumer.log.spool.spool import SpoolLimits
from consumer.telemetry import Metrics
from consumer.testing.log import MemoryLog

LIMITS = SpoolLimits(reserve_bytes=0, stop_budget=timedelta(seconds=0.5))
SOON_S = 20


def now() -> datetime:
    return datetime.now(UTC)


def record(key: str, *, topic: Topic = Topic.COMPLETIONS, size: int = 100) -> NewRecord:
    return NewRecord(topic, key, key.encode().ljust(size, b"."), (("ce_id", key.encode()),))


class FarSide:
    """Kafka, as far as the spool knows it: a log in memory that can be told to misbehave."""

    def __init__(self) -> None:
        self.log = MemoryLog(clock=now)
        self.is_away = False
        self.deadline_s = 0.02
        self.stuck_keys: set[str] = set()
        self.stuck_topics: set[Topic] = set()
        self.refused_topics: set[Topic] = set()
        self.refused_keys: set[str] = set()
        self.tries = Counter[str]()
        self.most_at_once = 0
        self.at_once = 0

    async def append(self, new):
        self.tries[new.key] += 1
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            if self.is_away or new.key in self.stuck_keys or new.topic in self.stuck_topics:
                await asyncio.sleep(self.deadline_s)
                raise LogUnavailable("no answer")
            is_refused_key = new.key in self.refused_keys and new.topic is not Topic.DEAD_LETTERS
            if new.topic in self.refused_topics or is_refused_key:
                raise RecordRefused(new.topic, "too large for this topic")
            return await self.log.append(new)
        finally:
            self.at_once -= 1

    async def ping(self):
        if self.is_away:
            raise LogUnavailable("no answer")

    def keys(self, *topics: Topic) -> Counter[str]:
        return Counter(found.key for found in self.log.records(*topics))

    async def until(self, condition) -> None:
        """Return once the condition holds, looking often."""
        async with asyncio.timeout(SOON_S):
            while not condition():  # noqa: ASYNC110  what is asked has no event
                await asyncio.sleep(0.005)


@asynccontextmanager
async def opened(far, folder, *, limits=LIMITS, metrics=None):
    """A front with nobody draining."""
    async with SpooledPublisher.open(
        Lanes(far, far), folder, clock=now, limits=limits, metrics=metrics or Metrics()
    ) as front:
        yield front


@asynccontextmanager
async def running(far, folder, *, limits=LIMITS, metrics=None):
    """A front that drains, until the context ends."""
    async with opened(far, folder, limits=limits, metrics=metrics) as front:
        stop = asyncio.Event()
        run = asyncio.create_task(front.run(stop))
        try:
            yield front
        finally:
            stop.set()
            async with asyncio.timeout(SOON_S):
                await run
