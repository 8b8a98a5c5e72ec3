"""The schema: new, old, newer, and the same as the tables say."""

import asyncio
import re
import sqlite3
from datetime import UTC, datetime

import asyncpg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine, text

from consumer.errors import ConfigError, LedgerUnavailable
from consumer.ledger import Ledger
from consumer.ledger.engine import ledger_url, open_engine
from consumer.ledger.migration import known_revision, migrate, needs_migration
from consumer.ledger.schema import REVISION
from consumer.ledger.tables import metadata
from consumer.ports import Plan
from tests.ledger_databases import migrated


def _open(path):
    return Ledger.open(path, plan=lambda *_: Plan(), clock=lambda: datetime.now(UTC))


def _execute(path, *statements):
    connection = sqlite3.connect(path, isolation_level=None)
    found = [connection.execute(statement).fetchall() for statement in statements]
    connection.close()
    return found


async def test_new_ledger_is_migrated_without_a_copy(tmp_path):
    """A ledger that was not there gets the schema, and nothing is copied."""
    path = tmp_path / "ledger.sqlite"

    assert await needs_migration(path)
    assert not path.exists()
    assert "" == await migrate(path)

    assert not await needs_migration(path)
    assert None is await migrate(f"sqlite:///{path}")
    assert ["ledger.sqlite"] == [
        found.name for found in tmp_path.glob("*") if "-" not in found.name
    ]


async def test_migrations_make_what_the_tables_say(path):
    """Tables, indexes and constraints of a migrated ledger are those of `tables`, text for text."""
    made = create_engine("sqlite://")
    metadata.create_all(made)
    migrated = create_engine(f"sqlite:///{path}")
    query = text("SELECT type, name, sql FROM sqlite_master WHERE name NOT LIKE 'alembic%'")

    with made.connect() as one, migrated.connect() as other:
        expected = {tuple(row) for row in one.execute(query)}
        found = {tuple(row) for row in other.execute(query)} - {
            ("index", "sqlite_autoindex_alembic_version_1", None)
        }
        differences = compare_metadata(MigrationContext.configure(other), metadata)
    made.dispose()
    migrated.dispose()

    def normal(rows):
        return sorted((kind, name, _sorted_words(sql)) for kind, name, sql in rows)

    assert normal(expected) == normal(found)
    assert [] == differences


def _sorted_words(sql):
    # SQLite appends an added column to the last line, before the bracket that ends the table.
    text = re.sub(r"\)$", "", (sql or "").strip())
    return sorted(part.strip() for part in re.split(r",(?![^(]*\))|\n", text) if part.strip())


async def test_migrations_make_what_the_tables_say_on_postgresql(database):
    """So it is on PostgreSQL, asked of its catalogue; and again there is nothing to do."""
    assert "" == await migrate(database)
    assert None is await migrate(database)

    engine = open_engine(ledger_url(database), connections=1)
    async with engine.begin() as connection:
        differences = await connection.run_sync(
            lambda inner: compare_metadata(
                MigrationContext.configure(inner, opts={"include_object": _is_shared}), metadata
            )
        )
    await engine.dispose()
    assert [] == differences


def _is_shared(thing, name, kind, _is_there, _other):
    """Leave out what only PostgreSQL has, or has not: partitions, and what they forbid."""
    if kind == "table":
        return not re.search(r"_default$|_y\d{4}m\d\d$", name)
    return (kind, name) != ("column", "kept_at") and kind != "foreign_key_constraint"


async def test_two_who_migrate_at_once_do_it_once(database):
    """Processes that migrate one PostgreSQL together wait for each other."""
    await asyncio.gather(migrate(database), migrate(database), migrate(database))

    assert not await needs_migration(database)


async def test_database_without_schema_names_the_command(database):
    """PostgreSQL is never migrated on the way: who opens it is told what to run."""
    with pytest.raises(ConfigError, match="holds no ledger: run `fal-consumer ledger migrate`"):
        async with _open(database):
            pass
    assert await needs_migration(database)


