"""The demo on a cluster, as a person runs it."""

import asyncio
import sys

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.kafka, pytest.mark.timeout(180)]


async def test_it_adds_up_although_broker_database_and_a_worker_are_killed(
    own_brokers, own_postgres
):
    """Exit 0, tables on standard output, each accident told on standard error."""
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "consumer", "demo", "--cluster", "--requests", "80"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    tables, told = (part.decode() for part in await child.communicate())

    assert 0 == child.returncode, tables + told
    assert "Everything adds up" in tables
    told_of = ("broker killed", "broker back", "database killed", "database back")
    for accident in (*told_of, "worker killed", "worker is back"):
        assert accident in told
    assert "Traceback" not in told
