"""Starting and stopping as an operator does it: exit codes, and every mistake in one message."""

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from consumer.app import utc_now
from consumer.core.event import NewRecord, Topic
from consumer.log.embedded import EmbeddedLog
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


async def test_a_damaged_ledger_is_named_with_what_to_do(tmp_path: Path):
    """Exit 1, which file, and the way on; moved away, the next start says what is missing."""
    service = ServiceProcess(tmp_path / "data", {})
    await service.start()
    assert 0 == await service.stop()
    ledger = tmp_path / "data" / "ledger.sqlite"
    ledger.write_bytes(b"no database" * 1000)

    answer = _serve({"FAL_CONSUMER_DATA_DIR": str(tmp_path / "data")})

    assert 1 == answer.returncode
    assert f"{ledger} cannot be used (SQLITE_NOTADB): put back a copy" in answer.stderr
    assert "Traceback" not in answer.stderr


async def test_a_ledger_that_is_gone_is_told_at_the_start(tmp_path: Path):
    """Beside a log that was read before, an empty ledger is no first start."""
    service = ServiceProcess(tmp_path / "data", {})
    await service.start()
    assert "the ledger was not there" not in service.last_words()
    async with EmbeddedLog.open(tmp_path / "data" / "log", clock=utc_now) as log:
        await log.append(NewRecord(Topic.LIFECYCLE, "k", b"{}", ()))
        async with asyncio.timeout(30):
            while not await log.committed("record"):  # noqa: ASYNC110  another process does it
                await asyncio.sleep(0.05)
    assert 0 == await service.stop()
    for path in (tmp_path / "data").glob("ledger.sqlite*"):
        path.unlink()

    await service.start()
    assert 0 == await service.stop()

    assert "the ledger was not there and is empty now" in service.last_words()


def _serve(environ: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "consumer", "serve"],
        env={"PATH": "/usr/bin:/bin", **environ},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
