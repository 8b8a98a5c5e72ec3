"""
Does a database have the schema that this version knows? One query, and no migration tool:
every command that reads asks this, and the tool takes half a second to import.
"""

from sqlalchemy import Connection, inspect, text
from sqlalchemy.ext.asyncio import AsyncEngine

from consumer.errors import ConfigError
from consumer.ledger.engine import ledger_url, open_engine, translated

REVISION = "v0.1.0_3"
"""The newest step in `migrations/versions`; a test holds that it is."""

_OLDEST = 160_000
_SAFE = {
    "fsync": "a power cut may take what was acknowledged, claims of paid submits included",
    "full_page_writes": "a power cut may damage it",
}


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


async def look_at_database(url: str) -> list[str]:
    """
    Return what is unsafe about a ledger on PostgreSQL, a sentence each.

    Raises ConfigError where the schema is not ours, LedgerUnavailable.
    """
    engine = open_engine(ledger_url(url), connections=1, read_only=True)
    try:
        await check_schema(engine)
        with translated():
            async with engine.begin() as connection:
                found = {
                    name: (await connection.exec_driver_sql(f"SHOW {name}")).scalar_one()
                    for name in ("server_version_num", *_SAFE)
                }
    finally:
        await engine.dispose()
    risks = [
        f"{name} is {found[name]}: {why}" for name, why in _SAFE.items() if found[name] != "on"
    ]
    if int(found["server_version_num"]) < _OLDEST:
        risks.append(f"PostgreSQL {_OLDEST // 10_000} is the oldest that was tried")
    return risks


def _old(current: str | None, *, is_postgres: bool) -> str:
    if not is_postgres:
        return "the ledger's schema is older than this version: `serve` migrates it"
    found = f"has the schema {current}, older than this version" if current else "holds no ledger"
    return f"the ledger's database {found}: run `fal-consumer ledger migrate`"


def _read_revision(connection: Connection) -> str | None:
    if "alembic_version" not in inspect(connection).get_table_names():
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
