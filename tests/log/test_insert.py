"""Appends on their way into the tables."""

import asyncio
from contextlib import closing

from consumer.core.event import NewRecord, Topic
from consumer.log.blocks import pack_head
from consumer.log.files import LogFolder, open_to_append
from consumer.log.insert import PendingAppend, insert_appends
from consumer.ports import Position


def pending(topic: Topic, size: int) -> PendingAppend:
    record = NewRecord(topic, "key", bytes(size), ())
    answer = asyncio.get_running_loop().create_future()
    return PendingAppend(topic, pack_head(record), record.value, record.size, answer)


async def insert(folder, appends):
    with closing(open_to_append(LogFolder(folder), 1)) as connection:
        positions = insert_appends(connection, 1, appends, appended_at=5)
        rows = {
            topic: connection.execute(
                f'SELECT last_offset, count FROM "{topic}" ORDER BY last_offset'
            ).fetchall()
            for topic in Topic
        }
    return positions, {topic: found for topic, found in rows.items() if found}


async def test_positions_follow_the_appends(tmp_path):
    """Mixed topics get their own offsets, in the order of the appends."""
    topics = [Topic.RESULTS, Topic.COMMANDS, Topic.RESULTS]

    positions, rows = await insert(tmp_path, [pending(topic, 10) for topic in topics])

    expected = [(Topic.RESULTS, 0), (Topic.COMMANDS, 0), (Topic.RESULTS, 1)]
    assert [Position(topic, 1, offset) for topic, offset in expected] == positions
    assert {Topic.RESULTS: [(1, 2)], Topic.COMMANDS: [(0, 1)]} == rows


async def test_blocks_are_bounded_by_count(tmp_path):
    """A row holds 256 records at most."""
    _, rows = await insert(tmp_path, [pending(Topic.RESULTS, 1) for _ in range(600)])

    assert {Topic.RESULTS: [(255, 256), (511, 256), (599, 88)]} == rows


async def test_blocks_are_bounded_by_bytes(tmp_path):
    """A row holds about a mebibyte; a larger record has a row of its own."""
    sizes = [600_000, 600_000, 3_000_000, 10]

    _, rows = await insert(tmp_path, [pending(Topic.RESULTS, size) for size in sizes])

    assert {Topic.RESULTS: [(0, 1), (1, 1), (2, 1), (3, 1)]} == rows
