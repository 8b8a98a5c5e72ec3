"""The appender's thread."""

import asyncio
import threading
from datetime import UTC, datetime

import pytest

from consumer.core.event import NewRecord, Topic
from consumer.errors import LogUnavailable
from consumer.log.appender import Appender, Batch, Job
from consumer.log.blocks import pack_head
from consumer.log.embedded import EmbeddedLog, LogLimits
from consumer.log.files import LogFolder
from consumer.log.insert import PendingAppend


def now() -> datetime:
    return datetime.now(UTC)


def pending(size: int = 10) -> PendingAppend:
    record = NewRecord(Topic.RESULTS, "key", bytes(size), ())
    answer = asyncio.get_running_loop().create_future()
    return PendingAppend(record.topic, pack_head(record), record.value, record.size, answer)


def job(*, shares: bool) -> Job:
    answer = asyncio.get_running_loop().create_future()
    return Job(lambda _connection, _number: None, shares, answer)


async def test_batches_are_bounded():
    """A batch closes at 1024 records or 8 MiB, and to work that wants to be alone."""
    empty, long, large, lone = Batch(), Batch(), Batch(), Batch()
    for _ in range(1024):
        long.take(pending())
    large.take(pending(8 << 20))
    lone.take(job(shares=False))

    assert not empty.is_closed_to(pending())
    assert not empty.is_closed_to(job(shares=False))
    assert long.is_closed_to(pending())
    assert large.is_closed_to(pending())
    assert lone.is_closed_to(job(shares=True))


async def test_what_waits_goes_together(tmp_path):
    """Appends that are put while the thread works share one transaction."""
    batches: list[Batch] = []
    appender = Appender(LogFolder(tmp_path), clock=now, limits=LogLimits(), settle=batches.append)
    for _ in range(300):
        appender.put(pending())
    appender.stop()
    async with asyncio.timeout(20):
        await appender.stopped

    assert 300 == sum(len(batch.positions) for batch in batches)
    assert len(batches) < 20


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
async def test_nobody_waits_for_a_dead_thread(tmp_path):
    """When a mistake of ours ends the thread, those who wait and those who come are told."""
    async with EmbeddedLog.open(tmp_path, clock=now) as log:
        record = NewRecord(Topic.RESULTS, "key", b"", ())
        log._appender._clock = None
        async with asyncio.timeout(20):
            for _ in range(3):
                with pytest.raises(LogUnavailable):
                    await log.append(record)
            with pytest.raises(LogUnavailable):
                await log.ping()
    # The report of its end belongs to this test, not to the next one.
    for thread in threading.enumerate():
        if thread.name == "log-appender":
            thread.join(20)
