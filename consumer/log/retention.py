"""
Trimming the embedded log, a little at a time, as jobs among the appender's transactions.

What goes is past its topic's retention, or the oldest when the log is over its size; what
a group of our own has not committed stays, whatever its age. An earlier file goes whole.
"""

import sqlite3
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from consumer.core.event import Topic
from consumer.errors import ConfigError
from consumer.log.files import LogFolder, open_to_read
from consumer.log.groups import read_offsets, read_topics
from consumer.log.room import LogLimits, used_bytes

_BLOCKS_AT_ONCE = 64
_BYTES_AT_ONCE = 8 << 20
_PAGES_AT_ONCE = 1024
"""Of one transaction: some ten milliseconds during which appends wait."""

_KEPT_PAGES = 256
"""Free pages that stay in the file: the next appends take them."""

_TRIM_FROM = 0.9
_TRIM_TO = 0.8
"""Shares of `max_bytes`: trimming by size starts above the one and stops at the other."""

_ALL = 1 << 62
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Trimmed:
    """What one step removed, and whether another step may find more."""

    records: int
    may_go_on: bool


@dataclass(frozen=True, slots=True)
class Trim:
    """
    One trimming. `is_by_size` as it was at its start, so that it stops at a lower mark;
    `gives_back` free pages to the disk.
    """

    folder: LogFolder
    limits: LogLimits
    now: datetime
    is_by_size: bool = False
    gives_back: bool = True

    def is_over(self, connection: sqlite3.Connection, number: int) -> bool:
        """Return whether the log is over the size from which it is trimmed."""
        used = used_bytes(self.folder, connection, number)
        return used > self.limits.max_bytes * _TRIM_FROM

    def step(self, connection: sqlite3.Connection, number: int) -> Trimmed:
        """Remove a little of the file in force, or give its free pages back."""
        floors = _floors(connection, number, self.limits)
        removed = sum(
            _remove(connection, topic, floors[topic], self._before(topic)) for topic in Topic
        )
        if not removed and self.is_by_size and self._is_still_over(connection, number):
            removed = _remove_oldest(connection, floors)
        if removed:
            return Trimmed(removed, may_go_on=True)
        return Trimmed(0, may_go_on=self.gives_back and _give_back(connection))

    def remove_files(self, connection: sqlite3.Connection, number: int) -> int:
        """Remove earlier files that nobody needs any more; return how many records went."""
        removed = 0
        for other in self.folder.list().present:
            if other == number:
                continue
            floors = _floors(connection, other, self.limits)
            # A file that cannot be read is left to the operator.
            with (
                suppress(sqlite3.Error, ConfigError, OSError),
                closing(open_to_read(self.folder, other)) as source,
            ):
                if all(self._is_spent(source, topic, floors[topic]) for topic in Topic):
                    removed += sum(_count(source, topic) for topic in Topic)
                    self.folder.remove(other)
        return removed

    def _is_still_over(self, connection: sqlite3.Connection, number: int) -> bool:
        used = used_bytes(self.folder, connection, number)
        return used > self.limits.max_bytes * _TRIM_TO

    def _before(self, topic: Topic) -> int:
        return (self.now - self.limits.kept_for(topic) - _EPOCH) // _MICROSECOND

    def _is_spent(self, source: sqlite3.Connection, topic: Topic, floor: int) -> bool:
        newest = source.execute(
            f'SELECT last_offset, appended_at FROM "{topic}" ORDER BY last_offset DESC LIMIT 1'  # noqa: S608 - our name
        ).fetchone()
        if newest is None:
            return True
        last, appended_at = newest
        return last < floor and (self.is_by_size or appended_at < self._before(topic))


def _floors(connection: sqlite3.Connection, number: int, limits: LogLimits) -> dict[Topic, int]:
    """Return the offset up to which each topic of a file may be trimmed."""
    floors = dict.fromkeys(Topic, _ALL)
    for group in limits.own_groups:
        offsets = read_offsets(connection, group)
        # One that never subscribed may yet do so, and then starts at the very beginning.
        for topic in read_topics(connection, group) or frozenset(Topic):
            floors[topic] = min(floors[topic], offsets.get((topic, number), 0))
    return floors


def _remove(connection: sqlite3.Connection, topic: Topic, floor: int, before: int) -> int:
    """Remove the oldest blocks of a topic, up to an offset and an instant, a few at a time."""
    rows = connection.execute(
        f'SELECT last_offset, count, length(block), appended_at FROM "{topic}"'  # noqa: S608 - our name
        " WHERE last_offset < ? ORDER BY last_offset LIMIT ?",
        (floor, _BLOCKS_AT_ONCE),
    ).fetchall()
    size = removed = 0
    last = -1
    for last_offset, count, length, appended_at in rows:
        # In order, and no further: one that is young keeps all that follow it.
        if appended_at >= before or (removed and size + length > _BYTES_AT_ONCE):
            break
        last, size, removed = last_offset, size + length, removed + count
    if removed:
        connection.execute(f'DELETE FROM "{topic}" WHERE last_offset <= ?', (last,))  # noqa: S608 - our name
    return removed


def _remove_oldest(connection: sqlite3.Connection, floors: dict[Topic, int]) -> int:
    oldest: list[tuple[int, Topic]] = []
    for topic, floor in floors.items():
        row = connection.execute(
            f'SELECT appended_at FROM "{topic}" WHERE last_offset < ? ORDER BY last_offset LIMIT 1',  # noqa: S608 - our name
            (floor,),
        ).fetchone()
        if row:
            oldest.append((row[0], topic))
    if not oldest:
        return 0
    _, topic = min(oldest)
    return _remove(connection, topic, floors[topic], _ALL)


def _count(source: sqlite3.Connection, topic: Topic) -> int:
    (count,) = source.execute(f'SELECT coalesce(sum(count), 0) FROM "{topic}"').fetchone()  # noqa: S608 - our name
    return int(count)


def _give_back(connection: sqlite3.Connection) -> bool:
    """Give some free pages back to the disk; return whether there are more."""
    (free,) = connection.execute("PRAGMA freelist_count").fetchone()
    if free <= _KEPT_PAGES:
        return False
    pages = min(_PAGES_AT_ONCE, free - _KEPT_PAGES)
    connection.execute(f"PRAGMA incremental_vacuum({pages})").fetchall()
    (left,) = connection.execute("PRAGMA freelist_count").fetchone()
    return bool(left < free)
