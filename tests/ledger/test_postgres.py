"""The SQL ledger on PostgreSQL: refusals, other writers, sessions that stand still, outages."""

import asyncio
import random
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest
from sqlalchemy import text

from consumer.core.event import NewRecord, Topic
from consumer.core.fact import FactName, Witness, new_fact
from consumer.core.projection import Entry, Evidence
from consumer.devservers import open_postgres
from consumer.errors import ConfigError, LedgerUnavailable, UndecodableEvent
from consumer.ledger import Ledger
from consumer.ledger import postgres as engine
from consumer.ledger.migration import migrate
from consumer.ports import Claim, ClaimKind, Plan
from tests.ledger_databases import migrated

T0 = datetime(2026, 10, 1, 12, tzinfo=UTC)
LEASE = timedelta(seconds=30)
SECRET = "hunter2-hunter2"
_WAITING = "SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype = 'transactionid'"


def _entry(number, *, request_id="r1", pad=""):
    fact = new_fact(
        FactName.QUEUED,
        Witness.STATUS,
        T0 + timedelta(seconds=number),
        request_id=request_id,
        detail={"position": number, "pad": pad},
    )
    return Entry(fact.id, (fact,))


@asynccontextmanager
async def opened(url, *, plan=lambda *_: Plan()):
    async with Ledger.open(url, plan=plan, clock=lambda: T0) as ledger:
        yield ledger


@pytest.fixture
async def url(postgres):
    async with migrated(postgres) as fresh:
        yield fresh


@pytest.fixture
async def ledger(url):
    async with opened(url) as one:
        yield one


@pytest.fixture
async def session(url):
    """A session beside the ledger's, as an operator or another worker may have one."""
    connection = await asyncpg.connect(url)
    yield connection
    await connection.close()


# ---------------------------------------------------------------- refusals

_BODY = Evidence("d", "r9", "u", "1", "ab", "k", "", "s", T0, "no hash", True, b"body")


@pytest.mark.parametrize(
    "refused, code",
    [
        (replace(_entry(1, request_id="r9"), evidence=_BODY), "23514"),
        (_entry(1, request_id=random.Random(1).randbytes(4000).hex()), "54000"),
    ],
    ids=["a constraint", "an index entry that is too large"],
)
async def test_what_the_database_refuses_fails_alone(ledger, refused, code):
    """Of a batch with a row that is never taken, all others are kept whole."""
    entries = [_entry(n) for n in range(20)]
    entries.insert(7, refused)

    answers = await asyncio.gather(*map(ledger.record, entries), return_exceptions=True)

    error = answers.pop(7)
    assert UndecodableEvent is type(error)
    assert f"entry: refused by the database ({code})" == str(error)
    assert [True] * 20 == [answer.is_new for answer in answers]
    assert 20 == len(await ledger.timeline("r1"))
    assert None is await ledger.request("r9")


async def test_text_that_slipped_past_the_escape_is_refused_and_not_tried_for_ever(ledger):
    """NUL in a text is the entry's fault, by the database's own word."""
    with pytest.raises(UndecodableEvent, match="22021"):
        await ledger._write((), lambda c: c.execute(text("SELECT CAST(:x AS text)"), {"x": "\0"}))


async def test_numbers_out_of_range_are_refused(ledger):
    """What no column holds is the entry's fault, by the driver's word."""
    question = text("SELECT CAST(:x AS bigint)")
    with pytest.raises(UndecodableEvent):
        await ledger._write((), lambda c: c.execute(question, {"x": 2**70}))


# ---------------------------------------------------------------- sessions


