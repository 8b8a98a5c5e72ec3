"""`simulate`: its settings, its address, its end."""

import json
import signal
import socket
import ssl
from urllib.error import HTTPError
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


def test_it_speaks_tls_and_hands_out_its_authority(folder, start, simulated_settings, tmp_path):
    """With --tls-port the same is served over TLS, under a certificate that is written down."""
    authority = tmp_path / "authority.pem"
    arguments = ["--tls-port", "0", "--authority", str(authority)]
    process = start(folder.environ, ["simulate", "--port", "0", *arguments])
    simulated_settings(process)
    url = process.wait_for("TLS on ").partition(",")[0]
    process.wait_for("fal's Python client: ")

    context = ssl.create_default_context(cafile=authority)
    with urlopen(f"{url}/_simulator/totals", timeout=60, context=context) as answer:
        assert 200 == answer.status
    process.child.send_signal(signal.SIGINT)
    assert 0 == process.child.wait(60)


def test_its_troubles_are_options(folder, start, simulated_settings):
    """Limit, keys and expiry can be chosen at the start."""
    troubles = ["--rate-limit", "1", "--rate-limit-hint", "none", "--api-key", "id:right"]
    process = start(folder.environ, ["simulate", "--port", "0", "--expire", *troubles])
    given = simulated_settings(process)
    url = given["FAL_CONSUMER_API_URL"]

    assert "id:right" == given["FAL_KEY"]
    with pytest.raises(HTTPError) as refused:
        urlopen(f"{url}/models/pricing?endpoint_id=fal-ai/veo3", timeout=60)
    refused.value.close()
    assert 401 == refused.value.code
    process.child.send_signal(signal.SIGINT)
    assert 0 == process.child.wait(60)


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["--weight", "lost"], "expected NAME=SHARE"),
        (["--weight", "lots=0.1"], "scenario names"),
        (["--weight", "lost=0.1", "--mixed"], "not both"),
        (["--time-scale", "0"], "time_scale"),
        (["--stream-cut-s", "0"], "stream_cut_s"),
        (["--rate-limit", "0"], "--rate-limit"),
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
