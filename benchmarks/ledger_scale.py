"""
A ledger with millions of requests: how long reads, claims and writes take, on both databases.

    python benchmarks/ledger_scale.py [--requests 100000] [--reads 1000] [--facts 50000]
        [--database sqlite --database postgresql]

Loads the requests in bulk, four facts each, bodies left out, one in a hundred open and due.
Prints percentiles of random reads, warm, and the plans of what ran. PostgreSQL is the one that
CONSUMER_TEST_POSTGRES names (an empty database of its own is made there), else one from a wheel
that waits for its disk.
"""

import argparse
import asyncio
import os
import random
import sqlite3
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, closing
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit, urlunsplit

import asyncpg
from sqlalchemy import event

from consumer.core.event import event_id
from consumer.core.fact import Fact, FactName, Witness
from consumer.core.lifecycle import join_request, join_result
from consumer.core.projection import Entry
from consumer.core.standing import Published, Request, State
from consumer.devservers import open_postgres
from consumer.ledger import Ledger
from consumer.ledger.engine import ledger_url, open_engine
from consumer.ledger.migration import migrate
from consumer.ledger.partitions import ensure_partitions
from consumer.ledger.rows import fact_row, micros, request_row
from consumer.ledger.tables import facts, requests, schedules
from consumer.ports import Plan, RequestFilter

ENDPOINTS = ("fal-ai/flux/dev", "fal-ai/flux-2", "fal-ai/kling-video/v2/master")
OPEN_EVERY = 100
FAILED_EVERY = 50
APART = timedelta(seconds=2)
CHUNK = 5_000
DUE_AT_ONCE = 100
CALLERS = 512
NOW = datetime.now(UTC).replace(microsecond=0)
_NAME = "00000000-0000-7000-8000-00000000000t"
_AT = datetime(2001, 1, 1, tzinfo=UTC)
# What stands in a template for a name and a time.

Row = dict[str, Any]


class Load(NamedTuple):
    """How much is loaded and asked."""

    requests: int
    reads: int
    facts: int


def request_id_of(number: int) -> str:
    """Return the id of the nth request."""
    return f"019f7085-0000-7000-8000-{number:012d}"


class Template(NamedTuple):
    """The rows of one kind of request, in which name and times are put for each."""

    request: Row
    facts: Sequence[Row]
    times: Sequence[timedelta]


@cache
def template_of(endpoint: str, end: FactName | None) -> Template:
    """Return what the product's own joins make of such a request."""
    detail = {"endpoint": endpoint, "has_callback": True}
    told = [
        _fact(FactName.TRACKED, Witness.TOKEN, _AT, _NAME, detail),
        _fact(FactName.QUEUED, Witness.STATUS, _AT + timedelta(seconds=1), _NAME, {"position": 3}),
        _fact(FactName.RUNNING, Witness.STATUS, _AT + timedelta(seconds=5), _NAME, {}),
    ]
    if end is not None:
        told.append(_fact(end, Witness.WEBHOOK, _AT + timedelta(seconds=9), _NAME, {}))
    held: Request | None = None
    for fact in told:
        held = join_request(held, fact)
    assert held is not None
    if end is not None:
        published = Published(revision=1, outcome=end.value, witness="webhook")
        held = join_result(held, published, told[-1].at)
    rows = [fact_row(fact.id, fact, _json(fact)) for fact in told]
    return Template(request_row(held), rows, [fact.at - _AT for fact in told])


def rows_of(number: int, load: Load) -> tuple[Row, list[Row], Row | None]:
    """Return the rows of one request: its own, its facts, its schedule if it is open."""
    name, endpoint = request_id_of(number), ENDPOINTS[number % len(ENDPOINTS)]
    began = NOW - APART * (load.requests - number)
    is_open, has_failed = number % OPEN_EVERY == 0, number % FAILED_EVERY == 1
    end = FactName.FAILED if has_failed else FactName.SUCCEEDED
    made = template_of(endpoint, None if is_open else end)
    standing = made.request["standing"].replace(_NAME, name)
    for span in made.times:
        standing = standing.replace(_shown(_AT + span), _shown(began + span))
    first = micros(began)
    request = {
        **made.request,
        "request_id": name,
        "standing": standing,
        "first_at": first,
        "last_at": first + made.request["last_at"] - made.request["first_at"],
    }
    told = []
    for row in made.facts:
        identity = event_id(name, row["name"])
        moved = first + row["at"] - made.request["first_at"]
        more = {"id": identity, "event_id": identity, "request_id": name, "at": moved}
        told.append({**row, **more})
    return request, told, _schedule(number, name) if is_open else None


def _fact(name: FactName, witness: Witness, at: datetime, request_id: str, detail: Row) -> Fact:
    is_signed = witness is Witness.WEBHOOK
    return Fact(
        name, witness, at, event_id(request_id, name.value), request_id, "", detail, is_signed, "u"
    )


def _shown(at: datetime) -> str:
    """Return a whole second as the standing of a request shows it."""
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")


