"""The conformance suite of the ledger: in memory, on SQLite and on PostgreSQL."""

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consumer.core.fact import FactName, Witness
from consumer.ledger import Ledger
from consumer.ledger.migration import migrate
from consumer.testing.ledger import MemoryLedger
from tests.conformance import ledger as suite
from tests.ledger_databases import migrated, turn_the_clock
from tests.postgres_fixtures import Databases

_MIGRATED: list[bytes] = []


async def _migrated(folder: Path) -> Path:
    """Return an empty ledger's file; after the first one it is a copy of that."""
    path = folder / "ledger.sqlite"
    if _MIGRATED:
        path.write_bytes(_MIGRATED[0])
    else:
        await migrate(path)
        _MIGRATED.append(path.read_bytes())
    return path


@asynccontextmanager
async def memory(_folder: Path) -> AsyncIterator[suite.Stage]:
    clock = suite.ManualClock()
    ledger = MemoryLedger(plan=suite.plan, clock=clock)

    async def reopen():
        return MemoryLedger(plan=suite.plan, clock=clock, rows=ledger.rows)

    yield suite.Stage(ledger, clock, reopen)


@asynccontextmanager
async def sqlite(folder: Path) -> AsyncIterator[suite.Stage]:
    clock = suite.ManualClock()
    path = await _migrated(folder)
    async with AsyncExitStack() as stack:

        async def reopen():
            await stack.aclose()
            opened = Ledger.open(path, plan=suite.plan, clock=clock)
            return await stack.enter_async_context(opened)

        yield suite.Stage(await reopen(), clock, reopen)


@asynccontextmanager
async def on_postgres(databases: Databases) -> AsyncIterator[suite.Stage]:
    clock = suite.ManualClock()
    async with migrated(databases) as url, AsyncExitStack() as stack:

        async def reopen():
            await stack.aclose()
            opened = Ledger.open(url, plan=suite.plan, clock=clock)
            ledger = await stack.enter_async_context(opened)
            turn_the_clock(ledger, clock)
            return ledger

        yield suite.Stage(await reopen(), clock, reopen, url)


@pytest.mark.parametrize("backend", [memory, sqlite])
@pytest.mark.parametrize("promise", suite.SUITE)
async def test_ledger(backend, promise, tmp_path):
    """Every promise holds on every backend."""
    async with backend(tmp_path) as stage:
        await promise(stage)


@pytest.mark.parametrize("promise", suite.SUITE)
async def test_ledger_on_postgresql(promise, postgres):
    """Every promise holds on PostgreSQL."""
    async with on_postgres(postgres) as stage:
        await promise(stage)


# ---------------------------------------------------------------- any order

_NAMES = [name for name in FactName if name is not FactName.KEY_SET_FETCHED]
_seconds = st.integers(0, 3).map(lambda n: suite.T0 + n * suite.SECOND)
_requests = st.sampled_from([suite.R1, suite.R2])
_submissions = st.sampled_from(["", "s1", "s2"])
_told = st.builds(
    suite.told,
    st.sampled_from(_NAMES),
    st.sampled_from([Witness.SUBMIT, Witness.TOKEN, Witness.COMMAND, Witness.STATUS]),
    at=_seconds,
    request_id=_requests,
    submission_id=_submissions,
    position=st.integers(0, 3),
    endpoint=st.sampled_from(["", "a/b", "c/d"]),
    reason=st.sampled_from(["x", "y"]),
    finish_by=st.sampled_from(["", "2026-10-01T12:00:09Z"]),
)
_webhooks = st.builds(
    suite.webhook,
    _requests,
    at=_seconds,
    name=st.sampled_from([FactName.SUCCEEDED, FactName.FAILED, FactName.UNREADABLE]),
    account=st.sampled_from(["ours", "later"]),
    counts=st.booleans(),
)
_results = st.builds(
    suite.resulted,
    st.sampled_from([suite.R1, ""]),
    submission_id=st.just("s1"),
    revision=st.integers(1, 3),
    outcome=st.sampled_from(["lost", "succeeded"]),
    at=_seconds,
)


def _once(entries):
    """Keep one content per id: equal ids are equal events, but for what does not count yet."""
    first = {}
    kept = []
    for entry in entries:
        held = first.setdefault(entry.event_id, entry)
        same_but_for_counts = entry.evidence is not None and held.facts[0].at == entry.facts[0].at
        if held is entry or same_but_for_counts:
            kept.append(entry)
    return kept


@st.composite
def _two_orders(draw):
    entries = _once(draw(st.lists(st.one_of(_told, _webhooks, _results), max_size=12)))
    return entries, draw(st.permutations(entries + entries[:3]))


async def _rows_after(backend, folder: Path, entries, *, at_once: bool):
    async with backend(folder) as stage:
        if at_once:
            await asyncio.gather(*(stage.ledger.record(entry) for entry in entries))
        else:
            for entry in entries:
                await stage.ledger.record(entry)
        await stage.ledger.recount(["nobody"])
        return await suite.rows(stage.ledger)


@given(_two_orders())
@settings(max_examples=30, deadline=None)
def test_any_order_ends_in_equal_rows(orders):
    """Entries in any order, repeated, one by one or at once, in memory or on disk, end alike."""

    async def check():
        with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
            expected = await _rows_after(memory, Path(one), orders[0], at_once=False)
            one_by_one = await _rows_after(sqlite, Path(one), orders[1], at_once=False)
            at_once = await _rows_after(sqlite, Path(other), orders[1], at_once=True)
        assert expected == one_by_one
        assert expected == at_once

    asyncio.run(check())


@given(_two_orders())
@settings(max_examples=10, deadline=None)
def test_any_order_ends_in_equal_rows_on_postgresql(postgres, orders):
    """So it is on PostgreSQL, by two processes at once."""

    async def check():
        with tempfile.TemporaryDirectory() as folder:
            expected = await _rows_after(memory, Path(folder), orders[0], at_once=False)
        async with on_postgres(postgres) as one:
            opened = Ledger.open(one.url, plan=suite.plan, clock=one.clock)
            async with opened as other:
                turn_the_clock(other, one.clock)
                entries = enumerate(orders[1])
                ledgers = (one.ledger, other)
                await asyncio.gather(*(ledgers[n % 2].record(entry) for n, entry in entries))
            assert expected == await suite.rows(one.ledger)

    asyncio.run(check())
