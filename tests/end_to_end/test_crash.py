"""Under SIGKILL: nothing acknowledged is lost, everything ends, and twice is once."""

from collections.abc import Callable
from pathlib import Path

import pytest

from drills.crash import run_crashes

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


async def test_a_service_killed_twenty_times_pays_every_debt(
    tmp_path: Path, record_property: Callable[[str, object], None]
):
    """Each 2xx is in the log as sent, each end is fal's own, a replay changes nothing."""
    report = await run_crashes(tmp_path / "data", kills=20, seed=7)

    record_property("numbers", str(report))
    assert [] == report.mistakes
    assert 20 == report.kills
    assert report.acknowledged == report.in_log > 100
    assert report.requests > 50
