"""What was acknowledged is in Kafka or in the spool: after kills, broken files, a full disk."""

import asyncio
import os
import random
import signal
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest

from consumer.errors import LogUnavailable
from tests.spool.spooling import value_of
from tests.spool.stage import LIMITS, FarSide, record, running

pytestmark = pytest.mark.slow  # processes and disks of their own

SPOOLING = Path(__file__).with_name("spooling.py")
SOON_S = 60


async def start(folder, name, *, away, total=0, max_file_bytes=0):
    arguments = [folder / "spool", folder / "kafka", name, away, max_file_bytes, total]
    return await asyncio.create_subprocess_exec(
        sys.executable, SPOOLING, *map(str, arguments), stdout=subprocess.PIPE
    )


async def acknowledged_by(process) -> list[str]:
    """Return the keys that a process acknowledged before it ended; a torn last line is none."""
    async with asyncio.timeout(SOON_S):
        output = await process.stdout.read()
        await process.wait()
    lines = output.splitlines(keepends=True)
    return [line.decode().strip() for line in lines if line.endswith(b"\n")]


async def drained(folder) -> dict[str, str]:
    """Empty every spool into the file that is Kafka; return its keys and hashes of values."""
    far = FarSide()
    async with running(far, folder / "spool") as front:
        await far.until(lambda: not front.waiting)
    lines = [line.split() for line in (folder / "kafka").read_text().splitlines()]
    in_file = {line[0]: line[1] for line in lines if len(line) == 2}
    return in_file | {one.key: sha256(one.value).hexdigest() for one in far.log.records()}


def assert_all_there(acknowledged, found) -> None:
    expected = {key: sha256(value_of(key)).hexdigest() for key in acknowledged}
    assert expected == {key: found.get(key) for key in expected}


@pytest.mark.parametrize("seed", range(4))
async def test_kills_lose_nothing_acknowledged(tmp_path, seed):
    """Killed again and again while it spools and drains, every acknowledged event is there."""
    chance = random.Random(seed)
    (tmp_path / "kafka").touch()
    acknowledged = []

    for life in range(5):
        process = await start(tmp_path, f"life-{life}", away=chance.choice([0.3, 0.7, 1]))
        lines = [await process.stdout.readline() for _ in range(chance.randrange(1, 600))]
        process.send_signal(signal.SIGKILL)
        acknowledged += [line.decode().strip() for line in lines] + await acknowledged_by(process)

    assert_all_there(acknowledged, await drained(tmp_path))


async def test_two_processes_share_a_folder(tmp_path):
    """Two receivers on one folder, Kafka coming and going, lose nothing between them."""
    (tmp_path / "kafka").touch()
    processes = [await start(tmp_path, name, away=0.5, total=600) for name in "ab"]
    acknowledged = [key for process in processes for key in await acknowledged_by(process)]

    assert 1200 == len(acknowledged)
    assert_all_there(acknowledged, await drained(tmp_path))


async def test_a_broken_file_loses_nothing(tmp_path):
    """Writes to the spool that fail with an I/O error go into its next file; all are sent."""
    (tmp_path / "kafka").touch()
    process = await start(tmp_path, "a", away=1, total=3000, max_file_bytes=1_500_000)
    acknowledged = await acknowledged_by(process)

    files = list((tmp_path / "spool").glob("*/waiting/*.sqlite"))
    assert 3000 == len(acknowledged)
    assert len(files) > 1
    assert_all_there(acknowledged, await drained(tmp_path))


@contextmanager
def small_disk(folder: Path, size: str):
    """Give a folder a disk of its own; skip where this user may not mount."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("mounting a tmpfs needs root and CAP_SYS_ADMIN")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


async def fill(front, name) -> list[str]:
    """Append until neither Kafka nor spool takes more; return the keys that were taken."""
    taken = []
    for number in range(100_000):
        key = f"{name}-{number}"
        try:
            await front.append(record(key, size=20_000))
        except LogUnavailable:
            return taken
        taken.append(key)
    raise AssertionError("the disk never filled")


@pytest.mark.parametrize("reserve", [4 << 20, 0])
async def test_a_full_disk_is_no_success_and_heals(tmp_path, reserve):
    """On a full disk nothing is acknowledged; with Kafka back the spool empties, all arrives."""
    far = FarSide()
    limits = replace(LIMITS, reserve_bytes=reserve)
    with small_disk(tmp_path / "disk", "24m") as disk:
        ballast = disk / "ballast"
        ballast.write_bytes(bytes(6 << 20))
        async with running(far, disk / "spool", limits=limits) as front:
            far.is_away = True
            taken = await fill(front, "first")
            with pytest.raises(LogUnavailable):
                await front.ping()
            ballast.unlink()
            far.is_away = False
            await far.until(lambda: not front.waiting and not front.describes())
            far.is_away = True
            taken += await fill(front, "second")
            far.is_away = False
            await far.until(lambda: not front.waiting)

    assert len(taken) > 200
    assert set(taken) == set(far.keys()) & set(taken)


async def test_kafka_back_while_the_disk_is_full(tmp_path):
    """Whatever the disk does, with Kafka back events are taken, and what waited arrives."""
    far = FarSide()
    with small_disk(tmp_path / "disk", "16m") as disk:
        async with running(far, disk / "spool") as front:
            far.is_away = True
            taken = await fill(front, "first")
            far.is_away = False
            await far.until(lambda: not front.waiting)
            await front.append(record("after"))

    assert {*taken, "after"} <= set(far.keys())
