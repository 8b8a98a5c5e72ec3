"""
The ledger in a SQLite file: how it is opened, and whether it is still where it was.

No table is known here, and no driver's exception leaves but through `engine.translated`.
"""

import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, event
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from consumer.errors import LedgerUnavailable

BUSY_TIMEOUT_MS = 5_000
# How long SQLite waits for another process that writes (a migration, an operator's shell).
_POOL_TIMEOUT_S = 30
_CACHED_STATEMENTS = 200


def open_sqlite(url: URL, *, connections: int, read_only: bool, may_create: bool) -> AsyncEngine:
    """Return an engine on the file; only with `may_create` one that is not there is made."""
    if not may_create:
        file = Path(str(url.database)).absolute().as_uri()
        url = url.set(database=file, query={"mode": "rw", "uri": "true"})
    engine = create_async_engine(
        url,
        pool_size=connections,
        max_overflow=0,
        pool_timeout=_POOL_TIMEOUT_S,
        query_cache_size=_CACHED_STATEMENTS,
        # Transactions are begun by `_begins` below, not by the driver's guess.
        connect_args={"isolation_level": None, "timeout": BUSY_TIMEOUT_MS / 1000},
    )
    event.listen(engine.sync_engine, "connect", _pragmas(read_only=read_only))
    # A writer takes its lock at once: one that read first could not be told to wait later.
    event.listen(engine.sync_engine, "begin", _begins("BEGIN" if read_only else "BEGIN IMMEDIATE"))
    return engine


def probe(url: URL, *, may_create: bool = False) -> bool:
    """
    Tell whether a SQLite file is there and can be opened; True for other databases.

    Blocks. Raises LedgerUnavailable when it cannot. Asked before the engine is used, because
    the driver leaves a thread behind when its very first step fails.
    """
    if url.get_backend_name() != "sqlite":
        return True
    path = Path(str(url.database)).absolute()
    if not may_create and not path.exists():
        return False
    try:
        sqlite3.connect(path).close()
    except sqlite3.Error as exc:
        raise LedgerUnavailable(exc.sqlite_errorname) from exc
    return True


class Place:
    """
    Where a SQLite ledger's file lies, as it was when the ledger was opened.

    A file that was taken away can still be written, by whoever has it open, until he ends:
    nothing of that would be found again. Other databases have no such place.
    """

    def __init__(self, url: URL) -> None:
        is_file = url.get_backend_name() == "sqlite"
        self._path = str(url.database) if is_file else None
        self._found = self._look()

    def check(self) -> None:
        """Raise LedgerUnavailable when the file is not where it was; costs microseconds."""
        if self._look() != self._found:
            raise LedgerUnavailable(
                "its file was taken away or replaced while in use: put it back, or restart"
            )

    def _look(self) -> tuple[int, int] | None:
        if self._path is None:
            return None
        try:
            entry = os.stat(self._path)  # noqa: PTH116 - asked with every transaction
        except OSError:
            return None
        return entry.st_dev, entry.st_ino


def copy_aside(path: Path, target: Path) -> None:
    """
    Copy a SQLite database, whole and durable, with its write-ahead log in it. Blocks.

    Raises LedgerUnavailable; then there is no target.
    """
    unfinished = target.with_name(f"{target.name}.part")
    unfinished.unlink(missing_ok=True)
    try:
        source, copy = sqlite3.connect(path), sqlite3.connect(unfinished)
        try:
            source.backup(copy)
        finally:
            copy.close()
            source.close()
        sync(unfinished)
        unfinished.replace(target)
        sync(target.parent)
    except sqlite3.Error as exc:
        raise LedgerUnavailable(exc.sqlite_errorname) from exc
    except OSError as exc:
        raise LedgerUnavailable(type(exc).__name__) from exc


def sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk. Raises OSError."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _pragmas(*, read_only: bool) -> Callable[[Any, Any], None]:
    pragmas = [f"busy_timeout = {BUSY_TIMEOUT_MS}", "foreign_keys = ON", "synchronous = FULL"]
    # A reader cannot turn WAL on, and does not have to: it is a property of the file.
    pragmas.append("query_only = ON" if read_only else "journal_mode = WAL")

    def on_connect(connection: Any, _record: Any) -> None:
        cursor = connection.cursor()
        for pragma in pragmas:
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    return on_connect


def _begins(statement: str) -> Callable[[Connection], None]:
    def on_begin(connection: Connection) -> None:
        connection.exec_driver_sql(statement)

    return on_begin
