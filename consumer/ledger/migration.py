"""
The schema: which one a database has, which one this version knows, and the way between.

SQLite files are copied aside first. There is no way back but that copy: a downgrade would
have to invent what a newer version knew.
"""

import asyncio
import re
from pathlib import Path

from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect
from sqlalchemy.ext.asyncio import AsyncEngine

from consumer.errors import ConfigError
from consumer.ledger.engine import ledger_url, open_engine, take_turn, translated
from consumer.ledger.sqlite import copy_aside, probe

_FOLDER = Path(__file__).parent / "migrations"
_REVISION = re.compile(r"v(\d+\.\d+\.\d+)_\d+")


async def migrate(url: str | Path, *, schema: str = "") -> str | None:
    """
    Bring a ledger's schema to the one this version knows; on PostgreSQL in a named place.

    Returns the revision it had before, empty for a new database, or None when there was
    nothing to do. A SQLite file that holds something is copied beside itself first, as
    `<name>.before-<revision>`. Raises ConfigError when the schema is newer than this
    version, LedgerUnavailable when the database does not answer.
    """
    parsed = ledger_url(url)
    await asyncio.to_thread(probe, parsed, may_create=True)
    engine = open_engine(parsed, connections=1, may_create=True, schema=schema)
    try:
        current = await current_revision(engine)
        head = known_revision()
        if current == head:
            return None
        if current is None and not await _holds_something(engine):
            current = ""
        elif parsed.get_backend_name() == "sqlite":
            path = Path(str(parsed.database))
            target = path.with_name(f"{path.name}.before-{head}")
            await asyncio.to_thread(copy_aside, path, target)
        with translated():
            async with engine.begin() as connection:
                await connection.run_sync(_upgrade)
        return current or ""
    finally:
        await engine.dispose()


async def needs_migration(url: str | Path) -> bool:
    """Tell whether `migrate` has something to do. Raises as `migrate` does."""
    parsed = ledger_url(url)
    if not await asyncio.to_thread(probe, parsed):
        return True
    engine = open_engine(parsed, connections=1, read_only=True)
    try:
        return await current_revision(engine) != known_revision()
    finally:
        await engine.dispose()


def known_revision() -> str:
    """Return the schema's revision that this version of the product works with."""
    head = _scripts().get_current_head()
    return head or ""


async def current_revision(engine: AsyncEngine) -> str | None:
    """Return the database's revision, None for none. Raises ConfigError for one we do not know."""
    with translated():
        async with engine.begin() as connection:
            current = await connection.run_sync(_read_revision)
    known = {script.revision for script in _scripts().walk_revisions()}
    if current is not None and current not in known:
        raise ConfigError([_too_new(current)])
    return current


def _too_new(current: str) -> str:
    found = _REVISION.fullmatch(current)
    needed = f"version {found[1]} or newer" if found else "a newer version"
    return (
        f"the ledger's schema {current} is newer than this version knows ({known_revision()}):"
        f" it needs fal-consumer {needed}"
    )


def _read_revision(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


async def _holds_something(engine: AsyncEngine) -> bool:
    with translated():
        async with engine.begin() as connection:
            return await connection.run_sync(lambda inner: bool(inspect(inner).get_table_names()))


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(_FOLDER).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


def _scripts() -> ScriptDirectory:
    return ScriptDirectory.from_config(_config())


def _upgrade(connection: Connection, to: str = "head") -> None:
    """Run every step that is missing, inside the caller's transaction; one process at a time."""
    take_turn(connection)
    scripts = _scripts()
    with EnvironmentContext(
        _config(),
        scripts,
        fn=lambda revision, _context: scripts._upgrade_revs(to, revision),  # noqa: SLF001  as `alembic.command.upgrade` does
        destination_rev=to,
    ) as environment:
        environment.configure(connection=connection)
        environment.run_migrations()
