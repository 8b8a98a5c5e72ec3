"""What the ledger in memory can do beside the promises of its port."""

from datetime import UTC, datetime

import pytest

from consumer.core.fact import FactName, Witness, new_fact
from consumer.core.projection import Entry
from consumer.errors import LedgerUnavailable
from consumer.ports import Plan
from consumer.testing.ledger import MemoryLedger

T0 = datetime(2026, 10, 1, 12, tzinfo=UTC)


async def test_refused_call_changes_nothing():
    """A call that was told to fail raises that error, once, and keeps nothing."""
    ledger = MemoryLedger(plan=lambda *_: Plan(), clock=lambda: T0)
    fact = new_fact(FactName.RUNNING, Witness.STATUS, T0, request_id="r1")
    ledger.refuse_next(LedgerUnavailable("locked"))

    with pytest.raises(LedgerUnavailable, match="locked"):
        await ledger.record(Entry(fact.id, (fact,)))

    assert {} == ledger.rows.facts
    assert (await ledger.record(Entry(fact.id, (fact,)))).is_new


async def test_refusals_come_as_often_as_told():
    """Several refusals are used up one call at a time, whatever the call."""
    ledger = MemoryLedger(plan=lambda *_: Plan(), clock=lambda: T0)
    ledger.refuse_next(LedgerUnavailable("locked"), times=2)

    for call in (ledger.ping, ledger.counts):
        with pytest.raises(LedgerUnavailable):
            await call()

    await ledger.ping()