async def test_newer_schema_on_postgresql_says_which_version_it_needs(postgres):
    """A schema of a later version is refused there as well."""
    async with migrated(postgres) as url:
        connection = await asyncpg.connect(url)
        await connection.execute("UPDATE alembic_version SET version_num = 'v9.1.0_2'")
        await connection.close()

        with pytest.raises(ConfigError, match=r"needs fal-consumer version 9\.1\.0"):
            async with _open(url):
                pass


async def test_older_ledger_is_copied_before_it_is_changed(tmp_path):
    """A file that holds something is copied aside, whole, before the first step."""
    path = tmp_path / "ledger.sqlite"
    _execute(path, "PRAGMA journal_mode=WAL", "CREATE TABLE old (x)", "INSERT INTO old VALUES (7)")

    await migrate(path)

    copy = tmp_path / f"ledger.sqlite.before-{known_revision()}"
    assert [[(7,)], [("old",)]] == _execute(
        copy, "SELECT x FROM old", "SELECT name FROM sqlite_master"
    )
    assert [[(7,)]] == _execute(path, "SELECT x FROM old")
    assert not await needs_migration(path)
    assert [] == list(tmp_path.glob("*.part"))


async def test_failed_migration_changes_nothing(tmp_path):
    """A step that fails leaves the ledger as it was."""
    path = tmp_path / "ledger.sqlite"
    _execute(path, "CREATE TABLE claims (x)")

    with pytest.raises(LedgerUnavailable):
        await migrate(path)

    assert [[("claims",)]] == _execute(path, "SELECT name FROM sqlite_master")


async def test_newer_schema_says_which_version_it_needs(path):
    """A schema of a later version is refused, naming that version."""
    _execute(path, "UPDATE alembic_version SET version_num = 'v9.1.0_2'")
    expected = (
        f"the ledger's schema v9.1.0_2 is newer than this version knows ({known_revision()}):"
        " it needs fal-consumer version 9.1.0 or newer"
    )

    for attempt in (migrate, needs_migration):
        with pytest.raises(ConfigError) as refused:
            await attempt(path)
        assert (expected,) == refused.value.mistakes
    with pytest.raises(ConfigError, match=r"needs fal-consumer version 9\.1\.0"):
        async with _open(path):
            pass


async def test_unreadable_revision_needs_a_newer_version(path):
    """A revision that is not named after a version is still refused."""
    _execute(path, "UPDATE alembic_version SET version_num = 'abc'")

    with pytest.raises(ConfigError, match="it needs fal-consumer a newer version"):
        await migrate(path)


async def test_ledger_without_schema_is_not_opened(tmp_path):
    """A ledger that was never migrated is refused, naming the command."""
    path = tmp_path / "ledger.sqlite"
    _execute(path, "CREATE TABLE old (x)")

    assert await needs_migration(path)
    with pytest.raises(ConfigError, match="`serve` migrates it"):
        async with _open(path):
            pass


async def test_ledger_that_is_not_there_is_not_made_by_opening(tmp_path):
    """Opening a ledger whose file is gone is refused, and leaves no empty file behind."""
    with pytest.raises(LedgerUnavailable, match="no such file"):
        async with _open(tmp_path / "ledger.sqlite"):
            pass

    assert [] == list(tmp_path.iterdir())


@pytest.mark.parametrize("url", ["nonsense", "sqlite://", "sqlite:///:memory:", "mysql://h/d"])
async def test_other_databases_are_refused(url):
    """Only a SQLite file or PostgreSQL can hold the ledger."""
    with pytest.raises(ConfigError):
        await migrate(url)


async def test_folder_that_is_not_there_is_unavailable(tmp_path):
    """A path that cannot be opened is an error of ours, not of a library."""
    with pytest.raises(LedgerUnavailable):
        await migrate(tmp_path / "none" / "ledger.sqlite")


async def test_file_that_is_no_database_is_unavailable(tmp_path):
    """A file of something else is refused and left as it is."""
    path = tmp_path / "ledger.sqlite"
    path.write_bytes(b"something else " * 1000)

    with pytest.raises(LedgerUnavailable):
        await migrate(path)

    assert b"something else " * 1000 == path.read_bytes()


def test_the_revision_that_readers_expect_is_the_newest_step():
    """A reader need not import the migration tool to know which schema it wants."""
    assert known_revision() == REVISION
