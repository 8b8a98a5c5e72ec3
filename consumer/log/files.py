"""
The files of the embedded log: their names, which are closed, how one is opened.

One SQLite file is one partition, and its number is the partition's. `log-00000001.closed`
beside a file says that nothing is appended to it any more. Nothing here opens a database
file but through SQLite: closing any other descriptor of it would drop SQLite's own locks.
"""

import errno
import fcntl
import os
import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from consumer.core.event import Topic
from consumer.errors import ConfigError, LogUnavailable

FORMAT_VERSION = 1
"""Of the tables and of the blocks in them. A new topic is a new version, too."""

_APPLICATION_ID = 0x66616C63
"""`falc`: what makes a SQLite file one of ours."""

BUSY_TIMEOUT_S = 5.0
"""How long a transaction waits for another process's; a group commit takes milliseconds."""

_NAME = re.compile(r"log-([0-9]{8})\.(sqlite|closed)")

_TABLES = (
    """CREATE TABLE counters (
        topic TEXT PRIMARY KEY, next_offset INTEGER NOT NULL CHECK (next_offset >= 0)
    ) WITHOUT ROWID""",
    """CREATE TABLE offsets (
        name TEXT NOT NULL, topic TEXT NOT NULL, partition INTEGER NOT NULL,
        next_offset INTEGER NOT NULL CHECK (next_offset >= 0),
        PRIMARY KEY (name, topic, partition)
    ) WITHOUT ROWID""",
    """CREATE TABLE subscriptions (
        name TEXT NOT NULL, topic TEXT NOT NULL, PRIMARY KEY (name, topic)
    ) WITHOUT ROWID""",
    *(
        f"""CREATE TABLE "{topic}" (
            last_offset INTEGER PRIMARY KEY, count INTEGER NOT NULL CHECK (count > 0),
            appended_at INTEGER NOT NULL, crc INTEGER NOT NULL, block BLOB NOT NULL
        )"""
        for topic in Topic
    ),
)
"""A row of a topic's table is a block; `appended_at` is in microseconds since 1970, UTC."""


class Fault(StrEnum):
    """What an error of SQLite means for a file."""

    FULL = "the disk is full"
    BUSY = "another process holds the write lock"
    BROKEN = "the file does not work"
    PLACE = "the process or the machine lacks something"


_FAULTS = {
    sqlite3.SQLITE_FULL: Fault.FULL,
    sqlite3.SQLITE_BUSY: Fault.BUSY,
    sqlite3.SQLITE_LOCKED: Fault.BUSY,
    sqlite3.SQLITE_IOERR: Fault.BROKEN,
    sqlite3.SQLITE_CORRUPT: Fault.BROKEN,
    sqlite3.SQLITE_NOTADB: Fault.BROKEN,
    sqlite3.SQLITE_CANTOPEN: Fault.BROKEN,
    sqlite3.SQLITE_READONLY: Fault.BROKEN,
    sqlite3.SQLITE_NOMEM: Fault.PLACE,
}


def fault_of(error: sqlite3.Error) -> Fault | None:
    """Return what an error means for its file; None when it is a mistake of ours."""
    code = getattr(error, "sqlite_errorcode", None)
    if code is None:
        return None
    if code == sqlite3.SQLITE_IOERR_NOMEM:
        return Fault.PLACE
    if code & 0xFF == sqlite3.SQLITE_CANTOPEN and _lacks_descriptors():
        return Fault.PLACE
    return _FAULTS.get(code & 0xFF)


def error_name(error: sqlite3.Error) -> str:
    """Return SQLite's own name of an error, such as `SQLITE_IOERR_WRITE`."""
    return getattr(error, "sqlite_errorname", None) or type(error).__name__


def _lacks_descriptors() -> bool:
    try:
        os.close(os.open(os.devnull, os.O_RDONLY))
    except OSError as exc:
        return exc.errno in {errno.EMFILE, errno.ENFILE, errno.ENOMEM}
    return False


@dataclass(frozen=True, slots=True)
class Listing:
    """The numbers of the files that are present, ascending, and of those closed for good."""

    present: tuple[int, ...]
    closed: frozenset[int]

    @property
    def current(self) -> int | None:
        """The file to append to, if there is one: the highest-numbered, unless it is closed."""
        newest = max(self.present, default=0)
        # One that is open below a closed one is one whose mark could not be written.
        return newest if newest > max(self.closed, default=0) else None

    @property
    def next_number(self) -> int:
        """The number of the next file to begin; numbers are never used again."""
        return max((*self.present, *self.closed), default=0) + 1


