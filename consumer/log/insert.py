"""
Appends on their way into the tables of a file: grouped into blocks, given their offsets.

Runs inside a transaction that the caller begins and commits, in the appender's thread.
"""

import asyncio
import sqlite3
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from consumer.core.event import Topic
from consumer.log.blocks import checksum
from consumer.ports import Position

_MAX_BLOCK_RECORDS = 256
_MAX_BLOCK_BYTES = 1 << 20
"""Of one row, so that a poll takes little more than it was asked for."""


@dataclass(slots=True, eq=False)
class PendingAppend:
    """An append that waits for its commit; `head` is what `blocks.pack_head` returned."""

    topic: Topic
    head: bytes
    value: bytes
    size: int
    answer: asyncio.Future[Position]


def insert_appends(
    connection: sqlite3.Connection,
    partition: int,
    appends: Sequence[PendingAppend],
    *,
    appended_at: int,
) -> list[Position]:
    """Insert all appends, and return their positions in the same order."""
    blocks = {
        topic: _Block(topic, _reserve(connection, topic, count), appended_at)
        for topic, count in Counter(append.topic for append in appends).items()
    }
    positions = []
    for append in appends:
        block = blocks[append.topic]
        if block.is_full_for(append.size):
            block.insert(connection)
        positions.append(Position(append.topic, partition, block.add(append)))
    for block in blocks.values():
        block.insert(connection)
    return positions


def _reserve(connection: sqlite3.Connection, topic: Topic, count: int) -> int:
    """Move a topic's counter on and return the first offset of those now reserved."""
    (end,) = connection.execute(
        "UPDATE counters SET next_offset = next_offset + ? WHERE topic = ? RETURNING next_offset",
        (count, topic.value),
    ).fetchone()
    return int(end) - count


class _Block:
    """A row being filled."""

    def __init__(self, topic: Topic, first: int, appended_at: int) -> None:
        self._statement = f'INSERT INTO "{topic}" VALUES (?, ?, ?, ?, ?)'  # noqa: S608 - our name
        self._next = first
        self._appended_at = appended_at
        self._parts: list[bytes] = []
        self._size = 0

    def is_full_for(self, size: int) -> bool:
        has_some = bool(self._parts)
        is_long = len(self._parts) >= 2 * _MAX_BLOCK_RECORDS
        return is_long or (has_some and self._size + size > _MAX_BLOCK_BYTES)

    def add(self, append: PendingAppend) -> int:
        self._parts += (append.head, append.value)
        self._size += append.size
        self._next += 1
        return self._next - 1

    def insert(self, connection: sqlite3.Connection) -> None:
        block, count = b"".join(self._parts), len(self._parts) // 2
        row = (self._next - 1, count, self._appended_at, checksum(block), block)
        connection.execute(self._statement, row)
        self._parts, self._size = [], 0
