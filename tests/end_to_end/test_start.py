"""Starting and stopping as an operator does it: exit codes, and every mistake in one message."""

import subprocess
import sys
from pathlib import Path

import pytest

from consumer.testing.rig import ServiceProcess

pytestmark = pytest.mark.slow


async def test_a_second_serve_on_the_same_folder_exits_2_and_names_the_first(tmp_path: Path):
    """One folder has one serve; the message says which process holds it."""
    first = ServiceProcess(tmp_path / "data", {})
    await first.start()
    try:
        second = _serve({"FAL_CONSUMER_DATA_DIR": str(tmp_path / "data")})

        assert (2, "") == (second.returncode, second.stdout)
        assert f"in use by process {first.pid}" in second.stderr
    finally:
        assert 0 == await first.stop()


def test_every_mistake_is_in_one_message(tmp_path: Path):
    """Unknown, misspelt, out of range, unreadable: all at once, each with what was expected."""
    answer = _serve(
        {
            "FAL_CONSUMER_DATA_DIR": str(tmp_path / "data"),
            "FAL_CONSUMER_LISTNE": "0.0.0.0:1",
            "FAL_CONSUMER_FROBNICATE": "1",
            "FAL_CONSUMER_MAX_BODY_BYTES": "-5",
            "FAL_CONSUMER_PUBLIC_URL": "ftp://secret-host",
            "FAL_CONSUMER_TOKEN_SECRETS_FILE": str(tmp_path / "nowhere"),
        }
    )

    assert (2, "") == (answer.returncode, answer.stdout)
    for expected in (
        "FAL_CONSUMER_LISTNE",
        "FAL_CONSUMER_LISTEN",
        "FAL_CONSUMER_FROBNICATE",
        "FAL_CONSUMER_MAX_BODY_BYTES",
        "FAL_CONSUMER_PUBLIC_URL",
        "FAL_CONSUMER_TOKEN_SECRETS_FILE",
    ):
        assert expected in answer.stderr
    assert "secret-host" not in answer.stderr
    assert "Traceback" not in answer.stderr


def test_an_address_that_is_taken_is_a_mistake_of_configuration(tmp_path: Path):
    """Exit 2 and a sentence, no traceback."""
    answer = _serve(
        {
            "FAL_CONSUMER_DATA_DIR": str(tmp_path / "data"),
            "FAL_CONSUMER_LISTEN": "192.0.2.1:80",
            "FAL_CONSUMER_CONSOLE_LISTEN": "none",
        }
    )

    assert 2 == answer.returncode
    assert "FAL_CONSUMER_LISTEN: 192.0.2.1:80 cannot be had" in answer.stderr
    assert "Traceback" not in answer.stderr


def _serve(environ: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "consumer", "serve"],
        env={"PATH": "/usr/bin:/bin", **environ},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
