"""
A SQLite ledger moved to PostgreSQL: every row, in one transaction, counted at the end.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Label, Table, func, select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from consumer.errors import ConfigError, LedgerUnavailable
from consumer.ledger.engine import is_postgres, ledger_url, open_engine, take_turn, translated
from consumer.ledger.partitions import ensure_partitions
from consumer.ledger.schema import check_schema
from consumer.ledger.sqlite import probe
from consumer.ledger.tables import deliveries, evidence_bodies, facts, metadata

_DAY = 86_400_000_000
_MAX_ROWS = 2_000
_MAX_BYTES = 8 * 1024 * 1024
# What is in memory at once; one row may be larger.

Told = Callable[[str, int, int], None]
"""Hears the table, how many of its rows are copied, and how many it has."""


async def copy_ledger(source: Path, target: str, tell: Told) -> dict[str, int]:
    """
    Copy every row of a SQLite file into a migrated, empty PostgreSQL; return rows by table.

    Nobody may write the file meanwhile. What is cut or refused leaves the target empty.
    Raises ConfigError where either is not as it must be, LedgerUnavailable.
    """
    url = ledger_url(target)
    if not is_postgres(url):
        raise ConfigError(["a ledger is copied to PostgreSQL: the target is a SQLite file"])
    if not await asyncio.to_thread(probe, ledger_url(source)):
        raise ConfigError([f"{source} is not there"])
    reading = open_engine(ledger_url(source), connections=1, read_only=True)
    writing = open_engine(url, connections=1)
    try:
        await check_schema(reading)
        await check_schema(writing)
        with translated():
            async with reading.connect() as old, writing.begin() as new:
                return await _copy_all(old, new, tell)
    finally:
        await _close(reading, writing)


async def _copy_all(old: AsyncConnection, new: AsyncConnection, tell: Told) -> dict[str, int]:
    await new.run_sync(take_turn)
    copied: dict[str, int] = {}
    for table in metadata.sorted_tables:
        if await _count(new, table):
            raise ConfigError([f"the target is not empty: {table.name} holds rows"])
    for table in metadata.sorted_tables:
        total = await _count(old, table)
        copied[table.name] = 0
        tell(table.name, 0, total)
        await _ensure_partitions(old, new, table)
        async for rows in _batches(old, table):
            await _insert(new, table, rows)
            copied[table.name] += len(rows)
            tell(table.name, copied[table.name], total)
        arrived = await _count(new, table)
        if not copied[table.name] == arrived == total:
            raise LedgerUnavailable(f"{table.name}: {total} rows to copy, {arrived} arrived")
    return copied


async def _batches(old: AsyncConnection, table: Table) -> AsyncIterator[list[tuple[Any, ...]]]:
    """Give a table's rows in the order of its key, so many at once as fit."""
    batch: list[tuple[Any, ...]] = []
    size = 0
    query = select(table, *_dated(table)).order_by(*table.primary_key)
    async with old.stream(query, execution_options={"yield_per": 100}) as rows:
        async for row in rows:
            batch.append(tuple(row))
            size += sum(len(value) for value in row if isinstance(value, (bytes, str)))
            if len(batch) >= _MAX_ROWS or size >= _MAX_BYTES:
                yield batch
                batch, size = [], 0
    if batch:
        yield batch


async def _insert(new: AsyncConnection, table: Table, rows: list[tuple[Any, ...]]) -> None:
    # COPY, which SQLAlchemy has no word for: several times faster than INSERT.
    driver: Any = (await new.get_raw_connection()).driver_connection
    names = [column.name for column in (*table.columns, *_dated(table))]
    await driver.copy_records_to_table(table.name, records=rows, columns=names)


def _dated(table: Table) -> list[Label[int]]:
    """Return the time by which PostgreSQL keeps a body: that of its first delivery."""
    if table is not evidence_bodies:
        return []
    first = select(func.min(deliveries.c.received_at)).where(
        deliveries.c.body_sha256 == evidence_bodies.c.sha256
    )
    return [func.coalesce(first.scalar_subquery(), 0).label("kept_at")]


async def _ensure_partitions(old: AsyncConnection, new: AsyncConnection, table: Table) -> None:
    at = {facts: facts.c.at, deliveries: deliveries.c.received_at}.get(table)
    if table is evidence_bodies:
        at = deliveries.c.received_at  # of each body one of these
    if at is None:
        return
    # An instant in each month: every day of the span is more than enough.
    span = (await old.execute(select(func.min(at), func.max(at)))).one()
    instants = [] if span[0] is None else [*range(span[0], span[1], _DAY), span[1]]
    await new.run_sync(ensure_partitions, {table.name: instants}, datetime.now(UTC))


async def _count(connection: AsyncConnection, table: Table) -> int:
    found = await connection.execute(select(func.count()).select_from(table))
    return int(found.scalar_one())


async def _close(*engines: AsyncEngine) -> None:
    for engine in engines:
        await engine.dispose()
