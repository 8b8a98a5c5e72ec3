"""The SQL ledger when its database refuses, is locked, is full or is gone."""

import asyncio
import sqlite3
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import event, text

from consumer.core.fact import FactName, Witness, new_fact
from consumer.core.projection import Entry, Evidence
from consumer.core.standing import State
from consumer.errors import LedgerUnavailable, UndecodableEvent
from consumer.ledger import Ledger
from consumer.ports import Plan, RequestFilter

T0 = datetime(2026, 10, 1, 12, tzinfo=UTC)


def _entry(number, *, request_id="r1", pad=""):
    fact = new_fact(
        FactName.QUEUED,
        Witness.STATUS,
        T0 + timedelta(seconds=number),
        request_id=request_id,
        detail={"position": number, "pad": pad},
    )
    return Entry(fact.id, (fact,))


def _refused_entry():
    evidence = Evidence("d", "r9", "u", "1", "ab", "k", "", "s", T0, "no hash", True, b"body")
    return replace(_entry(1, request_id="r9"), evidence=evidence)


async def _on_writer(ledger, *statements):
    async with ledger._writer._engine.connect() as connection:
        for statement in statements:
            await connection.exec_driver_sql(statement)


async def test_what_the_database_refuses_fails_alone(ledger):
    """Of a batch with a row that a constraint refuses, all others are kept whole."""
    entries = [_entry(n) for n in range(20)]
    entries.insert(7, _refused_entry())

    answers = await asyncio.gather(*map(ledger.record, entries), return_exceptions=True)

    refused = answers.pop(7)
    assert UndecodableEvent is type(refused)
    assert "entry: refused by the database (SQLITE_CONSTRAINT_CHECK)" == str(refused)
    assert [True] * 20 == [answer.is_new for answer in answers]
    assert 20 == len(await ledger.timeline("r1"))
    assert None is await ledger.request("r9")


async def test_planner_that_fails_hurts_its_own_request_only(path):
    """An error of the planner reaches the caller whose request it was about."""

    def plan(request, _now):
        if request.request_id == "bad":
            raise ZeroDivisionError
        return Plan()

    async with Ledger.open(path, plan=plan, clock=lambda: T0) as ledger:
        entries = [_entry(n, request_id=name) for n, name in enumerate(("r1", "bad", "r2"))]
        answers = await asyncio.gather(*map(ledger.record, entries), return_exceptions=True)

        assert [True, True] == [answers[0].is_new, answers[2].is_new]
        assert ZeroDivisionError is type(answers[1])
        assert None is await ledger.request("bad")


async def test_a_ledger_opens_and_is_read_while_another_process_writes(path, ledger):
    """Who only looks waits for no writer's lock."""
    await ledger.record(_entry(1))
    writer = sqlite3.connect(path, isolation_level=None)
    try:
        writer.execute("BEGIN IMMEDIATE")
        async with Ledger.open(path, plan=lambda _: Plan(), clock=lambda: T0) as looking:
            assert None is not await looking.request("r1")
    finally:
        writer.close()


async def test_locked_database_is_unavailable(path, ledger):
    """While another process writes for too long, recording is refused; reading goes on."""
    await ledger.record(_entry(1))
    await _on_writer(ledger, "PRAGMA busy_timeout = 20")
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")

    with pytest.raises(LedgerUnavailable, match="SQLITE_BUSY"):
        await ledger.record(_entry(2))

    assert 1 == len(await ledger.timeline("r1"))
    other.execute("COMMIT")
    other.close()
    assert (await ledger.record(_entry(2))).is_new


async def test_full_database_is_unavailable_and_keeps_what_it_has(ledger):
    """With no room left recording is refused, and what was acknowledged stays readable."""
    await ledger.record(_entry(1))
    async with ledger._writer._engine.connect() as connection:
        pages = (await connection.exec_driver_sql("PRAGMA page_count")).scalar_one()
        await connection.exec_driver_sql(f"PRAGMA max_page_count = {pages + 2}")

    with pytest.raises(LedgerUnavailable, match="SQLITE_FULL"):
        await ledger.record(_entry(2, pad="x" * 100_000))

    assert 1 == len(await ledger.timeline("r1"))
    await _on_writer(ledger, f"PRAGMA max_page_count = {pages + 1000}")
    assert (await ledger.record(_entry(2, pad="x" * 100_000))).is_new


async def test_closed_ledger_is_unavailable(path):
    """After it was closed every call is refused with an error of ours."""
    async with Ledger.open(path, plan=lambda *_: Plan(), clock=lambda: T0) as ledger:
        await ledger.ping()

    with pytest.raises(LedgerUnavailable, match="closed"):
        await ledger.record(_entry(1))


async def test_callers_in_hand_are_answered_when_it_closes(path):
    """Closing finishes what callers wait for."""
    async with Ledger.open(path, plan=lambda *_: Plan(), clock=lambda: T0) as ledger:
        tasks = [asyncio.ensure_future(ledger.record(_entry(n))) for n in range(300)]
        await asyncio.sleep(0)

    assert [True] * 300 == [answer.is_new for answer in await asyncio.gather(*tasks)]