def _json(fact: Fact) -> str:
    words = (f'"{key}":{_word(value)}' for key, value in fact.detail.items())
    return "{" + ",".join(words) + "}"


def _word(value: object) -> str:
    return str(value).lower() if isinstance(value, (bool, int)) else f'"{value}"'


def _schedule(number: int, name: str) -> Row:
    due = micros(NOW - timedelta(hours=1)) + number * 100
    names = ("schedule", "subject", "planned_at", "due_at", "attempt", "lease_until", "fence")
    return dict(zip(names, ("check", name, due, due, 1, 0, due), strict=True))


def chunks_of(load: Load) -> Iterator[dict[Any, list[Row]]]:
    """Give the rows of all requests, by table, so many at once."""
    for start in range(0, load.requests, CHUNK):
        made = [rows_of(n, load) for n in range(start, min(start + CHUNK, load.requests))]
        yield {
            requests: [request for request, _, _ in made],
            facts: [row for _, told, _ in made for row in told],
            schedules: [row for _, _, row in made if row],
        }


# ---------------------------------------------------------------- loading


def load_sqlite(path: Path, load: Load) -> None:
    """Load without waiting for the disk; what is measured afterwards does wait."""
    with closing(sqlite3.connect(path, isolation_level=None)) as file:
        file.execute("PRAGMA synchronous = OFF")
        for chunk in chunks_of(load):
            file.execute("BEGIN")
            for table, rows in chunk.items():
                names = [column.name for column in table.columns]
                marks = ", ".join("?" * len(names))
                values = [[row[name] for name in names] for row in rows]
                columns = ", ".join(f'"{name}"' for name in names)
                file.executemany(f"INSERT INTO {table.name} ({columns}) VALUES ({marks})", values)
            file.execute("COMMIT")
        file.execute("PRAGMA wal_checkpoint(TRUNCATE)")


async def load_postgres(url: str, load: Load) -> None:
    """Load by COPY, then let the server gather its statistics."""
    engine = open_engine(ledger_url(url), connections=1)
    first = micros(NOW - APART * load.requests)
    instants = [*range(first, micros(NOW), 86_400_000_000), micros(NOW)]
    async with engine.begin() as connection:
        await connection.run_sync(ensure_partitions, {"facts": instants}, NOW)
    await engine.dispose()
    connection = await asyncpg.connect(url)
    for chunk in chunks_of(load):
        for table, rows in chunk.items():
            names = [column.name for column in table.columns]
            records = [tuple(row[name] for name in names) for row in rows]
            await connection.copy_records_to_table(table.name, records=records, columns=names)
    await connection.execute("VACUUM ANALYZE", timeout=3600)
    await connection.close()


# ---------------------------------------------------------------- measuring


