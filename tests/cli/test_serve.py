"""`serve` as a process: how it starts, how it stops, how it refuses."""

import os
import signal
import socket

import pytest

pytestmark = pytest.mark.slow  # processes of its own


@pytest.fixture
def ready(folder):
    """Return a folder whose `serve` listens on free ports and reaches nobody."""
    folder.environ |= {
        "FAL_CONSUMER_LISTEN": "127.0.0.1:0",
        "FAL_CONSUMER_CONSOLE_LISTEN": "127.0.0.1:0",
        "FAL_CONSUMER_JWKS_URL": "http://127.0.0.1:1/jwks.json",
    }
    return folder


def test_it_says_where_it_listens_and_stops_at_a_signal(ready, start):
    """It tells its addresses on standard error, and a SIGTERM ends it with 0."""
    process = start(ready.environ, ["serve"])

    receiver = process.wait_for("receiver listens on ")
    console = process.wait_for("console listens on ")
    process.child.send_signal(signal.SIGTERM)

    assert receiver.startswith("http://127.0.0.1:")
    assert console.startswith("http://127.0.0.1:")
    assert 0 == process.child.wait(60)
    assert "" == process.child.stdout.read()


def test_a_second_serve_on_the_folder_exits_2(ready, start):
    """One `serve` per folder: the second names the process that holds it."""
    first = start(ready.environ, ["serve"])
    first.wait_for("receiver listens on ")

    second = ready.run_apart("serve")

    assert 2 == second.returncode
    assert f"in use by process {first.child.pid}" in second.stderr


def test_an_address_in_use_exits_2(ready):
    """A port that somebody else has is bad configuration, told by the setting's name."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ready.environ["FAL_CONSUMER_LISTEN"] = f"127.0.0.1:{taken.getsockname()[1]}"

        shown = ready.run_apart("serve")

    assert 2 == shown.returncode
    assert "FAL_CONSUMER_LISTEN" in shown.stderr


def test_its_process_is_named_in_the_lock(ready, start):
    """Whoever asks the folder learns which process serves it."""
    process = start(ready.environ, ["serve"])
    process.wait_for("receiver listens on ")

    written = (ready.path / "serve.lock").read_text()

    assert f"{process.child.pid}\n" == written
    os.kill(int(written), 0)
