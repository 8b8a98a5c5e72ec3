"""The demo as it is: simulator and service in one process, and an honest count."""

import asyncio

import pytest

from consumer.app.demo import open_demo, settings_for
from consumer.simulator import Simulator, SimulatorConfig

TOTAL = 60
SOON_S = 100


@pytest.mark.slow
async def test_the_demo_adds_up(tmp_path):
    """Traffic with faults ends with tables that add up, and with none of it lost."""
    async with asyncio.timeout(SOON_S), open_demo(tmp_path / "data", total=TOTAL, seed=1) as demo:
        steps = [progress async for progress in demo.play()]
        found = await demo.tally()

    assert [] == list(found.mistakes)
    assert (TOTAL, TOTAL, TOTAL) == (found.sent, sum(found.ends.values()), steps[-1].ended)
    assert 0 == sum(count for (end, _), count in found.ends.items() if end == "lost")
    by_end: dict[str, int] = {}
    for (end, _), count in found.ends.items():
        by_end[end] = by_end.get(end, 0) + count
    assert dict(found.booked) == by_end
    assert found.booked_units == found.units


async def test_the_service_knows_nothing_but_the_address(tmp_path):
    """The demo's settings name the simulator's addresses and folder, and nothing public."""
    async with Simulator(SimulatorConfig(seed=1)) as simulator:
        settings = settings_for(simulator, tmp_path)

    assert (simulator.jwks_url, simulator.url, tmp_path) == (
        settings.jwks_url,
        settings.queue_url,
        settings.data_dir,
    )
    assert "127.0.0.1" == settings.listen.host
