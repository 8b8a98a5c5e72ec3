"""Months on PostgreSQL: rows rest where their time belongs, and an old month goes whole."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest
from sqlalchemy import insert, inspect

from consumer.core.event import event_id
from consumer.core.fact import Fact, FactName, Witness
from consumer.core.projection import Entry, Evidence, ResultEntry
from consumer.core.standing import Published
from consumer.ledger import Ledger
from consumer.ledger.engine import ledger_url, open_engine
from consumer.ledger.migration import _upgrade, migrate
from consumer.ledger.tables import metadata
from consumer.ports import Plan
from tests.conformance.ledger.stage import ManualClock, held, trimmed
from tests.ledger_databases import migrated, turn_the_clock
from tests.ledger_rows import all_rows_of

JUNE, JULY, AUGUST = (datetime(2026, month, 15, tzinfo=UTC) for month in (6, 7, 8))
YEAR_9999 = datetime(9999, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)


def ended(name, at, *, body=b"body", has_result=True):
    """Return a completion with its evidence, and the result that closes its request."""
    fact = Fact(FactName.SUCCEEDED, Witness.WEBHOOK, at, f"f{name}", name, "", {}, True, "u")
    evidence = Evidence(
        event_id("delivery", name, at.isoformat()), name, "u", "1", "ab", "key", "kid", "src", at,
        event_id(body)[:24].ljust(64, "0"), True, body,
    )  # fmt: skip
    published = Published(revision=1, outcome="succeeded", witness="webhook")
    result = ResultEntry(f"e{name}", name, "", published, at, b"{}") if has_result else None
    return Entry(f"e{name}", (fact,), evidence, result)


@pytest.fixture
async def url(postgres):
    async with migrated(postgres) as fresh:
        yield fresh


@pytest.fixture
async def clock():
    return ManualClock(AUGUST)


@pytest.fixture
async def ledger(url, clock):
    async with Ledger.open(url, plan=lambda *_: Plan(), clock=clock) as opened:
        turn_the_clock(opened, clock)
        yield opened


async def partitions(url) -> dict[str, int]:
    """Return how many rows each partition holds that there is."""
    connection = await asyncpg.connect(url)
    names = await connection.fetch(
        "SELECT child.relname FROM pg_inherits JOIN pg_class child ON child.oid = inhrelid"
        " JOIN pg_class parent ON parent.oid = inhparent WHERE parent.relkind = 'p'"
    )
    found = {
        name: await connection.fetchval(f"SELECT count(*) FROM {name}")
        for (name,) in sorted(map(tuple, names))
    }
    await connection.close()
    return found


async def test_rows_rest_in_their_month(ledger, url):
    """A month's partition is made with its first row; times of wrong clocks rest aside."""
    for name, at in (("a", JUNE), ("b", JULY), ("c", JULY + DAY), ("d", YEAR_9999)):
        await ledger.record(ended(name, at, body=name.encode()))

    months = {"y2026m06": 1, "y2026m07": 2, "default": 1}
    tables = ("deliveries", "evidence_bodies", "facts")
    expected = {f"{table}_{month}": rows for table in tables for month, rows in months.items()}
    assert expected == await partitions(url)


async def test_an_old_month_goes_whole_and_an_open_request_keeps_what_is_its_own(
    ledger, url, clock
):
    """Of two months one holds an open request: the other goes, of this one all the rest."""
    for n in range(5):
        await ledger.record(ended(f"june{n}", JUNE, body=b"%d" % n))
        await ledger.record(ended(f"july{n}", JULY, body=b"1%d" % n))
    await ledger.record(ended("open", JULY, body=b"open", has_result=False))
    clock.advance(400 * DAY)

    await trimmed(ledger, 90 * DAY)

    left = await partitions(url)
    assert not [name for name in left if name.endswith("m06")]
    assert {1} == {rows for name, rows in left.items() if name.endswith("m07")}
    assert (1, 1) == await held(ledger, "open")
    assert (0, 0) == await held(ledger, "july1")
    assert (await ledger.request("june1")).result is not None


async def test_a_body_is_kept_once_and_for_its_last_delivery(ledger, url, clock):
    """A retry of the next month shares the bytes, which stay while it does."""
    first = ended("r", JULY - 20 * DAY)
    await ledger.record(first)
    again = ended("r", JULY)
    await ledger.record(replace(again, facts=first.facts, result=None))
    assert (1, 2) == await held(ledger, "r")
    assert [b"body"] * 2 == [one.body for one in await ledger.evidence("r")]
    clock.advance(timedelta(days=1))

    await trimmed(ledger, (clock.now - JULY) + 10 * DAY)
    assert (0, 1) == await held(ledger, "r")
    assert [b"body"] == [one.body for one in await ledger.evidence("r")]
    clock.advance(400 * DAY)
    await trimmed(ledger, 90 * DAY)

    assert (0, 0) == await held(ledger, "r")
    assert {0} == {0, *(await partitions(url)).values()}


async def test_a_month_that_comes_back_after_it_went_is_kept_too(ledger, clock):
    """A record that was held up for months is recorded, though its month was removed."""
    await ledger.record(ended("a", JUNE))
    clock.advance(400 * DAY)
    await trimmed(ledger, 90 * DAY)

    await ledger.record(ended("late", JUNE + DAY))

    assert (1, 1) == await held(ledger, "late")


def _columns(connection):
    """Return the columns of each table that stands, by its name."""
    found = inspect(connection)
    return {
        name: {column["name"] for column in found.get_columns(name)}
        for name in found.get_table_names()
    }


async def test_a_ledger_without_partitions_is_migrated_with_its_rows(database, tmp_path):
    """What stood in whole tables stands in partitioned ones afterwards, row by row."""
    path = tmp_path / "ledger.sqlite"
    await migrate(path)
    async with Ledger.open(path, plan=lambda *_: Plan(), clock=lambda: AUGUST) as ledger:
        for name in "abc":
            await ledger.record(ended(name, JUNE, body=name.encode()))
    rows = await all_rows_of(path)
    engine = open_engine(ledger_url(database), connections=1)
    async with engine.begin() as connection:
        await connection.run_sync(_upgrade, "v0.1.0_1")
        stood = await connection.run_sync(_columns)
        for table in metadata.sorted_tables:
            names = [column.name for column in table.columns]
            values = [
                {name: value for name, value in zip(names, row, strict=True) if name in known}
                for row in rows.get(table.name, ())
                if (known := stood.get(table.name))
            ]
            if values:
                await connection.execute(insert(table), values)
    await engine.dispose()

    assert "v0.1.0_1" == await migrate(database)

    assert rows == await all_rows_of(database)
    async with Ledger.open(database, plan=lambda *_: Plan(), clock=lambda: AUGUST) as ledger:
        await ledger.record(ended("d", JUNE))
        assert (1, 1) == await held(ledger, "d")
        assert (1, 1) == await held(ledger, "a")
