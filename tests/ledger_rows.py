"""Every row of a ledger's tables, to be compared with another's."""

from sqlalchemy import select

from consumer.ledger.engine import ledger_url, open_engine
from consumer.ledger.tables import OPERATIONAL, PROJECTION


async def rows_of(place, tables=PROJECTION) -> dict[str, list[tuple]]:
    """Return the rows of these tables, in the order of their keys."""
    engine = open_engine(ledger_url(place), connections=1, read_only=True)
    try:
        async with engine.begin() as connection:
            return {
                table.name: [
                    tuple(row)
                    for row in await connection.execute(select(table).order_by(*table.primary_key))
                ]
                for table in tables
            }
    finally:
        await engine.dispose()


async def all_rows_of(place) -> dict[str, list[tuple]]:
    """Return the rows of every table but the stamps, which name their own instant."""
    found = await rows_of(place, (*PROJECTION, *OPERATIONAL))
    del found["stamps"]
    return found
