"""The sweep that removes what the ledger need not keep."""

from datetime import UTC, datetime, timedelta

from structlog.testing import capture_logs

from consumer.ports import Plan
from consumer.sweeps.retention import BATCH, TrimLedger
from consumer.testing.ledger import MemoryLedger
from tests.conformance.ledger.entries import resulted, webhook
from tests.conformance.ledger.stage import R1, ManualClock, held

DAY = timedelta(days=1)


async def test_rounds_go_on_until_nothing_is_left():
    """A round that removed something is a full one; one that found nothing says nothing."""
    clock = ManualClock(datetime(2026, 10, 1, 12, tzinfo=UTC))
    ledger = MemoryLedger(plan=lambda *_: Plan(), clock=clock)
    await ledger.record(webhook(R1))
    await ledger.record(resulted(R1, outcome="succeeded"))
    clock.advance(100 * DAY)
    sweep = TrimLedger(ledger, 90 * DAY)

    with capture_logs() as logs:
        removed = [await sweep.round() for _ in range(2)]

    assert removed[0] >= BATCH > removed[1] == 0
    assert [{"event": "ledger.trimmed", "rows": removed[0], "log_level": "info"}] == logs
    assert (0, 0) == await held(ledger, R1)
