"""One spool on disk: its bounds, its counts, its refused set."""

import asyncio
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from consumer.core.event import Topic
from consumer.errors import LogUnavailable, RecordRefused
from consumer.log.files import LogFolder
from consumer.log.spool.places import maybe_hold, new_place
from consumer.log.spool.spool import NOWHERE, Spool
from consumer.ports import Position
from tests.spool.stage import LIMITS, now, record

SMALL = replace(LIMITS, max_bytes=1 << 20)


@pytest.fixture
def place(tmp_path):
    held = new_place(tmp_path)
    held.release()
    return held.place


@asynccontextmanager
async def spool_of(place, *, limits=LIMITS):
    held = maybe_hold(place)
    try:
        async with Spool.open(held, clock=now, limits=limits) as spool:
            yield spool
    finally:
        held.release()


async def test_counts_survive_a_restart(place):
    """What waits and what is refused is counted again from the disk."""
    async with spool_of(place) as spool:
        await spool.append(record("a"))
        await spool.append(record("b", topic=Topic.RESULTS))
        await spool.refuse(record("c", topic=Topic.DEAD_LETTERS), "too large")
    async with spool_of(place) as spool:
        waiting = +spool.waiting

        assert {Topic.COMPLETIONS: 1, Topic.RESULTS: 1} == waiting
        assert 1 == spool.refused_count
        assert not spool.is_empty
        assert spool.waiting_bytes > 0


async def test_positions_in_the_spool_have_no_partition(place):
    """A waiting record's offset is the spool's, and its partition says that it is none."""
    async with spool_of(place) as spool:
        positions = [await spool.append(record(key)) for key in "ab"]

    assert [Position(Topic.COMPLETIONS, NOWHERE, n) for n in (0, 1)] == positions


async def test_new_events_stop_at_the_limit_and_moved_ones_do_not(place):
    """A record that only goes to the end of a full spool finds room."""
    async with spool_of(place, limits=SMALL) as spool:
        for n in range(20):
            await spool.append(record(f"k-{n}", size=50_000))
        with pytest.raises(LogUnavailable, match="size limit"):
            await spool.append(record("k", size=50_000))
        with pytest.raises(LogUnavailable, match="size limit"):
            await spool.ping()
        await spool.move(record("k-0", size=50_000), now())

        assert 21 == spool.waiting.total()


async def test_a_record_over_the_limit_is_refused(place):
    """The spool judges a single record as any log does."""
    async with spool_of(place, limits=replace(LIMITS, max_record_bytes=100)) as spool:
        with pytest.raises(RecordRefused):
            await spool.append(record("k", size=200))


async def test_a_retry_puts_all_refused_records_back(place):
    """All wait again, without marks, and none is refused any more, here or after a restart."""
    letters = [record(f"k-{n}", topic=Topic.DEAD_LETTERS) for n in range(40)]
    async with spool_of(place) as spool:
        for letter in letters:
            await spool.refuse(letter, "too large")

        assert 40 == await spool.retry_refused()
        assert (40, 0) == (spool.waiting.total(), spool.refused_count)
        assert 0 == await spool.retry_refused()
    async with spool_of(place) as spool:
        found = [one async for one in spool._log.read([Topic.DEAD_LETTERS])]

        assert (40, 0) == (spool.waiting.total(), spool.refused_count)
        assert [letter.headers for letter in letters] == [one.headers for one in found]


async def test_a_retry_that_finds_no_room_loses_nothing(place):
    """What could not be put back is refused as before."""
    async with spool_of(place) as spool:
        await spool.refuse(record("k", topic=Topic.DEAD_LETTERS, size=5000), "too large")
    async with spool_of(place, limits=replace(LIMITS, max_pending_bytes=1000)) as spool:
        with pytest.raises(LogUnavailable):
            await spool.retry_refused()

        assert 1 == spool.refused_count
    async with spool_of(place) as spool:
        assert 1 == await spool.retry_refused()


async def test_files_that_were_closed_are_not_forgotten(place):
    """A spool whose earlier file is still there may hold what nobody read."""
    async with spool_of(place) as spool:
        await spool.append(record("a"))
        assert not spool.has_unread_files()
        LogFolder(place.waiting).close_for_good(1)
        await spool.append(record("b"))

        assert spool.has_unread_files()
        await spool.recount()
        assert 2 == spool.waiting.total()


async def test_damage_is_counted(place):
    """A file that is no log is told of, and the rest is counted."""
    async with spool_of(place) as spool:
        await spool.append(record("a"))
        LogFolder(place.waiting).file(7).write_bytes(b"no log" * 1000)
        await spool.recount()

        assert (1, 1) == (spool.waiting.total(), spool.unreadable)


async def test_what_a_caller_gave_up_is_counted_when_it_is_on_disk(place):
    """An append whose caller goes away still waits for Kafka: it is there, and it counts."""
    async with spool_of(place) as spool:
        given_up = [asyncio.create_task(spool.append(record(f"gone-{n}"))) for n in range(3)]
        given_up.append(asyncio.create_task(spool.refuse(record("no"), "too large")))
        await asyncio.sleep(0)
        for one in given_up:
            one.cancel()
        await asyncio.wait(given_up)
        await spool.append(record("stays"))
        await spool.refuse(record("stays"), "too large")
        counted = spool.waiting.total(), spool.refused_count
        await spool.recount()

        assert (4, 2) == counted
        assert (4, 2) == (spool.waiting.total(), spool.refused_count)
