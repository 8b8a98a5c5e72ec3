"""
Whether the embedded log may grow: its own size limit and the reserve of free space.

Belongs to the appender's thread. The disk is asked at most every 250 ms, or when what was
written since could have used up what was left.
"""

import os
import sqlite3
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta

from consumer.core.event import Topic
from consumer.errors import LogUnavailable
from consumer.log.files import LogFolder

_ASK_EVERY_S = 0.25
_TRIM_FROM = 0.9
"""The share of `max_bytes` from which trimming starts before the hour is over."""

_WRITTEN_TWICE = 2
"""A record lies in the WAL and, after a checkpoint, in the file."""

_NEARLY_FULL_BYTES = 1 << 20
"""Below this much free space an I/O error is about space: SQLite reports a WAL index that
cannot grow as SQLITE_IOERR_SHMSIZE and not as SQLITE_FULL."""

_MONTH = timedelta(days=30)


def _default_retention() -> dict[Topic, timedelta]:
    return dict.fromkeys(Topic, _MONTH) | {Topic.COMMANDS: timedelta(days=7)}


@dataclass(frozen=True, slots=True)
class LogLimits:
    """
    What bounds an embedded log.

    `max_bytes` bounds the files without their WALs (up to 64 MiB each, briefly more);
    `reserve_bytes` of the disk stay free; `max_record_bytes` bounds `NewRecord.size`;
    `max_pending_bytes` bounds appends that wait for their commit. A topic absent from
    `retention` keeps 30 days. `own_groups` hold back trimming until they have committed.
    """

    max_bytes: int = 20 << 30
    reserve_bytes: int = 512 << 20
    max_record_bytes: int = 32 << 20
    max_pending_bytes: int = 64 << 20
    retention: Mapping[Topic, timedelta] = field(default_factory=_default_retention)
    own_groups: frozenset[str] = frozenset({"fetch", "record", "commands"})

    def kept_for(self, topic: Topic) -> timedelta:
        """Return how long a record of this topic is kept at least, size permitting."""
        return self.retention.get(topic, _MONTH)


class Room:
    """What is left to write to."""

    def __init__(self, folder: LogFolder, limits: LogLimits) -> None:
        self._folder = folder
        self._limits = limits
        self._asked_at = -_ASK_EVERY_S
        self._free = 0
        self._used = 0
        self._grown = 0
        self._full_at: int | None = None

    def refusal(self, connection: sqlite3.Connection, number: int, growth: int) -> str | None:
        """Return why `growth` more bytes may not be written now, None when they may."""
        slack = min(self._free - self._limits.reserve_bytes, self._limits.max_bytes - self._used)
        is_old = time.monotonic() - self._asked_at >= _ASK_EVERY_S
        if is_old or _WRITTEN_TWICE * (self._grown + growth) > slack // 2:
            self._ask(connection, number)
        if self._free < self._limits.reserve_bytes:
            return "free space is below the reserve"
        if self._used + self._grown + growth > self._limits.max_bytes:
            return "the log has reached its size limit"
        return None

    def grew(self, growth: int) -> None:
        """Count what was written since the disk was asked."""
        self._grown += growth
        self._full_at = None

    def note_full(self) -> None:
        """Remember how much was free when SQLite found the disk full all the same."""
        self._full_at = self._free_now()

    def is_known_full(self) -> bool:
        """Return whether a write just failed for lack of space, and no more is free since."""
        return self._full_at is not None and self._free_now() <= self._full_at

    @property
    def wants_trimming(self) -> bool:
        """The log is close to its size limit."""
        return self._used + self._grown > self._limits.max_bytes * _TRIM_FROM

    def is_nearly_full(self) -> bool:
        """Return whether the disk has next to nothing left, whatever the reserve."""
        return self._free_now() < max(_NEARLY_FULL_BYTES, self._limits.reserve_bytes // 2)

    def _ask(self, connection: sqlite3.Connection, number: int) -> None:
        self._free = self._free_now()
        self._used = used_bytes(self._folder, connection, number)
        self._asked_at = time.monotonic()
        self._grown = 0

    def _free_now(self) -> int:
        try:
            disk = os.statvfs(self._folder.path)
        except OSError as exc:
            raise LogUnavailable(f"cannot read {self._folder.path}: {exc.strerror}") from exc
        return disk.f_bavail * disk.f_frsize


def used_bytes(folder: LogFolder, connection: sqlite3.Connection, number: int) -> int:
    """Return the size of all files, without the free pages of the one being appended to."""
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    (free_pages,) = connection.execute("PRAGMA freelist_count").fetchone()
    (page_size,) = connection.execute("PRAGMA page_size").fetchone()
    used = int((pages - free_pages) * page_size)
    for other in folder.list().present:
        if other != number:
            with suppress(OSError):
                used += folder.file(other).stat().st_size
    return used
