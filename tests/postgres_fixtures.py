"""PostgreSQL for tests: one server for all of them, and a database that no other test uses."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import asyncpg
import pytest

from consumer.devservers import use_shared_postgres
from consumer.devservers.postgres import postgres_binaries
from consumer.errors import ConfigError


class Databases:
    """A PostgreSQL that tests may use, as a user who may make databases."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._made: list[str] = []

    @asynccontextmanager
    async def fresh(self, template: str | None = None) -> AsyncIterator[str]:
        """Give the URL of a new database, a copy of `template` if named; dropped afterwards."""
        name = _new_name()
        # Copied through the log: no checkpoint, which the others would wait for.
        copied = f" TEMPLATE {template}" if template else ""
        await self._run(f"CREATE DATABASE {name}{copied} STRATEGY wal_log")
        try:
            yield self.url_of(name)
        finally:
            await self._run(f"DROP DATABASE {name} WITH (FORCE)")

    async def make(self) -> str:
        """Return the name of a new database that stays until the end of the run: a template."""
        name = _new_name()
        await self._run(f"CREATE DATABASE {name}")
        self._made.append(name)
        return name

    async def tidy(self) -> None:
        """Drop what `make` made."""
        for name in self._made:
            await self._run(f"DROP DATABASE {name} WITH (FORCE)")

    def url_of(self, name: str) -> str:
        """Return the URL of a database by its name."""
        return urlunsplit(urlsplit(self.url)._replace(path=f"/{name}"))

    async def _run(self, statement: str) -> None:
        connection = await asyncpg.connect(self.url)
        try:
            await connection.execute(statement)
        finally:
            await connection.close()


def _new_name() -> str:
    return f"t_{uuid4().hex}"


@pytest.fixture(scope="session")
def postgres(tmp_path_factory, require) -> Iterator[Databases]:
    """A PostgreSQL that all tests of all workers share, or the one in CONSUMER_TEST_POSTGRES."""
    given = os.environ.get("CONSUMER_TEST_POSTGRES")
    if given:
        databases = Databases(given)
        yield databases
        asyncio.run(databases.tidy())
        return
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    try:
        with use_shared_postgres(shared / "postgres") as url:
            yield Databases(url)
    except ConfigError as error:
        require("postgres", f"CONSUMER_TEST_POSTGRES names none, and none can be started: {error}")


@pytest.fixture
async def database(postgres) -> AsyncIterator[str]:
    """The URL of an empty database of the test's own."""
    async with postgres.fresh() as url:
        yield url


@pytest.fixture(scope="session")
def own_postgres(require) -> None:
    """Skip, or fail, where PostgreSQL cannot be started here: for tests that kill it."""
    try:
        postgres_binaries()
    except ConfigError as error:
        require("postgres", f"no PostgreSQL can be started: {error}")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what uses a real PostgreSQL, so that `-m 'not postgres'` leaves it out."""
    for item in items:
        if {"postgres", "own_postgres"} & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.postgres)
