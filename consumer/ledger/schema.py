"""
Does a database have the schema that this version knows? One query, and no migration tool:
every command that reads asks this, and the tool takes half a second to import.
"""

from sqlalchemy import Connection, inspect, text
from sqlalchemy.ext.asyncio import AsyncEngine

from consumer.errors import ConfigError
from consumer.ledger.engine import translated

REVISION = "v0.1.0_1"
"""The newest step in `migrations/versions`; a test holds that it is."""


async def check_schema(engine: AsyncEngine) -> None:
    """Raise ConfigError unless the database has the schema that this version knows."""
    with translated():
        async with engine.begin() as connection:
            current = await connection.run_sync(_read_revision)
    if current == REVISION:
        return
    # Older, newer or none: the way between schemas knows the words for it.
    from consumer.ledger.migration import current_revision  # noqa: PLC0415

    await current_revision(engine)
    raise ConfigError([_old(current, is_postgres=engine.dialect.name == "postgresql")])


def _old(current: str | None, *, is_postgres: bool) -> str:
    if not is_postgres:
        return "the ledger's schema is older than this version: `serve` migrates it"
    found = f"has the schema {current}, older than this version" if current else "holds no ledger"
    return f"the ledger's database {found}: run `fal-consumer ledger migrate`"


def _read_revision(connection: Connection) -> str | None:
    if "alembic_version" not in inspect(connection).get_table_names():
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
