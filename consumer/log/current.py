"""
The file in force: opening it, closing it for good when it breaks, beginning the next.

Belongs to the appender's thread. A file that reports an I/O error is never written again:
after a failed fsync nobody can tell which of its pages reached the disk. Nor is one whose
name is gone: what SQLite still commits to it would end with the process.
"""

import os
import sqlite3
import time
from contextlib import suppress

from consumer.errors import LogUnavailable
from consumer.log.files import Fault, LogFolder, error_name, fault_of, open_to_append
from consumer.log.groups import copy_groups
from consumer.log.room import Room
from consumer.telemetry import get_logger

_AGAIN_AFTER_S = 1.0
"""Between new files when not even a new one works, so that a dying disk is not strewn."""

_CHECKPOINT_BYTES = 4 << 20
_MAX_WAL_PAGES = 16384
"""64 MiB: past it the WAL is begun anew, waiting for readers that are still in it."""


class CurrentFile:
    """The highest-numbered file that is not closed, with a connection to it."""

    def __init__(self, folder: LogFolder, room: Room) -> None:
        self._folder = folder
        self._room = room
        self._connection: sqlite3.Connection | None = None
        self._broken: set[int] = set()
        self._failures = 0
        self._next_file_at = 0.0
        self._since_checkpoint = 0
        self._places: tuple[tuple[int, int], ...] | None = None
        self._log = get_logger()
        self._take(0)

    def open(self) -> sqlite3.Connection:
        """
        Return the connection, opening the file or beginning it.

        Raises LogUnavailable, ConfigError, sqlite3.Error and OSError.
        """
        if self._connection is not None:
            if not self._is_in_place():
                self._leave()
            elif not self._marker.exists():
                return self._connection
            self.drop()
        listing = self._folder.list()
        current = listing.current
        if current is not None and current > max(self._broken, default=0):
            self._take(current)
            return self._keep(open_to_append(self._folder, self.number))
        return self._begin(max(listing.next_number, *(n + 1 for n in self._broken), 1))

    def _take(self, number: int) -> None:
        self.number = number
        # Kept, for it is asked with every commit.
        self._marker = self._folder.marker(number)
        path = str(self._folder.file(number))
        self._names = (path, f"{path}-wal")

    def _begin(self, number: int) -> sqlite3.Connection:
        if time.monotonic() < self._next_file_at:
            raise LogUnavailable("no file works")
        self._take(number)
        try:
            connection = open_to_append(self._folder, number)
            copy_groups(self._folder, connection, number)
        except sqlite3.Error:
            # What cannot even be begun holds nothing: leave no trace of it.
            self._next_file_at = time.monotonic() + _AGAIN_AFTER_S
            with suppress(OSError):
                self._folder.remove(number)
            raise
        return self._keep(connection)

    def _keep(self, connection: sqlite3.Connection) -> sqlite3.Connection:
        self._connection = connection
        self._places = self._places_now()
        return connection

    def _places_now(self) -> tuple[tuple[int, int], ...] | None:
        """Return which files bear the names of the file and its WAL; None when one is gone."""
        try:
            found = [os.stat(name) for name in self._names]  # noqa: PTH116 - asked with every commit
        except FileNotFoundError:
            return None
        return tuple((entry.st_dev, entry.st_ino) for entry in found)

    def _is_in_place(self) -> bool:
        places = self._places_now()
        return places is not None and places == self._places

    def _leave(self) -> None:
        """Close for good a file that was taken away or replaced under its open connection."""
        problem = "the file, or its WAL, was taken away while in use: put it back to have it read"
        self._log.error("log.file_gone", partition=self.number, problem=problem)
        if self._connection is not None:
            # Where only the WAL lost its name, what it holds is brought home this way.
            with suppress(sqlite3.Error):
                self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        self._broken.add(self.number)
        with suppress(OSError):
            self._folder.close_for_good(self.number)

    def drop(self) -> None:
        """Close the connection; the next `open` makes a fresh one."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(sqlite3.Error):
                connection.close()

    def wrote(self, size: int) -> None:
        """Count a transaction that went through."""
        self._failures = 0
        self._since_checkpoint += size

    def give_up(self, error: sqlite3.Error) -> None:
        """Close a broken file for good; raise LogUnavailable when that would not help."""
        if fault_of(error) is not Fault.BROKEN or self._room.is_nearly_full():
            raise self.translate(error) from error
        self.drop()
        self._failures += 1
        if self._failures > 1:
            self._next_file_at = time.monotonic() + _AGAIN_AFTER_S
        if self._folder.file(self.number).exists():
            self._log.error("log.file_closed", partition=self.number, error=error_name(error))
            # Where not even the mark can be written, this process remembers.
            self._broken.add(self.number)
            with suppress(OSError):
                self._folder.close_for_good(self.number)

    def translate(self, error: sqlite3.Error) -> LogUnavailable:
        """Return what an error means to those who wait."""
        fault = fault_of(error)
        if fault in {Fault.FULL, Fault.BROKEN}:
            self._room.note_full()
        if fault is not Fault.BUSY:
            # A fresh connection next time: this one may hold half of what failed.
            self.drop()
        return LogUnavailable(f"{fault or 'SQLite refuses'} ({error_name(error)})")

    def maybe_checkpoint(self) -> None:
        """Move the WAL into the file when it has grown."""
        if self._connection is None or self._since_checkpoint < _CHECKPOINT_BYTES:
            return
        self._since_checkpoint = 0
        try:
            _, pages, _ = self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
            if pages > _MAX_WAL_PAGES:
                self._connection.execute("PRAGMA wal_checkpoint(RESTART)").fetchone()
        except sqlite3.Error as exc:
            # Short of space is no harm: all is in the WAL, and the next one tries again.
            with suppress(LogUnavailable):
                self.give_up(exc)