@pytest.mark.parametrize("name", ["_reading", "_writing"])
async def test_sessions_are_told_what_the_promises_need(ledger, name):
    """Whatever the server's defaults are, a commit is durable and no wait is endless."""
    wanted = {
        "synchronous_commit": "on",
        "statement_timeout": "30s",
        "idle_in_transaction_session_timeout": "10s",
        "TimeZone": "UTC",
        "transaction_isolation": {"_reading": "repeatable read", "_writing": "read committed"}[
            name
        ],
        "transaction_read_only": {"_reading": "on", "_writing": "off"}[name],
    }
    on = ledger._reading if name == "_reading" else ledger._writer._engine
    async with on.begin() as connection:
        found = {
            setting: (await connection.exec_driver_sql(f"SHOW {setting}")).scalar_one()
            for setting in wanted
        }
    assert wanted == found


async def test_texts_are_ordered_by_bytes_whatever_the_database_sorts_by(session):
    """Every text column names its collation, so that pages and joins are those of SQLite."""
    rows = await session.fetch(
        "SELECT table_name, column_name, collation_name FROM information_schema.columns"
        " WHERE table_schema = 'public' AND data_type = 'text' AND table_name <> 'alembic_version'"
    )

    assert len(rows) > 40
    assert [] == [tuple(row) for row in rows if row["collation_name"] != "C"]


async def test_a_writer_that_stands_still_loses_its_session_and_not_the_others_theirs(
    url, monkeypatch
):
    """A worker stopped in the middle of a transaction holds everybody up for seconds, not more."""
    monkeypatch.setitem(engine._SESSION, "idle_in_transaction_session_timeout", "300ms")
    async with opened(url) as frozen, opened(url) as other:
        asleep = await frozen._writer._engine.connect()
        await asleep.exec_driver_sql("SELECT pg_advisory_xact_lock(6709612, hashtext('public'))")
        async with asyncio.timeout(10):
            assert (await other.record(_entry(1))).is_new
        with pytest.raises(Exception, match=r"terminat|closed"):
            await asleep.exec_driver_sql("SELECT 1")
        await asleep.invalidate()
        await asleep.close()

        assert (await frozen.record(_entry(2))).is_new


# ---------------------------------------------------------------- several at once


async def test_two_processes_forget_none_of_each_others_facts(url):
    """Facts about one request, recorded by two at once, are all joined."""
    async with opened(url) as one, opened(url) as other:
        await asyncio.gather(
            *((one if n % 2 else other).record(_entry(n)) for n in range(200)),
            *((one, other)[n % 2].record(_entry(n, request_id="r2")) for n in range(50)),
        )
        request = await one.request("r1")

    assert (T0, T0 + timedelta(seconds=199)) == (request.first_at, request.last_at)


async def test_rows_in_another_hand_are_passed_over(url, session):
    """Who takes due rows waits for nobody: those that another transaction holds are left."""
    async with opened(url, plan=lambda _request, now: Plan(check_at=now)) as ledger:
        for number in range(4):
            await ledger.record(_entry(number, request_id=f"r{number}"))
        held = session.transaction()
        await held.start()
        await session.execute("SELECT * FROM schedules WHERE subject < 'r2' FOR UPDATE")

        taken = await ledger.take_due("check", limit=10, lease=LEASE)
        await held.rollback()
        rest = await ledger.take_due("check", limit=10, lease=LEASE)

    assert ["r2", "r3"] == [due.subject for due in taken]
    assert ["r0", "r1"] == [due.subject for due in rest]


async def test_claims_are_unique_among_processes(url):
    """Many who claim one effect at once find one claim, the same for all."""

    def claim(number):
        kind = ClaimKind.SUBMISSION
        return Claim(kind, "s1", 1, f"by {number}", {}, T0, T0 + timedelta(minutes=1))

    async with AsyncExitStack() as stack:
        ledgers = [await stack.enter_async_context(opened(url)) for _ in range(4)]
        found = await asyncio.gather(
            *(ledger.claim(claim(n)) for n, ledger in enumerate(ledgers * 5))
        )
        event = NewRecord(Topic.RESULTS, "k", b"v", ())
        await asyncio.gather(*(ledger.settle_claim(found[0], event, {}) for ledger in ledgers))

    assert 1 == len({one.fingerprint for one in found})


