"""
What the commands do with spools: look at all of them, drain and retry those that nobody holds.

Looking takes no lock and writes nothing, so it may be done beside a running receiver.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from consumer.core.event import NewRecord, Topic
from consumer.log.embedded import EmbeddedLog
from consumer.log.spool import marks
from consumer.log.spool.counting import Waiting, count_waiting
from consumer.log.spool.drain import Drain, DrainParts
from consumer.log.spool.holding import Holding
from consumer.log.spool.places import SpoolPlace, list_places
from consumer.log.spool.spool import DRAIN_GROUP, RETRY_GROUP, TOPICS, SpoolLimits
from consumer.ports import Clock, Record

_LOOK_EVERY_S = 0.2


@dataclass(frozen=True, slots=True)
class SpoolLook:
    """
    How one spool stands. `holder` is a process, or None for nobody; `unreadable` counts files.

    `oldest_at` is when the oldest record that waits was written here, None for none.
    """

    name: str
    path: Path
    holder: str | None
    waiting: Counter[Topic]
    refused: int
    size_bytes: int
    oldest_at: datetime | None
    unreadable: int


@dataclass(frozen=True, slots=True)
class RefusedRecord:
    """A record that Kafka refused, dead letter and all, and why."""

    spool: str
    record: Record
    problem: str

    @property
    def size(self) -> int:
        """What the record brings to a log, in bytes."""
        record = self.record
        return NewRecord(record.position.topic, record.key, record.value, record.headers).size


@dataclass(frozen=True, slots=True)
class Retried:
    """What became of the refused set of one spool: they wait again, or `holder` was asked."""

    spool: str
    records: int
    holder: str | None = None


@dataclass(frozen=True, slots=True)
class Drained:
    """How a draining ended: what was sent, what still waits, what Kafka refused."""

    sent: int
    waiting: int
    refused: int


def look_at_spools(folder: Path) -> list[SpoolLook]:
    """Return every spool in the folder. Blocks. Raises LogUnavailable."""
    return [_look(place) for place in list_places(folder)]


def _look(place: SpoolPlace) -> SpoolLook:
    waiting = count_waiting(place.waiting, DRAIN_GROUP)
    refused = count_waiting(place.refused, RETRY_GROUP)
    return SpoolLook(
        place.name,
        place.path,
        place.holder(),
        waiting.records,
        refused.total,
        place.size_bytes(),
        waiting.oldest_at,
        waiting.unreadable + refused.unreadable,
    )


async def refused_records(folder: Path, *, clock: Clock) -> AsyncGenerator[RefusedRecord, None]:
    """Give every refused record of every spool, oldest first in each. Raises LogUnavailable."""
    for place in list_places(folder):
        waiting: Waiting = await asyncio.to_thread(count_waiting, place.refused, RETRY_GROUP)
        if not waiting.total:
            continue
        async with EmbeddedLog.open(place.refused, clock=clock, create=False) as log:
            start = await log.committed(RETRY_GROUP)
            async for record in log.read(TOPICS, start=start):
                yield RefusedRecord(place.name, record, marks.problem_of(record))


async def retry_refused(folder: Path, *, clock: Clock, limits: SpoolLimits) -> list[Retried]:
    """
    Let every refused record be tried again: by whoever holds its spool, else at the next
    start or draining. Raises LogUnavailable.
    """
    retried = []
    async with Holding.of_free(folder, clock=clock, limits=limits) as holding:
        held = {opened.spool.name for opened in holding.all}
        for place in list_places(folder):
            waiting = await asyncio.to_thread(count_waiting, place.refused, RETRY_GROUP)
            if waiting.total and place.name not in held:
                place.ask_for_retry()
                retried.append(
                    Retried(place.name, waiting.total, place.holder() or "another process")
                )
        retried += [
            Retried(opened.spool.name, await opened.spool.retry_refused())
            for opened in holding.all
            if opened.spool.refused_count
        ]
    return retried


async def drain_free(
    folder: Path,
    parts: DrainParts,
    limits: SpoolLimits,
    *,
    patience_s: float,
    tell: Callable[[int, int], None],
) -> Drained:
    """
    Send what waits in every spool that nobody holds; remove those that are empty then.

    Ends when nothing waits, or when Kafka took nothing for `patience_s`. `tell` hears now and
    then how many were sent, of how many. Raises LogUnavailable and ConfigError.
    """
    async with Holding.of_free(folder, clock=parts.clock, limits=limits) as holding:
        spools = [opened.spool for opened in holding.all]
        for spool in spools:
            await spool.fulfil_retry()

        def left() -> int:
            return sum(spool.waiting.total() for spool in spools)

        total, stop = left(), asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            running = [
                tasks.create_task(
                    Drain(spool, parts).run(stop, is_over=lambda s=spool: not s.waiting.total())  # type: ignore[misc]
                )
                for spool in spools
            ]
            watching = tasks.create_task(
                _watch(left, total, stop, patience_s=patience_s, tell=tell)
            )
            if running:
                await asyncio.wait(running)
            watching.cancel()
        end = Drained(total - left(), left(), sum(spool.refused_count for spool in spools))
        for opened in tuple(holding.all):
            await holding.let_go(opened)
    tell(end.sent, total)
    return end


async def _watch(
    left: Callable[[], int],
    total: int,
    stop: asyncio.Event,
    *,
    patience_s: float,
    tell: Callable[[int, int], None],
) -> None:
    loop = asyncio.get_running_loop()
    before, moved_at = left(), loop.time()
    while loop.time() - moved_at < patience_s:
        now = left()
        if now != before:
            before, moved_at = now, loop.time()
        tell(total - now, total)
        await asyncio.sleep(_LOOK_EVERY_S)
    stop.set()
