"""What is trimmed, and what never is."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from structlog.testing import capture_logs

from consumer.core.event import NewRecord, Topic
from consumer.errors import LogUnavailable
from consumer.log.embedded import EmbeddedLog, LogLimits
from consumer.log.files import LogFolder

START = datetime(2026, 1, 1, tzinfo=UTC)
LATER = START + timedelta(days=31)
SOON = timedelta(seconds=20)
NOBODY = LogLimits(own_groups=frozenset())


def start() -> datetime:
    return START


def record(value=b"value", topic=Topic.COMPLETIONS) -> NewRecord:
    return NewRecord(topic, "key", value, ())


async def append_many(log, count, *, size=10, topic=Topic.COMPLETIONS) -> None:
    for number in range(count):
        await log.append(record(b"%d" % number + bytes(size), topic))


async def test_what_is_past_its_time_goes(tmp_path):
    """Each topic keeps its records as long as it should; offsets go on where they were."""
    async with EmbeddedLog.open(tmp_path, clock=start, limits=NOBODY) as log:
        await append_many(log, 3)
        await append_many(log, 2, topic=Topic.COMMANDS)

        assert 2 == await log.trim(START + timedelta(days=8))
        assert 3 == await log.trim(LATER)
        assert 0 == await log.trim(LATER)
        spans = await log.offsets([Topic.COMPLETIONS, Topic.COMMANDS])
        position = await log.append(record())

    assert {(Topic.COMPLETIONS, 1): range(3, 3), (Topic.COMMANDS, 1): range(2, 2)} == spans
    assert 3 == position.offset


async def test_own_groups_hold_back_trimming(tmp_path):
    """What a group of our own has not committed stays; topics it does not read go."""
    limits = LogLimits(own_groups=frozenset({"fetch"}))
    async with EmbeddedLog.open(tmp_path, clock=start, limits=limits) as log:
        await append_many(log, 3)
        await append_many(log, 3, topic=Topic.LIFECYCLE)
        assert 0 == await log.trim(LATER)

        async with log.subscribe("fetch", [Topic.COMPLETIONS]) as subscription:
            assert 3 == await log.trim(LATER)
            await subscription.commit({(Topic.COMPLETIONS, 1): 2})
            assert 2 == await log.trim(LATER)
        spans = await log.offsets([Topic.COMPLETIONS, Topic.LIFECYCLE])

    assert {(Topic.COMPLETIONS, 1): range(2, 3), (Topic.LIFECYCLE, 1): range(3, 3)} == spans


async def test_group_that_fell_behind_is_told(tmp_path):
    """Another group goes on at the oldest record and hears how many are missing."""
    async with (
        EmbeddedLog.open(tmp_path, clock=start, limits=NOBODY) as log,
        log.subscribe("slow", [Topic.COMPLETIONS]) as subscription,
    ):
        await append_many(log, 5)
        await log.trim(LATER)
        await log.append(record(b"new"))
        with capture_logs() as lines:
            found = await subscription.poll(max_records=10, timeout=SOON)
        lag = await subscription.lag()

    assert [b"new"] == [one.value for one in found]
    assert (5, 1) == (subscription.gaps, lag)
    assert [
        {
            "event": "log.gap",
            "log_level": "warning",
            "group": "slow",
            "topic": "completions",
            "partition": 1,
            "missing": 5,
        }
    ] == lines


async def test_full_log_refuses_until_it_is_trimmed(tmp_path):
    """At its size limit the log refuses; it takes records again once old ones may go."""
    limits = LogLimits(max_bytes=2_000_000, own_groups=frozenset({"record"}))
    async with (
        EmbeddedLog.open(tmp_path, clock=start, limits=limits) as log,
        log.subscribe("record", list(Topic)) as subscription,
    ):
        with pytest.raises(LogUnavailable):
            await append_many(log, 100_000, size=20_000)
        with pytest.raises(LogUnavailable):
            await log.ping()
        (span,) = (await log.offsets([Topic.COMPLETIONS])).values()
        assert 0 == await log.trim(START)

        await subscription.commit({(Topic.COMPLETIONS, 1): span.stop})
        removed = await log.trim(START)
        await log.ping()
        await append_many(log, 3)
        (after,) = (await log.offsets([Topic.COMPLETIONS])).values()

    assert range(removed, span.stop + 3) == after
    assert 0 < removed < span.stop


async def test_trimmed_space_returns_to_the_disk(tmp_path):
    """After trimming, the file has shrunk."""
    path = tmp_path / "log-00000001.sqlite"
    async with EmbeddedLog.open(tmp_path, clock=start, limits=NOBODY) as log:
        await append_many(log, 200, size=50_000)
    before = path.stat().st_size
    async with EmbeddedLog.open(tmp_path, clock=start, limits=NOBODY) as log:
        await log.trim(LATER)

    assert before > 9_000_000
    assert path.stat().st_size < before // 4


async def test_closed_file_goes_whole(tmp_path):
    """A file that was closed for good is removed once nobody needs it; its number stays used."""
    async with EmbeddedLog.open(tmp_path, clock=start, limits=NOBODY) as log:
        await append_many(log, 3)
        LogFolder(tmp_path).close_for_good(1)
        await append_many(log, 1)

        assert 4 == await log.trim(LATER)
        assert (2,) == LogFolder(tmp_path).list().present
        LogFolder(tmp_path).close_for_good(2)
        position = await log.append(record())

    assert 3 == position.partition


async def test_run_retention_trims_and_stops(tmp_path):
    """The retention loop trims when it starts, and ends when told."""
    stop = asyncio.Event()
    clock = [START]
    async with EmbeddedLog.open(tmp_path, clock=lambda: clock[0], limits=NOBODY) as log:
        await append_many(log, 3)
        clock[0] = LATER
        async with asyncio.timeout(20), asyncio.TaskGroup() as group:
            group.create_task(log.run_retention(stop))
            while await held(log):
                pass
            stop.set()


async def held(log) -> int:
    return sum(len(span) for span in (await log.offsets(list(Topic))).values())


async def test_free_pages_may_stay_for_what_comes(tmp_path):
    """Without giving back, the file keeps its size; with it, it becomes small."""
    file = LogFolder(tmp_path).file(1)
    sizes = []
    async with EmbeddedLog.open(tmp_path, clock=start, limits=NOBODY) as log:
        await append_many(log, 200, size=50_000)
        assert 200 == await log.trim(LATER, gives_back=False)
    sizes.append(file.stat().st_size)
    async with EmbeddedLog.open(tmp_path, clock=start, limits=NOBODY) as log:
        await log.trim(LATER)
    sizes.append(file.stat().st_size)

    assert sizes[0] > 9_000_000
    assert sizes[1] < 2_000_000
