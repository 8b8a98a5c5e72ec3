"""
The seam between the ledger and its databases: what differs is asked here, by everybody else.

How each is opened is in `sqlite` and `postgres`. No table is known here, and no exception of
a library leaves `translated`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

import sqlalchemy.exc
from sqlalchemy import URL, Connection, Table, make_url, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncEngine

from consumer.errors import ConfigError, LedgerUnavailable, UndecodableEvent
from consumer.ledger.postgres import driver_errors, open_postgres, words_for
from consumer.ledger.rows import instant
from consumer.ledger.sqlite import open_sqlite
from consumer.ports import Clock

_TURN = 0x66616C
# The advisory lock that writers of one PostgreSQL database take in turn ("fal").
_REFUSED = ("22", "23", "54")
# SQLSTATE classes of what will never be taken: bad values, constraints, and a row or an index
# entry that is too large. Source: PostgreSQL docs, Appendix A.
_IN_THE_WAY = ("40001", "40P01")
# Two transactions were in each other's way, and this one was ended: it can run again.


class InTheWay(LedgerUnavailable):
    """The database ended this transaction for another one's sake: the same again will do."""


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


def with_password(url: str, password: str) -> str:
    """Return a database's URL with that password in it. Raises ConfigError as `ledger_url`."""
    parsed = ledger_url(url).set(drivername="postgresql", password=password)
    return parsed.render_as_string(hide_password=False)


def is_postgres(url: URL) -> bool:
    """Tell whether the ledger is on PostgreSQL."""
    return url.get_backend_name() == "postgresql"


def open_engine(
    url: URL,
    *,
    connections: int,
    read_only: bool = False,
    may_create: bool = False,
    schema: str = "",
) -> AsyncEngine:
    """
    Return an engine with at most that many connections, none of them open yet.

    Only with `may_create` a SQLite file that is not there is made: a ledger whose file was
    taken away must not go on with an empty one. `schema` is PostgreSQL's: where tables are
    found, if not where its user finds them.
    """
    if is_postgres(url):
        return open_postgres(url, connections=connections, read_only=read_only, schema=schema)
    return open_sqlite(url, connections=connections, read_only=read_only, may_create=may_create)


def take_turn(connection: Connection) -> None:
    """
    Let one writer at a time read rows and write what follows from them.

    SQLite's writers have their turn since BEGIN IMMEDIATE. PostgreSQL's take a lock that
    ends with the transaction: without it two workers could join a fact each to the same
    old row, and one of the facts would be forgotten. Needed by who writes the projection.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(_TAKE_TURN, {"turn": _TURN})


# A ledger that is being built beside the one in use has turns of its own.
_TAKE_TURN = text("SELECT pg_advisory_xact_lock(:turn, hashtext(current_schema()))")
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
        raise _refused(exc) from exc
    except (OverflowError, UnicodeEncodeError) as exc:
        raise UndecodableEvent("entry", f"refused by the driver ({type(exc).__name__})") from exc
    except sqlalchemy.exc.DBAPIError as exc:
        raise _judged(exc) from exc
    except driver_errors() as exc:
        raise _judged(exc) from exc
    except (sqlalchemy.exc.TimeoutError, OSError) as exc:
        raise LedgerUnavailable(kind_of(exc)) from exc


def _judged(error: Exception) -> Exception:
    """Return our error for one of a database that says by its code what it means."""
    cause = getattr(error, "orig", None) or error
    code = getattr(cause, "sqlstate", None) or ""
    if code.startswith(_REFUSED):
        return _refused(error)
    if code in _IN_THE_WAY:
        return InTheWay(code)
    return LedgerUnavailable(words_for(cause) if code else kind_of(error))


def _refused(error: Exception) -> UndecodableEvent:
    return UndecodableEvent("entry", f"refused by the database ({kind_of(error)})")


def kind_of(error: BaseException) -> str:
    """Return the database's own name of an error (`SQLITE_BUSY`, an SQLSTATE), else its class."""
    cause = getattr(error, "orig", None) or error
    for name in ("sqlite_errorname", "sqlstate"):
        found = getattr(cause, name, None)
        if isinstance(found, str):
            return found
    return type(cause).__name__
