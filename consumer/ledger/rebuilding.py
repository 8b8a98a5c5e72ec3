"""
A ledger built anew beside the one in use, and put in its place at the end.

The projection is replaced, the operational tables stay. What is cut or fails before the
swap leaves the ledger in use as it was.
"""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from consumer.errors import ConfigError, LedgerUnavailable
from consumer.ledger.engine import ledger_url, open_engine, take_turn, translated
from consumer.ledger.migration import migrate
from consumer.ledger.partitions import partitions_of
from consumer.ledger.schema import check_schema
from consumer.ledger.sqlite import copy_aside, sync
from consumer.ledger.store import Ledger
from consumer.ledger.tables import OPERATIONAL, PROJECTION
from consumer.ports import Clock, Planner, StampKind

_SCHEMA = "ledger_rebuild"
_ONE_AT_A_TIME = 0x66616D
# The advisory lock of whoever rebuilds on a PostgreSQL database.
_CLAIMING = ("schedules", "claims")
# Where both are empty the operational tables are gone, and what the replay derived stands.

_AS_LONG_AS_IT_TAKES = "SET LOCAL idle_in_transaction_session_timeout = 0"

CatchUp = Callable[[], Awaitable[None]]


class Rebuild(Protocol):
    """A ledger that grows beside the one in use."""

    @property
    def ledger(self) -> Ledger:
        """The new one: empty at first, and nobody else's."""
        ...

    async def has_operational(self) -> bool:
        """Tell whether the ledger in use has schedules or claims to keep."""
        ...

    async def swap(self, catch_up: CatchUp) -> None:
        """
        Put the new projection in the old one's place, after `catch_up`, while nobody writes.

        Without operational tables those of the new ledger are taken too, and stamped.
        Raises LedgerUnavailable; then the old one stands.
        """
        ...


@asynccontextmanager
async def open_rebuild(place: str | Path, *, plan: Planner, clock: Clock) -> AsyncIterator[Rebuild]:
    """
    Open a new ledger beside the one at `place`, on the same database; gone at the end.

    Nobody may have a SQLite file open meanwhile. Raises ConfigError where the ledger in use
    has another schema, or is being rebuilt already, and LedgerUnavailable.
    """
    if isinstance(place, Path):
        async with _open_file(place, plan=plan, clock=clock) as rebuild:
            yield rebuild
    else:
        async with _open_schema(place, plan=plan, clock=clock) as on_postgres:
            yield on_postgres


# ---------------------------------------------------------------- SQLite


@dataclass
class _FileRebuild:
    path: Path
    new_path: Path
    ledger: Ledger
    opened: AsyncExitStack

    async def has_operational(self) -> bool:
        """As the protocol says."""
        return await asyncio.to_thread(_holds_claims, self.path)

    async def swap(self, catch_up: CatchUp) -> None:
        """As the protocol says."""
        await catch_up()
        if not await self.has_operational():
            await self.ledger.stamp(StampKind.REBUILT)
        await self.opened.aclose()
        await asyncio.to_thread(_swap_files, self.path, self.new_path)


@asynccontextmanager
async def _open_file(path: Path, *, plan: Planner, clock: Clock) -> AsyncIterator[_FileRebuild]:
    new_path = path.with_name(f"{path.name}.rebuild")
    _remove(new_path)
    await migrate(path)
    try:
        await migrate(new_path)
        async with AsyncExitStack() as opened:
            ledger = await opened.enter_async_context(Ledger.open(new_path, plan=plan, clock=clock))
            yield _FileRebuild(path, new_path, ledger, opened)
    finally:
        _remove(new_path)


def _holds_claims(path: Path) -> bool:
    with closing(sqlite3.connect(path)) as file:
        return any(file.execute(f"SELECT 1 FROM {name} LIMIT 1").fetchone() for name in _CLAIMING)  # noqa: S608  names of ours


def _swap_files(path: Path, new_path: Path) -> None:
    """Take the operational rows over, keep the old file beside, and rename the new one."""
    try:
        if _holds_claims(path):
            with closing(sqlite3.connect(new_path, isolation_level=None)) as file:
                file.execute("PRAGMA synchronous = FULL")
                file.execute("ATTACH DATABASE ? AS old", (str(path),))
                file.execute("BEGIN IMMEDIATE")
                for table in OPERATIONAL:
                    file.execute(f"DELETE FROM {table.name}")  # noqa: S608  names of ours
                    file.execute(f"INSERT INTO {table.name} SELECT * FROM old.{table.name}")  # noqa: S608
                file.execute("COMMIT")
        # A copy, not a rename: at no moment there is no ledger.
        copy_aside(path, path.with_name(f"{path.name}.before-rebuild"))
        for name in (path, new_path):
            with closing(sqlite3.connect(name)) as file:
                file.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        sync(new_path)
        new_path.replace(path)
        for suffix in ("-wal", "-shm"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)
        sync(path.parent)
    except sqlite3.Error as exc:
        raise LedgerUnavailable(exc.sqlite_errorname) from exc
    except OSError as exc:
        raise LedgerUnavailable(type(exc).__name__) from exc