async def test_a_transaction_that_was_in_anothers_way_runs_again(url, session):
    """Of two that wait for each other the database ends one; ours is repeated, and succeeds."""
    # Each looks for a deadlock once, when it has waited so long: by then both must wait.
    name = await session.fetchval("SELECT current_database()")
    await session.execute(f"ALTER DATABASE {name} SET deadlock_timeout = '1s'")
    await session.execute("SET deadlock_timeout = '60s'")
    async with opened(url, plan=lambda _request, now: Plan(check_at=now)) as ledger:
        for number in range(2):
            await ledger.record(_entry(number, request_id=f"r{number}"))
        first, second = await ledger.take_due("check", limit=10, lease=LEASE)
        held = session.transaction()
        await held.start()
        await session.execute("SELECT 1 FROM schedules WHERE subject = 'r1' FOR UPDATE")
        done = asyncio.gather(ledger.finish(first), ledger.finish(second))
        await asyncio.sleep(0)
        while not await session.fetchval(_WAITING):  # noqa: ASYNC110  the server knows
            await asyncio.sleep(0)
        await session.execute("SELECT 1 FROM schedules WHERE subject = 'r0' FOR UPDATE")
        await held.rollback()

        assert [True, True] == await done


# ---------------------------------------------------------------- away


async def _refused(ledger):
    """Return once a call is refused: sessions of a server that was killed outlive it a moment."""
    try:
        while True:
            await ledger.ping()
    except LedgerUnavailable:
        return


@pytest.mark.usefixtures("own_postgres")
async def test_an_outage_is_unavailable_and_over_when_the_server_is_back():
    """Stopped or killed, every call is refused; back, the same ledger goes on with all it had."""
    async with open_postgres(is_durable=False) as server:
        await migrate(server.url())
        async with opened(server.url()) as ledger:
            await ledger.record(_entry(1))
            for number, end in enumerate((server.stop, server.kill), start=2):
                await end()
                await _refused(ledger)
                for call in (ledger.record(_entry(number)), ledger.request("r1"), ledger.ping()):
                    with pytest.raises(LedgerUnavailable):
                        await call
                await server.come_back()

                await ledger.ping()
                assert number - 1 == len(await ledger.timeline("r1"))
                assert (await ledger.record(_entry(number))).is_new
        await server.stop()

        with pytest.raises(LedgerUnavailable):
            async with opened(server.url()):
                pass


@pytest.mark.usefixtures("own_postgres")
async def test_callers_in_an_outage_lose_nothing_that_was_acknowledged():
    """While the server is killed under load each caller knows, or is refused and tries again."""
    async with open_postgres(is_durable=False) as server:
        await migrate(server.url())
        async with opened(server.url()) as ledger:

            async def insist(number):
                while True:
                    try:
                        return await ledger.record(_entry(number))
                    except LedgerUnavailable:
                        await asyncio.sleep(0.01)

            calls = [asyncio.create_task(insist(n)) for n in range(600)]
            await calls[50]
            await server.kill()
            await server.come_back()
            await asyncio.gather(*calls)

            assert 600 == len(await ledger.timeline("r1"))


@pytest.mark.parametrize(
    "query, error",
    [("?sslmode=nonsense", ConfigError), ("?host=/nowhere", LedgerUnavailable)],
)
async def test_a_url_that_leads_nowhere_says_so_without_its_password(query, error):
    """What was wrong is said; user, password and query are not."""
    with pytest.raises(error) as refused:
        async with opened(f"postgresql://me:{SECRET}@/fal{query}"):
            pass

    said = f"{refused.value} {refused.value!r} {refused.value.__cause__!r}"
    assert SECRET not in said


async def test_a_missing_database_is_named_as_such(postgres):
    """An operator reads what is missing, with the code to look up."""
    with pytest.raises(LedgerUnavailable, match="there is no such database, 3D000"):
        async with opened(postgres.url_of("no_such")):
            pass