@dataclass(frozen=True, slots=True)
class LogFolder:
    """Where the files lie."""

    path: Path

    def make(self) -> None:
        """Make the folder, durably. Raises LogUnavailable."""
        try:
            if not self.path.is_dir():
                self.path.mkdir(parents=True, mode=0o700, exist_ok=True)
                sync_folder(self.path.parent)
        except OSError as exc:
            raise LogUnavailable(f"cannot make {self.path}: {exc.strerror}") from exc

    def list(self) -> Listing:
        """Return what is there now. Raises LogUnavailable."""
        numbers: dict[str, list[int]] = {"sqlite": [], "closed": []}
        try:
            names = os.listdir(self.path)  # noqa: PTH208 - several times faster, and asked often
        except FileNotFoundError:
            names = []
        except OSError as exc:
            raise LogUnavailable(f"cannot list {self.path}: {exc.strerror}") from exc
        for name in names:
            if match := _NAME.fullmatch(name):
                numbers[match[2]].append(int(match[1]))
        return Listing(tuple(sorted(numbers["sqlite"])), frozenset(numbers["closed"]))

    def file(self, number: int) -> Path:
        """Return where the file of a partition lies."""
        return self.path / f"log-{number:08}.sqlite"

    def marker(self, number: int) -> Path:
        """Return where the mark lies that closes a file for good."""
        return self.path / f"log-{number:08}.closed"

    def close_for_good(self, number: int) -> None:
        """Mark a file as closed, for every process and for ever. Raises OSError."""
        os.close(os.open(self.marker(number), os.O_WRONLY | os.O_CREAT, 0o600))
        sync_folder(self.path)

    def remove(self, number: int) -> None:
        """Remove a file and what SQLite keeps beside it. Raises OSError."""
        for suffix in ("", "-wal", "-shm"):
            self.file(number).with_name(f"log-{number:08}.sqlite{suffix}").unlink(missing_ok=True)
        sync_folder(self.path)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the right to begin files, among processes."""
        with closing_descriptor(self.path / "files.lock") as descriptor:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield


@contextmanager
def closing_descriptor(path: Path) -> Iterator[int]:
    """Open a lock file (made when absent) and close it in the end, which frees its lock."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def sync_folder(path: Path) -> None:
    """Make the names in a folder durable. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def open_to_append(folder: LogFolder, number: int) -> sqlite3.Connection:
    """
    Return a connection to a file that is there, or is made now.

    Raises sqlite3.Error, OSError, and ConfigError for a newer format.
    """
    path = folder.file(number)
    with folder.lock():
        is_new = not path.exists()
        connection = sqlite3.connect(
            path, timeout=BUSY_TIMEOUT_S, isolation_level=None, cached_statements=64
        )
        try:
            _prepare(connection, path)
            if is_new:
                sync_folder(folder.path)
        except BaseException:
            connection.close()
            raise
    return connection


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    if read_version(connection, path) == 0:
        # Both pragmas hold only while the file is empty.
        connection.execute("PRAGMA page_size = 4096")
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        connection.execute("PRAGMA journal_mode = WAL").fetchone()
        connection.execute("BEGIN IMMEDIATE")
        for statement in _TABLES:
            connection.execute(statement)
        rows = [(topic.value,) for topic in Topic]
        connection.executemany("INSERT INTO counters VALUES (?, 0)", rows)
        connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {FORMAT_VERSION}")
        connection.execute("COMMIT")
    connection.execute("PRAGMA journal_mode = WAL").fetchone()
    connection.execute("PRAGMA synchronous = FULL")
    # Checkpoints are the appender's: SQLite's own hide their errors.
    connection.execute("PRAGMA wal_autocheckpoint = 0").fetchone()
    connection.execute("PRAGMA journal_size_limit = 67108864").fetchone()


def open_to_read(folder: LogFolder, number: int) -> sqlite3.Connection:
    """
    Return a connection that never writes.

    Raises sqlite3.Error, and ConfigError for a newer format.
    """
    path = folder.file(number)
    uri = f"{path.absolute().as_uri()}?mode=ro"
    connection = sqlite3.connect(uri, uri=True, timeout=BUSY_TIMEOUT_S, isolation_level=None)
    try:
        if read_version(connection, path) == 0:
            raise _error("being made", sqlite3.SQLITE_BUSY, "SQLITE_BUSY")  # noqa: TRY301
    except BaseException:
        connection.close()
        raise
    return connection


def read_version(connection: sqlite3.Connection, path: Path) -> int:
    """
    Return the format version of a file, 0 for an empty one.

    Raises sqlite3.Error for a file that is not a log, and ConfigError for a newer format.
    """
    (application_id,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if tables and application_id != _APPLICATION_ID:
        raise _error("not a log", sqlite3.SQLITE_NOTADB, "SQLITE_NOTADB")
    if version > FORMAT_VERSION:
        sentence = (
            f"{path.name} has format {version}, this version of fal-consumer knows up to "
            f"{FORMAT_VERSION}: it needs the version that wrote it, or a newer one"
        )
        raise ConfigError([sentence])
    return int(version)


def _error(problem: str, code: int, name: str) -> sqlite3.DatabaseError:
    error = sqlite3.DatabaseError(problem)
    error.sqlite_errorcode = code
    error.sqlite_errorname = name
    return error