async def test_caller_that_gives_up_does_not_stop_the_others(ledger):
    """A caller that is stopped while it waits leaves the writer and the others alone."""
    tasks = [asyncio.ensure_future(ledger.record(_entry(n))) for n in range(50)]
    await asyncio.sleep(0)
    for task in tasks[::2]:
        task.cancel()

    answers = await asyncio.gather(*tasks, return_exceptions=True)

    assert [True] * 25 == [answer.is_new for answer in answers[1::2]]
    assert (await ledger.record(_entry(99))).is_new


async def test_error_of_the_body_passes_unchanged(path):
    """What is raised inside the context comes out as it is, not as a group."""
    with pytest.raises(KeyError):
        async with Ledger.open(path, plan=lambda *_: Plan(), clock=lambda: T0):
            raise KeyError


async def test_ping_needs_a_database(path, ledger):
    """A database that was taken away does not answer."""
    await ledger.ping()
    await ledger._reading.dispose()
    path.rename(path.with_name("elsewhere"))

    with pytest.raises(LedgerUnavailable):
        await ledger.ping()


_NO_SCAN = {
    "open requests": RequestFilter(open_only=True),
    "by state": RequestFilter(states=[State.QUEUED]),
    "by endpoint": RequestFilter(endpoint="a/b"),
    "by submission": RequestFilter(submission_id="s1"),
    "all": RequestFilter(),
}


@pytest.fixture
async def plans(ledger):
    """The query plans of every SELECT that runs after this was asked for."""
    seen = []

    def explain(connection, cursor, statement, parameters, _context, _many):
        if statement.lstrip().startswith(("SELECT", "DELETE", "UPDATE")):
            explained = connection.connection.cursor()
            explained.execute(f"EXPLAIN QUERY PLAN {statement}", parameters)
            seen.extend(row[3] for row in explained.fetchall())
            explained.close()

    engines = (ledger._reading.sync_engine, ledger._writer._engine.sync_engine)
    for engine in engines:
        event.listen(engine, "before_cursor_execute", explain)
    yield seen
    for engine in engines:
        event.remove(engine, "before_cursor_execute", explain)


async def test_reads_find_their_index(ledger, plans):
    """No read of the hot paths walks a whole table or sorts it."""
    for wanted in _NO_SCAN.values():
        await ledger.requests(wanted)
    await ledger.timeline("r1")
    await ledger.evidence("r1")
    await ledger.result("r1")
    await ledger.take_due("check", limit=10, lease=timedelta(seconds=1))
    await ledger.take_parked("fetch", limit=10)
    await ledger.recount(["nobody"])

    scans = [step for step in plans if step.startswith("SCAN") and " INDEX " not in step]
    assert [] == scans


async def test_constraints_refuse_nonsense(ledger):
    """Rows that make no sense are refused by the database itself, whoever writes them."""
    claim = "INSERT INTO claims (kind, key, revision, fingerprint, detail, claimed_at,"
    claim += " deadline_at, is_published) VALUES "
    request = "INSERT INTO requests VALUES "
    digest = "printf('%064d', 1)"
    nonsense = [
        claim + "('submission', 'k', 1, 'f', x'7b7d', 0, 0, 1)",
        claim + "('other', 'k', 1, 'f', x'7b7d', 0, 0, 0)",
        request + "('r', '{}', 'weird', '', '', 0, 0, 0, 1, 1, 1, '', '', '', '', '', NULL)",
        request + "('r', '{}', 'seen', '', '', 0, 0, 0, 2, 1, 1, '', '', '', '', '', NULL)",
        "INSERT INTO schedules VALUES ('check', 'r', 0, 0, 0, 0, 0)",
        f"INSERT INTO deliveries VALUES ('d', 'r', 'u', '1', 's', 'k', '', 's', 0, {digest}, 1)",
    ]
    for statement in nonsense:
        with pytest.raises(UndecodableEvent):
            await ledger._write((), lambda connection, sql=statement: connection.execute(text(sql)))


async def test_file_taken_away_in_use_is_unavailable_until_it_is_back(path, ledger):
    """Nothing is written to a file without a name; put back, it is used again."""
    away = path.with_name("away")
    path.rename(away)

    with pytest.raises(LedgerUnavailable, match="put it back, or restart"):
        await ledger.record(_entry(1))
    with pytest.raises(LedgerUnavailable, match="put it back, or restart"):
        await ledger.ping()
    away.rename(path)

    assert (await ledger.record(_entry(1))).is_new


async def test_file_replaced_in_use_is_unavailable(path, ledger):
    """A copy put in place of an open ledger is not mistaken for it."""
    path.rename(path.with_name("away"))
    path.touch()

    with pytest.raises(LedgerUnavailable, match="taken away or replaced"):
        await ledger.record(_entry(1))
