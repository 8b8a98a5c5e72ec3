"""Records entries for ever and prints the number of each one once it is durable."""

import asyncio
import sys
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from itertools import count
from pathlib import Path

from consumer.core.fact import Fact, FactName, Witness
from consumer.core.projection import Entry, Evidence, ResultEntry
from consumer.core.standing import Published
from consumer.ledger import Ledger
from consumer.ports import Plan

T0 = datetime(2026, 10, 1, tzinfo=UTC)


def entry_of(number: int) -> Entry:
    """Return an entry that touches every table of the projection that a completion touches."""
    request_id, body = f"r{number}", b"body %d" % number
    at = T0 + timedelta(seconds=number)
    facts = (
        Fact(FactName.SUCCEEDED, Witness.WEBHOOK, at, f"f{number}", request_id, "", {}, True, "u"),
        Fact(FactName.TRACKED, Witness.TOKEN, at, f"t{number}", request_id, f"s{number}"),
    )
    evidence = Evidence(
        f"d{number}", request_id, "u", "1", "ab", "key", "kid", "src", at,
        sha256(body).hexdigest(), True, body,
    )  # fmt: skip
    published = Published(revision=1, outcome="succeeded", witness="webhook")
    result = ResultEntry(f"e{number}", request_id, "", published, at, body)
    return Entry(f"e{number}", facts, evidence, result)


async def call(ledger: Ledger, numbers: count) -> None:
    for number in numbers:
        await ledger.record(entry_of(number))
        sys.stdout.write(f"{number}\n")
        sys.stdout.flush()


async def main(path: str) -> None:
    planner = lambda request, now: Plan(now, now)  # noqa: E731
    async with Ledger.open(
        path if "://" in path else Path(path), plan=planner, clock=lambda: datetime.now(UTC)
    ) as ledger:
        numbers = count()
        async with asyncio.TaskGroup() as tasks:
            for _ in range(20):
                tasks.create_task(call(ledger, numbers))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
