"""
What waits in a log for one group, counted from the files alone: no lock, nothing written.

Blocks, in a thread. Serves a spool that is open here as well as one that another process
holds.
"""

import sqlite3
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from consumer.core.event import Topic
from consumer.errors import ConfigError
from consumer.log.files import LogFolder, open_to_read
from consumer.log.groups import Offsets, read_offsets

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(slots=True)
class Waiting:
    """
    What stands after a group's mark. `size_bytes` is what the files use, free pages left out.

    `oldest_at` is when the oldest block was written; `unreadable` counts files left out.
    """

    records: Counter[Topic] = field(default_factory=Counter)
    partitions: set[int] = field(default_factory=set)
    size_bytes: int = 0
    oldest_at: datetime | None = None
    unreadable: int = 0

    @property
    def total(self) -> int:
        """How many records wait, of all topics."""
        return self.records.total()


def count_waiting(path: Path, group: str) -> Waiting:
    """Return what waits for the group in the log in this folder. Raises LogUnavailable."""
    folder = LogFolder(path)
    present = folder.list().present
    waiting = Waiting()
    marks = _marks(folder, present, group)
    for number in present:
        try:
            with closing(open_to_read(folder, number)) as source:
                _count(source, number, marks, waiting)
        except (sqlite3.Error, ConfigError):
            waiting.unreadable += 1
    if not waiting.total:
        waiting.size_bytes = 0
    return waiting


def _marks(folder: LogFolder, present: tuple[int, ...], group: str) -> Offsets:
    found: Offsets = {}
    for number in present:
        try:
            with closing(open_to_read(folder, number)) as source:
                for place, at in read_offsets(source, group).items():
                    found[place] = max(at, found.get(place, 0))
        except (sqlite3.Error, ConfigError):
            continue
    return found


def _count(source: sqlite3.Connection, number: int, marks: Offsets, waiting: Waiting) -> None:
    waiting.partitions.add(number)
    pages, free, size = (
        source.execute(f"PRAGMA {name}").fetchone()[0]
        for name in ("page_count", "freelist_count", "page_size")
    )
    waiting.size_bytes += (pages - free) * size
    for topic in Topic:
        mark = marks.get((topic, number), 0)
        # By count, not by offsets: a damaged file may lack what its counter promises.
        first = source.execute(
            f'SELECT last_offset - count + 1, appended_at FROM "{topic}"'  # noqa: S608 - our name
            " WHERE last_offset >= ? ORDER BY last_offset LIMIT 1",
            (mark,),
        ).fetchone()
        if first is None:
            continue
        (end,) = source.execute(
            "SELECT next_offset FROM counters WHERE topic = ?", (topic.value,)
        ).fetchone()
        waiting.records[topic] += end - max(first[0], mark)
        oldest_at = _EPOCH + timedelta(microseconds=first[1])
        waiting.oldest_at = min(oldest_at, waiting.oldest_at or oldest_at)
