"""Kafka is away, and comes back: at a size for the suite; the figures come from the drill."""

from collections.abc import Callable
from pathlib import Path

import pytest

from drills.outage import Size, run_outage

pytestmark = [pytest.mark.kafka, pytest.mark.slow, pytest.mark.timeout(300)]


async def test_callers_notice_little_of_an_outage(
    tmp_path: Path, own_brokers: None, record_property: Callable[[str, object], None]
):
    """Answers stay quick, a start and stops need no Kafka, and the backlog goes, whole."""
    size = Size(backlog=3000, rate=100.0, seconds=4.0, stop_slack_s=10.0)

    report = await run_outage(tmp_path, size)

    record_property("numbers", str(report))
    assert [] == report.mistakes
    assert 0 == report.lost
    assert report.drained > 2000
    # On a busy machine too: far below the 15 s that fal waits.
    assert report.away_p99_ms < 5000