def _remove(path: Path) -> None:
    for suffix in ("", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


# ---------------------------------------------------------------- PostgreSQL


@dataclass
class _SchemaRebuild:
    engine: AsyncEngine
    ledger: Ledger
    opened: AsyncExitStack

    async def has_operational(self) -> bool:
        """As the protocol says."""
        with translated():
            async with self.engine.begin() as connection:
                return await _has_operational(connection)

    async def swap(self, catch_up: CatchUp) -> None:
        """As the protocol says."""
        with translated():
            async with self.engine.begin() as connection:
                # The turn is held for as long as the rest takes: nobody records meanwhile.
                await connection.exec_driver_sql(_AS_LONG_AS_IT_TAKES)
                await connection.run_sync(take_turn)
                await catch_up()
                if not await _has_operational(connection):
                    await self.ledger.stamp(StampKind.REBUILT)
                    await _take_operational(connection)
                await self.opened.aclose()
                await _swap_tables(connection)


@asynccontextmanager
async def _open_schema(url: str, *, plan: Planner, clock: Clock) -> AsyncIterator[_SchemaRebuild]:
    engine = open_engine(ledger_url(url), connections=2)
    try:
        await check_schema(engine)
        with translated():
            async with engine.connect() as alone, _alone(alone):
                await _run(engine, f"DROP SCHEMA IF EXISTS {_SCHEMA} CASCADE")
                await _run(engine, f"CREATE SCHEMA {_SCHEMA}")
                try:
                    await migrate(url, schema=_SCHEMA)
                    async with AsyncExitStack() as opened:
                        ledger = await opened.enter_async_context(
                            Ledger.open(url, plan=plan, clock=clock, schema=_SCHEMA)
                        )
                        yield _SchemaRebuild(engine, ledger, opened)
                finally:
                    await _run(engine, f"DROP SCHEMA IF EXISTS {_SCHEMA} CASCADE")
    finally:
        await engine.dispose()


@asynccontextmanager
async def _alone(connection: AsyncConnection) -> AsyncIterator[None]:
    """Hold the right to rebuild, for as long as the session lives. Raises ConfigError."""
    await connection.execution_options(isolation_level="AUTOCOMMIT")
    lock = text("SELECT pg_try_advisory_lock(:lock)")
    if not (await connection.execute(lock, {"lock": _ONE_AT_A_TIME})).scalar_one():
        raise ConfigError(["the ledger is being rebuilt already, by somebody else"])
    yield
    await connection.execute(text("SELECT pg_advisory_unlock(:lock)"), {"lock": _ONE_AT_A_TIME})


async def _run(engine: AsyncEngine, statement: str) -> None:
    async with engine.begin() as connection:
        await connection.exec_driver_sql(statement)


async def _has_operational(connection: AsyncConnection) -> bool:
    for name in _CLAIMING:
        found = await connection.exec_driver_sql(f"SELECT 1 FROM {name} LIMIT 1")  # noqa: S608  names of ours
        if found.first() is not None:
            return True
    return False


async def _take_operational(connection: AsyncConnection) -> None:
    for table in OPERATIONAL:
        rows = (
            f"INSERT INTO {table.name} SELECT * FROM {_SCHEMA}.{table.name} ON CONFLICT DO NOTHING"  # noqa: S608  names of ours
        )
        await connection.exec_driver_sql(rows)


async def _swap_tables(connection: AsyncConnection) -> None:
    """Drop the old projection and move the new one into its schema, partitions and all."""
    home = (await connection.exec_driver_sql("SELECT current_schema()")).scalar_one()
    for table in reversed(PROJECTION):
        await connection.exec_driver_sql(f"DROP TABLE {table.name}")
    for table in PROJECTION:
        new = f"{_SCHEMA}.{table.name}"
        names = await connection.run_sync(partitions_of, new)
        for name in (new, *names.values()):
            await connection.exec_driver_sql(f'ALTER TABLE {name} SET SCHEMA "{home}"')
