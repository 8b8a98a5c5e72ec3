"""`simulate`: its settings, its address, its end."""

import json
import signal
import socket
from urllib.request import urlopen

import pytest

from consumer.settings import load_settings
from consumer.simulator import SCENARIOS


def test_it_prints_settings_that_a_service_takes(folder, start, simulated_settings):
    """Standard output is a list of exports that load as settings and point at the simulator."""
    process = start(folder.environ, ["simulate", "--port", "0", "--weight", "lost=0.5"])
    given = simulated_settings(process)
    url = process.wait_for("simulator listens on ")

    settings = load_settings(given)
    with urlopen(f"{url}/_simulator/totals", timeout=60) as answer:
        totals = json.load(answer)
    process.child.send_signal(signal.SIGINT)

    assert (url, True) == (settings.queue_url, settings.has_fal_key)
    assert 0 == totals["count"]
    assert 0 == process.child.wait(60)


def test_it_lists_its_scenarios(folder):
    """--scenarios prints the names that --weight takes, and ends."""
    shown = folder.run("simulate", "--scenarios")

    assert list(SCENARIOS) == shown.stdout.split()


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["--weight", "lost"], "expected NAME=SHARE"),
        (["--weight", "lots=0.1"], "scenario names"),
        (["--weight", "lost=0.1", "--mixed"], "not both"),
        (["--time-scale", "0"], "time_scale"),
    ],
)
def test_what_it_cannot_play_is_a_usage_error(folder, arguments, said):
    """Unknown scenarios and impossible numbers exit 2 with what was expected."""
    shown = folder.run("simulate", *arguments)

    assert (2, "") == (shown.returncode, shown.stdout)
    assert said in shown.stderr


def test_a_port_in_use_exits_2(folder):
    """A port that somebody else has is told with what to do."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        shown = folder.run("simulate", "--port", str(taken.getsockname()[1]))

    assert (2, "") == (shown.returncode, shown.stdout)
    assert "choose another, or port 0" in shown.stderr
