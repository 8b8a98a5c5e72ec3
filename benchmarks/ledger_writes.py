"""
How fast the ledger records webhook completions on SQLite, each call returning durable.

    python benchmarks/ledger_writes.py [--entries 20000] [--callers 500] [--body-bytes 1024]

Prints entries and facts a second, CPU per entry (all threads), and the waits of callers.
"""

import argparse
import asyncio
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from hashlib import sha256
from pathlib import Path

from consumer.core.cancellation import cancel_at
from consumer.core.event import event_id
from consumer.core.fact import Fact, FactName, Witness
from consumer.core.policy import Policies, check_at
from consumer.core.projection import Entry, Evidence
from consumer.core.standing import Request
from consumer.ledger import Ledger
from consumer.ledger.migration import migrate
from consumer.ports import Plan

_START = datetime(2026, 1, 1, tzinfo=UTC)


def plan(request: Request, now: datetime, policies: Policies) -> Plan:
    """Return the plan that the product makes."""
    return Plan(check_at(request, now, policies), cancel_at(request, policies))


def completion(number: int, body_bytes: int) -> Entry:
    """Return the entry of one webhook completion: evidence, its end, and what its token names."""
    request_id, at = f"00000000-0000-4000-8000-{number:012d}", _START + timedelta(seconds=number)
    body = f'{{"request_id":"{request_id}","pad":"'.encode().ljust(body_bytes - 2, b"x") + b'"}'
    digest = sha256(body).hexdigest()
    identity = event_id("completion", request_id, digest)
    delivery = event_id("delivery", request_id)
    evidence = Evidence(
        delivery, request_id, "user", "1767225600", "ab" * 64, "k" * 43, "kid", "https://fal.run",
        at, digest, True, body,
    )  # fmt: skip
    ended = Fact(
        FactName.SUCCEEDED, Witness.WEBHOOK, at, identity, request_id, "",
        {"http_status": 200}, True, "user",
    )  # fmt: skip
    tracked = Fact(
        FactName.TRACKED, Witness.TOKEN, at, event_id("token", request_id), request_id,
        f"submission-{number}", {"endpoint": "fal-ai/flux/dev", "has_callback": True},
    )  # fmt: skip
    return Entry(identity, (ended, tracked), evidence)


async def call(ledger: Ledger, entries: Iterator[Entry], waits: list[float]) -> None:
    """Record entries one after the other until none is left."""
    for entry in entries:
        began = time.perf_counter()
        await ledger.record(entry)
        waits.append(time.perf_counter() - began)


async def measure(folder: Path, *, number: int, callers: int, body_bytes: int) -> None:
    """Record that many entries into a new ledger and print the figures."""
    path = folder / "ledger.sqlite"
    await migrate(path)
    entries = [completion(place, body_bytes) for place in range(number)]
    planner = partial(plan, policies=Policies())
    waits: list[float] = []
    async with Ledger.open(path, plan=planner, clock=lambda: datetime.now(UTC)) as ledger:
        began, cpu = time.perf_counter(), time.process_time()
        shared = iter(entries)
        async with asyncio.TaskGroup() as tasks:
            for _ in range(callers):
                tasks.create_task(call(ledger, shared, waits))
        took, spent = time.perf_counter() - began, time.process_time() - cpu
    waits.sort()
    print(f"{number} entries of {body_bytes} bytes, {callers} callers: {took:.2f} s")
    print(f"{number / took:,.0f} entries/s, {2 * number / took:,.0f} facts/s")
    print(f"{spent / number * 1e6:.0f} µs CPU per entry")
    print(
        f"waits: median {waits[len(waits) // 2] * 1e3:.1f} ms,"
        f" p99 {waits[len(waits) * 99 // 100] * 1e3:.1f} ms"
    )


def main() -> None:
    """Read the arguments and measure in a temporary folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--entries", type=int, default=20_000)
    parser.add_argument("--callers", type=int, default=500)
    parser.add_argument("--body-bytes", type=int, default=1024)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(
            measure(
                Path(folder),
                number=given.entries,
                callers=given.callers,
                body_bytes=given.body_bytes,
            )
        )


if __name__ == "__main__":
    main()
