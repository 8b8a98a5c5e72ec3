"""Following the log on the loop."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from consumer.core.event import Topic
from consumer.log.reader import Stretch
from consumer.log.subscription import Cursor, EmbeddedSubscription, Source
from consumer.ports import Position, Record

NOW = timedelta(0)


def stretch(first: int, end: int, *, damaged: bool = False) -> Stretch:
    instant = datetime(2026, 1, 1, tzinfo=UTC)
    records = [
        Record(Position(Topic.RESULTS, 1, offset), "key", b"%d" % offset, (), instant)
        for offset in range(first, end)
    ]
    return Stretch(Topic.RESULTS, 1, first, end, [] if damaged else records)


def cursor_over(*reads: list[Stretch], start: int = 0) -> Cursor:
    """Return a cursor whose reads are these, and then nothing."""
    waiting = list(reads)

    async def fetch(_wanted):
        return waiting.pop(0) if waiting else []

    news = asyncio.get_running_loop().create_future()
    places = {(Topic.RESULTS, 1): start}
    return Cursor(Source(fetch, lambda: news), [Topic.RESULTS], places=places, group="group")


async def poll_all(cursor: Cursor, count: int) -> list[list[int]]:
    found = []
    while some := await cursor.next(max_records=count, timeout=NOW):
        found.append([one.position.offset for one in some])
    return found


async def test_block_is_given_in_portions():
    """What was read beyond the asked number waits for the next poll."""
    assert [[0, 1], [2, 3], [4]] == await poll_all(cursor_over([stretch(0, 5)]), 2)


async def test_start_within_a_block():
    """Records before the place are left out, and are no gap."""
    cursor = cursor_over([stretch(0, 5)], start=3)

    assert ([[3, 4]], 0) == (await poll_all(cursor, 10), cursor.gaps)


@pytest.mark.parametrize(
    "read,offsets,gaps",
    [
        ([stretch(4, 6)], [[4, 5]], 4),
        ([stretch(0, 2), stretch(3, 4)], [[0, 1, 3]], 1),
        ([stretch(0, 2, damaged=True), stretch(2, 3)], [[2]], 2),
    ],
)
async def test_missing_records_are_counted(read, offsets, gaps):
    """What is gone at the beginning, in the middle or by damage is told as a gap."""
    cursor = cursor_over(read)

    assert (offsets, gaps) == (await poll_all(cursor, 10), cursor.gaps)


async def test_subscription_passes_its_committed_offsets_to_lag():
    """The lag is counted from what was committed through the subscription."""
    seen = []

    async def commit(_offsets):
        return

    async def lag(committed):
        seen.append(dict(committed))
        return 7

    subscription = EmbeddedSubscription(cursor_over(), commit=commit, lag=lag, committed={})
    await subscription.commit({(Topic.RESULTS, 1): 4})
    await subscription.commit({(Topic.RESULTS, 1): 2})

    assert 7 == await subscription.lag()
    assert [{(Topic.RESULTS, 1): 4}] == seen
