"""What the log in memory offers to tests beyond the promises of every log."""

from datetime import UTC, datetime, timedelta

import pytest

from consumer.core.event import NewRecord, Topic
from consumer.errors import LogUnavailable, RecordRefused
from consumer.testing.log import MemoryLog, MemoryStore

START = datetime(2026, 1, 1, tzinfo=UTC)


def log_on(store: MemoryStore | None = None) -> MemoryLog:
    return MemoryLog(clock=lambda: START, store=store)


def record(key: str = "key", topic: Topic = Topic.RESULTS) -> NewRecord:
    return NewRecord(topic, key, b"value", ())


async def test_refuses_as_told():
    """The next appends raise what the test asked for, in turn, and leave nothing behind."""
    log = log_on()
    log.refuse_next(LogUnavailable("down"), times=2)
    log.refuse_next(RecordRefused("results", "too large"))

    with pytest.raises(LogUnavailable):
        await log.ping()
    for error in (LogUnavailable, LogUnavailable, RecordRefused):
        with pytest.raises(error):
            await log.append(record())
    assert [] == log.records()
    await log.ping()
    await log.append(record())
    assert ["key"] == [one.key for one in log.records(Topic.RESULTS)]


async def test_spreads_keys_over_partitions():
    """Different keys stand in different partitions, one key in one."""
    log = log_on()
    positions = [await log.append(record(f"key-{number % 20}")) for number in range(40)]

    assert {0, 1, 2} == {position.partition for position in positions}
    assert [one.partition for one in positions[:20]] == [one.partition for one in positions[20:]]


async def test_forgotten_records_are_a_gap():
    """What was forgotten is not read, and counted."""
    log = log_on(MemoryStore(partitions=1))
    for _ in range(3):
        await log.append(record())
    log.forget(Topic.RESULTS, 0, before=2)

    async with log.subscribe("group", [Topic.RESULTS]) as subscription:
        found = await subscription.poll(max_records=5, timeout=timedelta(0))
    assert ([2], 2) == ([one.position.offset for one in found], subscription.gaps)
    assert {(Topic.RESULTS, 0): range(2, 3)} == await log.offsets([Topic.RESULTS])


async def test_reads_without_a_group():
    """Reading gives what is there, of one key or all, and follows when asked."""
    log = log_on()
    for key in "abab":
        await log.append(record(key))

    assert 4 == len([one async for one in log.read([Topic.RESULTS])])
    assert 2 == len([one async for one in log.read([Topic.RESULTS], key="a")])
    following = log.read([Topic.RESULTS], key="c", follow=True)
    await log.append(record("c"))
    assert "c" == (await anext(following)).key
    await following.aclose()
    assert {} == await log.committed("group")
