"""What the embedded log acknowledged is there: after a kill, a broken file, a full disk."""

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from consumer.core.event import NewRecord, Topic
from consumer.errors import LogUnavailable
from consumer.log.embedded import EmbeddedLog, LogLimits
from consumer.log.files import LogFolder
from tests.log.appending import TOPICS, value_of

pytestmark = pytest.mark.slow  # processes of its own

APPENDING = Path(__file__).with_name("appending.py")
SOON_S = 60


def now() -> datetime:
    return datetime.now(UTC)


async def start_appending(folder, name, *, total=0, in_flight=8, size=1000, max_file_bytes=0):
    arguments = [folder, name, total, in_flight, size, max_file_bytes]
    return await asyncio.create_subprocess_exec(
        sys.executable, APPENDING, *map(str, arguments), stdout=subprocess.PIPE
    )


async def acknowledged_by(process) -> list[list]:
    """Return what a process acknowledged before it ended; a torn last line is none."""
    async with asyncio.timeout(SOON_S):
        output = await process.stdout.read()
        await process.wait()
    return [json.loads(line) for line in output.splitlines(keepends=True) if line[-1:] == b"\n"]


async def read_all(folder) -> dict[tuple, tuple[str, bytes]]:
    async with EmbeddedLog.open(folder, clock=now, create=False) as log:
        return {
            (r.position.topic, r.position.partition, r.position.offset): (r.key, r.value)
            async for r in log.read(TOPICS)
        }


def assert_all_there(acknowledged, found, *, size=1000) -> None:
    expected = {
        (topic, partition, offset): (key, value_of(key, size))
        for topic, partition, offset, key in acknowledged
    }
    assert len(expected) == len(acknowledged)
    assert expected == {place: found.get(place) for place in expected}


def assert_no_gaps(found) -> None:
    offsets: dict[tuple, list[int]] = {}
    for topic, partition, offset in found:
        offsets.setdefault((topic, partition), []).append(offset)
    assert {p: list(range(len(o))) for p, o in offsets.items()} == {
        p: sorted(o) for p, o in offsets.items()
    }


@pytest.mark.parametrize("seed", range(4))
async def test_kill_loses_nothing_acknowledged(tmp_path, seed):
    """A process that is killed at any moment leaves all it acknowledged, byte for byte."""
    acknowledged = []
    chance = random.Random(seed)

    for life in range(3):
        process = await start_appending(tmp_path, f"life-{life}", size=3000)
        lines = [await process.stdout.readline() for _ in range(chance.randrange(1, 400))]
        process.send_signal(signal.SIGKILL)
        acknowledged += [json.loads(line) for line in lines] + await acknowledged_by(process)

    found = await read_all(tmp_path)
    assert_all_there(acknowledged, found, size=3000)
    assert_no_gaps(found)


async def test_two_processes_append_at_once(tmp_path):
    """Two processes share the offsets without a gap, and both lose nothing."""
    processes = [await start_appending(tmp_path, name, total=1500) for name in "ab"]
    acknowledged = [line for process in processes for line in await acknowledged_by(process)]

    found = await read_all(tmp_path)
    assert 3000 == len(acknowledged) == len(found)
    assert_all_there(acknowledged, found)
    assert_no_gaps(found)


async def test_broken_file_is_closed_and_the_next_begun(tmp_path):
    """Writes that fail with an I/O error go into the next file; nothing acknowledged is lost."""
    process = await start_appending(tmp_path, "a", total=4000, max_file_bytes=1_500_000)
    acknowledged = await acknowledged_by(process)

    listing = LogFolder(tmp_path).list()
    found = await read_all(tmp_path)
    assert 4000 == len(acknowledged)
    assert len(listing.present) > 1
    assert set(listing.present[:-1]) == listing.closed
    assert_all_there(acknowledged, found)


async def test_appends_go_on_after_a_file_was_closed(tmp_path):
    """Another process heeds the mark of a closed file at once, and groups go on over both."""
    async with (
        EmbeddedLog.open(tmp_path, clock=now) as log,
        log.subscribe("group", TOPICS) as subscription,
    ):
        first = await log.append(NewRecord(Topic.COMPLETIONS, "k", b"1", ()))
        await subscription.commit({(Topic.COMPLETIONS, 1): 1})
        LogFolder(tmp_path).close_for_good(1)
        second = await log.append(NewRecord(Topic.COMPLETIONS, "k", b"2", ()))
        committed = await log.committed("group")

    assert (1, 0) == (first.partition, first.offset)
    assert (2, 0) == (second.partition, second.offset)
    assert {(Topic.COMPLETIONS, 1): 1} == committed


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


async def fill(log, *, start: int = 0) -> tuple[list[list], LogUnavailable]:
    """Append until the log refuses; return what was acknowledged, and the refusal."""
    acknowledged = []
    for number in range(start, start + 100_000):
        key = f"k-{number}"
        try:
            position = await log.append(NewRecord(TOPICS[0], key, value_of(key, 1000), ()))
        except LogUnavailable as exc:
            return acknowledged, exc
        acknowledged.append([position.topic, position.partition, position.offset, key])
    raise AssertionError("the disk never filled")


async def until_available(log) -> None:
    """Return once the log would take a record."""
    async with asyncio.timeout(SOON_S):
        while True:
            try:
                return await log.ping()
            except LogUnavailable:
                continue


@pytest.mark.parametrize("reserve", [4 << 20, 0])
async def test_full_disk_refuses_and_recovers(tmp_path, reserve):
    """A full disk, with a reserve or to the last byte, refuses; with room again it takes on."""
    limits = LogLimits(reserve_bytes=reserve)
    with small_disk(tmp_path / "disk", "12m") as disk:
        ballast = disk / "ballast"
        ballast.write_bytes(bytes(3 << 20))
        async with EmbeddedLog.open(disk / "log", clock=now, limits=limits) as log:
            acknowledged, _ = await fill(log)
            with pytest.raises(LogUnavailable):
                await log.ping()
            found_when_full = await read_all(disk / "log")
            ballast.unlink()
            await until_available(log)
            more, _ = await fill(log, start=100_000)
        found = await read_all(disk / "log")
        listing = LogFolder(disk / "log").list()

    assert len(acknowledged) > 100
    assert len(more) > 100
    assert_all_there(acknowledged, found_when_full)
    assert_all_there(acknowledged + more, found)
    assert ((1,), frozenset()) == (listing.present, listing.closed)
