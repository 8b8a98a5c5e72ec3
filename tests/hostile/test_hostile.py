"""A few thousand hostile requests against a receiver in a process of its own."""

import asyncio
from datetime import UTC, datetime
from uuid import uuid4

import pytest

from consumer.receiving.limits import ReceiverLimits
from consumer.testing.deliveries import webhook_body
from consumer.testing.hostile import CANARY, Traffic, attack, is_fair
from consumer.testing.receiver_process import receiver_process
from consumer.testing.receiving import Caller

COUNT = 3000
GENUINE = 100


async def genuine(child):
    caller, statuses = Caller(child.host, child.port), []
    for _ in range(GENUINE):
        request_id = str(uuid4())
        body = webhook_body(request_id)
        headers = child.signer.headers(request_id, body, at=datetime.now(UTC))
        statuses.append(await caller.post(body, headers))
    return statuses


@pytest.mark.slow
async def test_hostile_requests_get_nowhere_and_stop_nobody(tmp_path):
    """Thousands of hostile requests get empty refusals, genuine traffic beside them 200s."""
    limits = ReceiverLimits()
    traffic = Traffic(7, at=datetime.now(UTC), max_body_bytes=limits.max_body_bytes)

    async with receiver_process(tmp_path) as child:
        before_mib = child.rss_mib()
        async with asyncio.TaskGroup() as tasks:
            served = tasks.create_task(genuine(child))
            attacked = tasks.create_task(attack(child.host, child.port, traffic.shots(COUNT)))
        grown_mib = child.rss_mib() - before_mib

    tally = attacked.result()
    assert [] == tally.unfair
    assert COUNT == tally.answers.total()
    assert 0 == sum(count for (_, status), count in tally.answers.items() if status == 200)
    assert [200] * GENUINE == served.result()
    assert grown_mib < 100
    assert CANARY.encode() not in child.lines.replace(f"{CANARY}-id".encode(), b"")
    assert b"Traceback" not in child.lines


@pytest.mark.parametrize(
    "answer, fair",
    [
        (b"", True),
        (b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n", True),
        (b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n", False),
        (b"HTTP/1.1 302 Go\r\nContent-Length: 0\r\n\r\n", False),
        (b"HTTP/1.1 400 Bad Request\r\nContent-Length: 2\r\n\r\nno", False),
        (b"hung", False),
    ],
)
def test_what_is_fair(answer, fair):
    """Only empty answers of the table, or none at all, are fair."""
    assert fair == is_fair(answer)
