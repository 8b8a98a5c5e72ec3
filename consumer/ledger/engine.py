"""
Connections: how each database is opened, and what its errors mean to us.

Everything that differs between SQLite and PostgreSQL is here. No table is known here, and
no exception of a library leaves `translated`.
"""

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

import sqlalchemy.exc
from sqlalchemy import URL, Connection, Table, event, make_url, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from consumer.errors import ConfigError, LedgerUnavailable, UndecodableEvent
from consumer.ledger.rows import instant
from consumer.ports import Clock

_BUSY_TIMEOUT_MS = 5_000
# How long SQLite waits for another process that writes (a migration, an operator's shell).
_COMMAND_TIMEOUT_S = 30
# One statement on PostgreSQL: far above any of ours, so that a dead server is noticed.
_TURN = 0x66616C
# The advisory lock that writers of one PostgreSQL database take in turn ("fal").

_CACHED_STATEMENTS = 200


def ledger_url(url: str | Path) -> URL:
    """
    Return the URL of a ledger with the driver that we use; a path means SQLite.

    Raises ConfigError when it is no URL of a database that the ledger speaks.
    """
    if isinstance(url, Path):
        return URL.create("sqlite+aiosqlite", database=str(url))
    try:
        parsed = make_url(url)
    except sqlalchemy.exc.ArgumentError as exc:
        raise ConfigError(["the ledger's URL is not a URL"]) from exc
    backend = parsed.drivername.partition("+")[0]
    if backend in ("postgres", "postgresql"):
        return parsed.set(drivername="postgresql+asyncpg")
    if backend == "sqlite" and parsed.database and parsed.database != ":memory:":
        return parsed.set(drivername="sqlite+aiosqlite")
    raise ConfigError(["the ledger's URL must name a SQLite file or a PostgreSQL database"])


def open_engine(
    url: URL, *, connections: int, read_only: bool = False, may_create: bool = False
) -> AsyncEngine:
    """
    Return an engine with at most that many connections, none of them open yet.

    Only with `may_create` a SQLite file that is not there is made: a ledger whose file was
    taken away must not go on with an empty one.
    """
    if url.get_backend_name() == "postgresql":
        return create_async_engine(
            url,
            pool_size=connections,
            max_overflow=0,
            pool_timeout=_COMMAND_TIMEOUT_S,
            query_cache_size=_CACHED_STATEMENTS,
            connect_args={"command_timeout": _COMMAND_TIMEOUT_S, "timeout": _COMMAND_TIMEOUT_S},
        )
    if not may_create:
        file = Path(str(url.database)).absolute().as_uri()
        url = url.set(database=file, query={"mode": "rw", "uri": "true"})
    engine = create_async_engine(
        url,
        pool_size=connections,
        max_overflow=0,
        pool_timeout=_COMMAND_TIMEOUT_S,
        query_cache_size=_CACHED_STATEMENTS,
        # Transactions are begun by `_begins` below, not by the driver's guess.
        connect_args={"isolation_level": None, "timeout": _BUSY_TIMEOUT_MS / 1000},
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
        raise LedgerUnavailable(kind_of(exc)) from exc
    return True


class Place:
    """
    Where a SQLite ledger's file lies, as it was when the ledger was opened.

    A file that was taken away can still be written, by whoever has it open, until he ends:
    nothing of that would be found again.
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


def _pragmas(*, read_only: bool) -> Callable[[Any, Any], None]:
    pragmas = [f"busy_timeout = {_BUSY_TIMEOUT_MS}", "foreign_keys = ON", "synchronous = FULL"]
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


def take_turn(connection: Connection) -> None:
    """
    Let one writer at a time read rows and write what follows from them.

    SQLite's writers have their turn since BEGIN IMMEDIATE. PostgreSQL's take a lock that
    ends with the transaction: without it two workers could join a fact each to the same
    old row, and one of the facts would be forgotten.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(_TAKE_TURN, {"turn": _TURN})


_TAKE_TURN = text("SELECT pg_advisory_xact_lock(:turn)")
_DATABASE_NOW = text("SELECT CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS BIGINT)")


def instant_of(connection: Connection, clock: Clock) -> datetime:
    """Return now, aware UTC: the database's own time where several machines share it."""
    if connection.dialect.name == "postgresql":
        return instant(int(connection.execute(_DATABASE_NOW).scalar_one()))
    return clock()


@cache
def insert_new(dialect: str, table: Table) -> Any:
    """Return INSERT … ON CONFLICT DO NOTHING for a table, built once per dialect."""
    return _insert(dialect, table).on_conflict_do_nothing()


@cache
def upsert(dialect: str, table: Table, *columns: str) -> Any:
    """Return the INSERT that overwrites `columns`, or all, of a row with the same key."""
    insert = _insert(dialect, table)
    key = [column.name for column in table.primary_key]
    names = columns or tuple(column.name for column in table.c if column.name not in key)
    return insert.on_conflict_do_update(
        index_elements=key, set_={name: insert.excluded[name] for name in names}
    )


def _insert(dialect: str, table: Table) -> Any:
    return postgresql.insert(table) if dialect == "postgresql" else sqlite.insert(table)


@contextmanager
def translated() -> Iterator[None]:
    """
    Let only our own errors leave.

    Raises UndecodableEvent for what the database will never take, LedgerUnavailable for
    what it might take later. The sentence names the error's kind only: messages of drivers
    may quote values.
    """
    try:
        yield
    except (sqlalchemy.exc.IntegrityError, sqlalchemy.exc.DataError) as exc:
        raise UndecodableEvent("entry", f"refused by the database ({kind_of(exc)})") from exc
    except (OverflowError, UnicodeEncodeError) as exc:
        raise UndecodableEvent("entry", f"refused by the driver ({type(exc).__name__})") from exc
    except (sqlalchemy.exc.DBAPIError, sqlalchemy.exc.TimeoutError, OSError) as exc:
        raise LedgerUnavailable(kind_of(exc)) from exc


def kind_of(error: BaseException) -> str:
    """Return the database's own name of an error (`SQLITE_BUSY`, an SQLSTATE), else its class."""
    cause = getattr(error, "orig", None) or error
    for name in ("sqlite_errorname", "sqlstate"):
        found = getattr(cause, name, None)
        if isinstance(found, str):
            return found
    return type(cause).__name__
