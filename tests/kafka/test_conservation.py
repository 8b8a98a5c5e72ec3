"""Conservation under faults: every fault once, at a size for the suite; the long run is a drill."""

from collections.abc import Callable
from pathlib import Path

import pytest

from drills.conservation import FAULTS, Size, Spans, run_conservation
from drills.conservation.faults import NEEDS_DISK

pytestmark = [pytest.mark.kafka, pytest.mark.slow, pytest.mark.timeout(600)]


async def test_every_fault_once_loses_no_delivery(
    tmp_path: Path, own_brokers: None, record_property: Callable[[str, object], None]
):
    """Each 200 is in the topic as sent, and the ledger says what was posted and what fal did."""
    spans = Spans(down_s=4.0, pause_s=15.0, full_s=3.0)
    size = Size(
        deliveries=10_000,
        rate=80.0,
        spans=spans,
        between_s=2.0,
        disk_mib=64,
        horizon_s=30.0,
        patience_s=240.0,
    )

    report = await run_conservation(tmp_path, size)

    record_property("numbers", str(report))
    assert [] == report.mistakes
    assert 0 == report.lost
    assert set(FAULTS) - {NEEDS_DISK} <= set(report.faults)
    assert report.deliveries >= 10_000
    assert report.spooled > 100