async def timed(count: int, call: Callable[[], Awaitable[Any]]) -> list[float]:
    """Return how long each call took, in milliseconds, after a tenth as many to warm up."""
    waits = []
    for number in range(-(count // 10), count):
        began = time.perf_counter()
        await call()
        if number >= 0:
            waits.append((time.perf_counter() - began) * 1e3)
    return sorted(waits)


def told(name: str, waits: list[float], goal: str) -> None:
    """Print percentiles."""
    p50, p99 = waits[len(waits) // 2], waits[len(waits) * 99 // 100]
    print(f"| {name} | {len(waits)} | {p50:.2f} | {p99:.2f} | {waits[-1]:.2f} | {goal} |")


async def measure(ledger: Ledger, load: Load) -> None:
    """Ask and write, and print what it took."""
    chance = random.Random(7)
    filters = [
        RequestFilter(limit=50),
        RequestFilter(limit=50, open_only=True),
        RequestFilter(limit=50, endpoint=ENDPOINTS[0], states=(State.FAILED,)),
        RequestFilter(limit=50, endpoint=ENDPOINTS[1], states=(State.FAILED, State.LOST)),
        RequestFilter(limit=50, states=(State.FAILED, State.CANCELLED)),
        RequestFilter(limit=50, states=(State.SUCCEEDED,), open_only=True),
        RequestFilter(limit=50, states=(State.LOST,), endpoint=ENDPOINTS[2]),
    ]
    print("| what | times | median ms | p99 ms | longest ms | goal, p99 |")
    print("| --- | --- | --- | --- | --- | --- |")
    reads = await timed(
        load.reads, lambda: ledger.timeline(request_id_of(chance.randrange(load.requests)))
    )
    told("timeline of a random request", reads, "10 ms")
    listed = await timed(load.reads, lambda: ledger.requests(chance.choice(filters)))
    told("list with filters, first page of 50", listed, "50 ms")
    rounds = max(10, min(load.reads, load.requests // OPEN_EVERY // DUE_AT_ONCE))
    lease = timedelta(minutes=3)
    taken = await timed(
        rounds, lambda: ledger.take_due("check", limit=DUE_AT_ONCE, lease=timedelta(0))
    )
    told(f"claim {DUE_AT_ONCE} due requests, the same again", taken, "20 ms")
    leased = await timed(
        max(1, rounds * 9 // 10),
        lambda: ledger.take_due("check", limit=DUE_AT_ONCE, lease=lease),
    )
    told(f"claim {DUE_AT_ONCE} due requests, each time others", leased, "20 ms")
    await write(ledger, load)


async def write(ledger: Ledger, load: Load) -> None:
    """Record facts by many callers, each waiting until its own is durable."""
    numbers = iter(range(load.facts))
    waits: list[float] = []

    async def call() -> None:
        for number in numbers:
            name = f"new-{number // 2}"
            kind, at = (FactName.QUEUED, FactName.RUNNING)[number % 2], NOW
            fact = _fact(kind, Witness.STATUS, at, name, {"position": 1})
            began = time.perf_counter()
            await ledger.record(Entry(fact.id, (fact,)))
            waits.append((time.perf_counter() - began) * 1e3)

    began = time.perf_counter()
    async with asyncio.TaskGroup() as tasks:
        for _ in range(CALLERS):
            tasks.create_task(call())
    took = time.perf_counter() - began
    waits.sort()
    print(f"\n{load.facts} facts, {CALLERS} callers, up to 256 to a transaction:", end=" ")
    p99 = waits[len(waits) * 99 // 100]
    print(f"{load.facts / took:,.0f} facts/s, p99 of a caller {p99:.0f} ms")


@asynccontextmanager
async def explained(ledger: Ledger) -> AsyncIterator[None]:
    """Print the plan of each statement that runs inside, the same one once."""
    seen: dict[str, list[str]] = {}
    engines = {ledger._reading.sync_engine, ledger._writer._engine.sync_engine}  # noqa: SLF001

    def explain(connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if statement in seen or not statement.lstrip().startswith(("SELECT", "UPDATE", "WITH")):
            return
        seen[statement] = []
        on_postgres = connection.dialect.name == "postgresql"
        words = "EXPLAIN (ANALYZE, BUFFERS)" if on_postgres else "EXPLAIN QUERY PLAN"
        beside = connection.connection.cursor()
        beside.execute(f"{words} {statement}", parameters)
        seen[statement] = [str(row[0 if on_postgres else 3]) for row in beside.fetchall()]
        beside.close()

    for engine in engines:
        event.listen(engine, "before_cursor_execute", explain)
    yield
    for engine in engines:
        event.remove(engine, "before_cursor_execute", explain)
    for statement, plan in seen.items():
        if plan and "clock_timestamp" not in statement and "pg_" not in statement:
            print("\n```\n" + " ".join(statement.split())[:400])
            print("\n".join(f"  {line}" for line in plan) + "\n```")


async def run(name: str, place: str | Path, load: Load) -> None:
    """Load, measure and explain one database."""
    print(f"\n## {name}, {load.requests:,} requests\n")
    await migrate(place)
    began = time.perf_counter()
    if isinstance(place, Path):
        await asyncio.to_thread(load_sqlite, place, load)
    else:
        await load_postgres(place, load)
    print(f"loaded in {time.perf_counter() - began:.0f} s\n")
    plan = lambda _request, now: Plan(check_at=now + timedelta(hours=1))  # noqa: E731
    async with Ledger.open(place, plan=plan, clock=lambda: datetime.now(UTC)) as ledger:
        await measure(ledger, load)
        async with explained(ledger):
            await ledger.timeline(request_id_of(load.requests // 2))
            await ledger.requests(RequestFilter(limit=50, endpoint=ENDPOINTS[0]))
            both = (State.FAILED, State.LOST)
            await ledger.requests(RequestFilter(limit=50, states=both, endpoint=ENDPOINTS[1]))
            await ledger.requests(RequestFilter(limit=50, open_only=True))
            await ledger.take_due("check", limit=DUE_AT_ONCE, lease=timedelta(0))


@asynccontextmanager
async def a_postgres() -> AsyncIterator[str]:
    """Give the URL of an empty database."""
    given = os.environ.get("CONSUMER_TEST_POSTGRES")
    if not given:
        async with open_postgres() as server:
            yield server.url()
        return
    name = f"ledger_scale_{os.getpid()}"
    connection = await asyncpg.connect(given)
    try:
        await connection.execute(f"CREATE DATABASE {name}")
        yield urlunsplit(urlsplit(given)._replace(path=f"/{name}"))
        await connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
    finally:
        await connection.close()


async def main(databases: list[str], load: Load) -> None:
    """Run on each database in turn."""
    if "sqlite" in databases:
        with tempfile.TemporaryDirectory() as folder:
            await run("SQLite", Path(folder) / "ledger.sqlite", load)
    if "postgresql" in databases:
        async with a_postgres() as url:
            await run("PostgreSQL", url, load)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--reads", type=int, default=1_000)
    parser.add_argument("--facts", type=int, default=50_000)
    parser.add_argument("--database", action="append", choices=["sqlite", "postgresql"])
    given = parser.parse_args()
    chosen = given.database or ["sqlite", "postgresql"]
    asyncio.run(main(chosen, Load(given.requests, given.reads, given.facts)))
