"""Migrated ledgers on PostgreSQL for tests, and one whose clock is the test's own."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime

import asyncpg
from sqlalchemy import event

from consumer.ledger import Ledger
from consumer.ledger.migration import migrate
from tests.postgres_fixtures import Databases

_TEMPLATES: dict[str, str] = {}
_MANUAL_CLOCK = """
CREATE SCHEMA manual;
CREATE FUNCTION manual.clock_timestamp() RETURNS timestamptz LANGUAGE sql
    AS $$ SELECT current_setting('manual.now')::timestamptz $$;
"""


@asynccontextmanager
async def migrated(postgres: Databases) -> AsyncIterator[str]:
    """Give the URL of an empty ledger; after the first one it is a copy of that."""
    template = _TEMPLATES.get(postgres.url)
    if template is None:
        template = await postgres.make()
        await migrate(postgres.url_of(template))
        connection = await asyncpg.connect(postgres.url_of(template))
        await connection.execute(_MANUAL_CLOCK)
        await connection.close()
        _TEMPLATES[postgres.url] = template
    async with postgres.fresh(template) as url:
        yield url


def turn_the_clock(ledger: Ledger, clock: Callable[[], datetime]) -> None:
    """
    Let the database's own clock be `clock`, for an open ledger of `migrated`.

    The ledger asks the database for the time as ever; its name finds our function first.
    """

    def begin(connection):
        now = clock().isoformat()
        connection.exec_driver_sql(f"SET LOCAL manual.now = '{now}'")
        connection.exec_driver_sql("SET LOCAL search_path = manual, public, pg_catalog")

    for engine in (ledger._reading, ledger._writer._engine):
        event.listen(engine.sync_engine, "begin", begin)
