"""A process that records is killed at any moment."""

import asyncio
import importlib.util
import signal
import sqlite3
import sys
from pathlib import Path

import pytest

from consumer.core.standing import State
from consumer.ledger import Ledger
from consumer.ledger.migration import migrate
from consumer.ports import Plan, RequestFilter
from tests.ledger_databases import migrated

pytestmark = pytest.mark.slow  # processes of its own

_CHILD = Path(__file__).parent / "crash_child.py"
_SPEC = importlib.util.spec_from_file_location("ledger_crash_child", _CHILD)
child = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(child)


async def _acknowledged_before_kill(path, *, at_least: int) -> list[int]:
    """Let a process record until it acknowledged that many, kill it, return what it said."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(_CHILD), str(path), stdout=asyncio.subprocess.PIPE
    )
    lines = [await process.stdout.readline() for _ in range(at_least)]
    process.send_signal(signal.SIGKILL)
    rest = (await process.stdout.read()).splitlines(keepends=True)
    assert -signal.SIGKILL == await process.wait()
    return [int(line) for line in lines + rest if line.endswith(b"\n")]


async def test_killed_process_leaves_whole_entries(tmp_path):
    """After SIGKILL each acknowledged entry is there in every table, and none is there in part."""
    path = tmp_path / "ledger.sqlite"
    await migrate(path)

    acknowledged = await _acknowledged_before_kill(path, at_least=300)

    kept = await _whole_entries(path)
    assert set(acknowledged) <= kept
    with sqlite3.connect(path) as connection:
        assert ("ok",) == connection.execute("PRAGMA integrity_check").fetchone()
        assert [] == connection.execute("PRAGMA foreign_key_check").fetchall()
        assert [(2 * len(kept),)] == list(connection.execute("SELECT count(*) FROM schedules"))


async def test_killed_process_leaves_whole_entries_on_postgresql(postgres):
    """So it is on PostgreSQL."""
    async with migrated(postgres) as url:
        acknowledged = await _acknowledged_before_kill(url, at_least=300)

        assert set(acknowledged) <= await _whole_entries(url)


async def _whole_entries(url) -> set[int]:
    """Return the numbers of the entries that are there; each of them is there whole."""
    planner = lambda request, now: Plan()  # noqa: E731
    async with Ledger.open(url, plan=planner, clock=lambda: child.T0) as ledger:
        requests = await ledger.requests(RequestFilter(limit=1_000_000))
        kept = {int(request.request_id[1:]) for request in requests}
        assert {State.SUCCEEDED} == {request.state for request in requests}
        for number in kept:
            entry = child.entry_of(number)
            assert (entry.evidence,) == tuple(await ledger.evidence(f"r{number}"))
            assert entry.result.value == await ledger.result(f"r{number}")
            assert {fact.id for fact in entry.facts} == {
                fact.id for fact in await ledger.timeline(f"s{number}")
            }
    return kept
