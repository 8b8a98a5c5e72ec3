"""A new ledger beside the one in use: put in its place whole, or not at all."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from consumer.core.fact import FactName, Witness, new_fact
from consumer.core.projection import Entry
from consumer.errors import ConfigError
from consumer.ledger import Ledger
from consumer.ledger.migration import migrate
from consumer.ledger.rebuilding import open_rebuild
from consumer.ports import Plan
from tests.ledger_databases import migrated
from tests.ledger_rows import all_rows_of

T0 = datetime(2026, 10, 1, 12, tzinfo=UTC)


def _entry(number):
    fact = new_fact(
        FactName.QUEUED,
        Witness.STATUS,
        T0 + timedelta(seconds=number),
        request_id=f"r{number}",
        detail={"position": number},
    )
    return Entry(fact.id, (fact,))


def _plan(_request, now):
    return Plan(check_at=now)


def _opened(place):
    return Ledger.open(place, plan=_plan, clock=lambda: T0)


def _rebuild(place):
    return open_rebuild(place, plan=_plan, clock=lambda: T0)


async def _nothing():
    pass


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
async def place(request, tmp_path):
    if request.param == "sqlite":
        await migrate(tmp_path / "ledger.sqlite")
        yield tmp_path / "ledger.sqlite"
        return
    async with migrated(request.getfixturevalue("postgres")) as url:
        yield url


async def test_what_is_cut_before_the_swap_changes_nothing(place):
    """A rebuild that fails leaves the ledger as it was, and nothing beside it."""
    async with _opened(place) as ledger:
        await ledger.record(_entry(1))
    before = await all_rows_of(place)

    async with _rebuild(place) as rebuild:
        await rebuild.ledger.record(_entry(2))
        with pytest.raises(ZeroDivisionError):
            await rebuild.swap(lambda: 1 / 0)

    assert before == await all_rows_of(place)
    async with _rebuild(place) as rebuild:  # another one is not in its own way
        assert None is await rebuild.ledger.request("r2")


async def test_the_old_file_is_kept_beside(tmp_path):
    """On SQLite what was replaced can still be looked at."""
    path = tmp_path / "ledger.sqlite"
    await migrate(path)
    async with _opened(path) as ledger:
        await ledger.record(_entry(1))
    before = await all_rows_of(path)

    async with _rebuild(path) as rebuild:
        await rebuild.ledger.record(_entry(2))
        await rebuild.swap(_nothing)

    assert before == await all_rows_of(path.with_name("ledger.sqlite.before-rebuild"))
    assert ["r2"] == [row[0] for row in (await all_rows_of(path))["requests"]]
    names = {found.name for found in tmp_path.iterdir()}
    assert not {name for name in names if "rebuild" in name} - {"ledger.sqlite.before-rebuild"}


async def test_workers_go_on_over_a_swap(postgres):
    """On PostgreSQL who records meanwhile waits for the swap, and records into the new tables."""
    async with migrated(postgres) as url, _opened(url) as worker:
        for number in range(3):
            await worker.record(_entry(number))
        schedules = (await all_rows_of(url))["schedules"]
        async with _rebuild(url) as rebuild:
            for number in range(3):
                await rebuild.ledger.record(_entry(number))

            async def catch_up():
                nonlocal recording
                recording = asyncio.create_task(worker.record(_entry(9)))
                done, _ = await asyncio.wait([recording], timeout=0.2)
                assert not done

            recording = None
            await rebuild.swap(catch_up)
            assert (await recording).is_new

        assert {"r0", "r1", "r2", "r9"} == {row[0] for row in (await all_rows_of(url))["requests"]}
        assert schedules == [r for r in (await all_rows_of(url))["schedules"] if r[1] != "r9"]
        assert 1 == len(await worker.timeline("r1"))


async def test_two_do_not_rebuild_at_once(postgres):
    """On PostgreSQL the second is told that there is a first."""
    async with migrated(postgres) as url, _rebuild(url):
        with pytest.raises(ConfigError, match="is being rebuilt already"):
            async with _rebuild(url):
                pass
