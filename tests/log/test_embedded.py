"""What the embedded log does beyond the promises of every log."""

import asyncio
import os
import sqlite3
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pytest
from structlog.testing import capture_logs

from consumer.core.event import NewRecord, Topic
from consumer.errors import ConfigError, LogUnavailable
from consumer.log.embedded import EmbeddedLog, LogLimits

NOW = timedelta(0)
SOON = timedelta(seconds=20)


def now() -> datetime:
    return datetime.now(UTC)


def record(key="key", value=b"value", topic=Topic.COMPLETIONS) -> NewRecord:
    return NewRecord(topic, key, value, ())


async def append_somehow(log) -> int | None:
    """Append and return the partition; None when the log cannot."""
    try:
        return (await log.append(record())).partition
    except LogUnavailable:
        return None


async def read_somehow(log) -> None:
    """Read all that can be read."""
    with suppress(LogUnavailable):
        await values(log.read(list(Topic)))


async def values(records) -> list[bytes]:
    return [one.value async for one in records]


async def test_read_gives_what_is_there(tmp_path):
    """Reading without a group gives all records, those of one key, or those from a start."""
    async with EmbeddedLog.open(tmp_path, clock=now) as log:
        for number in range(6):
            await log.append(record(f"key-{number % 2}", b"%d" % number))

        topics = [Topic.COMPLETIONS]
        assert [b"%d" % n for n in range(6)] == await values(log.read(topics))
        assert [b"1", b"3", b"5"] == await values(log.read(topics, key="key-1"))
        start = {(Topic.COMPLETIONS, 1): 4}
        assert [b"4", b"5"] == await values(log.read(topics, start=start))
        assert [] == await values(log.read([Topic.RESULTS]))


async def test_read_finds_a_key_among_many_blocks(tmp_path):
    """A key that stands behind hundreds of records of others is found."""
    async with EmbeddedLog.open(tmp_path, clock=now) as log:
        await asyncio.gather(*(log.append(record(f"{n:06}")) for n in range(2000)))

        assert [b"value"] == await values(log.read([Topic.COMPLETIONS], key="001999"))


async def test_follow_goes_on(tmp_path):
    """Following gives what is there and then what comes, from another opening as well."""
    async with (
        EmbeddedLog.open(tmp_path, clock=now) as log,
        EmbeddedLog.open(tmp_path, clock=now, create=False) as reader,
    ):
        await log.append(record(value=b"1"))
        following = reader.read([Topic.COMPLETIONS], follow=True)
        assert b"1" == (await anext(following)).value
        async with asyncio.TaskGroup() as group:
            waiting = group.create_task(anext(following))
            await log.append(record(value=b"2"))

        assert b"2" == waiting.result().value
        await following.aclose()


async def test_reader_needs_a_log(tmp_path):
    """Opening without making is refused where there is no log, and leaves no trace."""
    with pytest.raises(LogUnavailable, match="holds no log"):
        async with EmbeddedLog.open(tmp_path / "absent", clock=now, create=False):
            pytest.fail("opened nothing")

    assert not (tmp_path / "absent").exists()


async def test_reader_leaves_files_as_they_are(tmp_path):
    """Who only reads writes nothing: the file stays byte for byte."""
    async with EmbeddedLog.open(tmp_path, clock=now) as log:
        await log.append(record())
    before = (tmp_path / "log-00000001.sqlite").read_bytes()

    async with EmbeddedLog.open(tmp_path, clock=now, create=False) as log:
        assert [b"value"] == await values(log.read([Topic.COMPLETIONS]))

    assert before == (tmp_path / "log-00000001.sqlite").read_bytes()


async def test_newer_format_is_named(tmp_path):
    """A file of a newer format is a configuration error that says so."""
    async with EmbeddedLog.open(tmp_path, clock=now):
        pass
    with sqlite3.connect(tmp_path / "log-00000001.sqlite") as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()

    for create in (True, False):
        with pytest.raises(ConfigError, match="format 99"):
            async with EmbeddedLog.open(tmp_path, clock=now, create=create):
                pytest.fail("opened a newer format")


async def test_too_much_in_hand_is_refused(tmp_path):
    """Appends past the bound on waiting bytes are refused at once; the others are taken."""
    limits = LogLimits(max_pending_bytes=10_000)
    async with EmbeddedLog.open(tmp_path, clock=now, limits=limits) as log:
        appends = [log.append(record(value=bytes(1000))) for _ in range(20)]
        answers = await asyncio.gather(*appends, return_exceptions=True)
        await log.append(record(value=bytes(1000)))

    refused = [one for one in answers if isinstance(one, LogUnavailable)]
    assert 11 == len(refused)


async def test_closing_finishes_what_is_in_hand(tmp_path):
    """Appends that wait when the log is closed are finished, later ones refused."""
    async with EmbeddedLog.open(tmp_path, clock=now) as log:
        waiting = [asyncio.ensure_future(log.append(record())) for _ in range(50)]
        await asyncio.sleep(0)
    positions = await asyncio.gather(*waiting)

    assert list(range(50)) == [position.offset for position in positions]
    with pytest.raises(LogUnavailable):
        await log.append(record())
    with pytest.raises(LogUnavailable):
        await log.ping()


async def test_cancelled_append_harms_nobody(tmp_path):
    """An append whose caller left is answered to nobody; the next one is taken."""
    async with EmbeddedLog.open(tmp_path, clock=now) as log:
        for _ in range(10):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0):
                    await log.append(record())
        await log.append(record())
        await log.ping()


async def test_held_group_names_its_holder(tmp_path):
    """Who finds a group held is told by which process."""
    async with (
        EmbeddedLog.open(tmp_path, clock=now) as log,
        log.subscribe("group", [Topic.COMPLETIONS]),
    ):
        with pytest.raises(LogUnavailable, match=f"process {os.getpid()}"):
            async with log.subscribe("group", [Topic.COMPLETIONS]):
                pytest.fail("two hold one group")


@pytest.mark.parametrize("name", ["", "a/b", "ä", "x" * 65, "a\n"])
async def test_group_names_are_bounded(tmp_path, name):
    """A name that could leave the folder is a ValueError."""
    async with EmbeddedLog.open(tmp_path, clock=now) as log:
        with pytest.raises(ValueError):
            async with log.subscribe(name, [Topic.COMPLETIONS]):
                pytest.fail("took the name")


async def test_file_that_is_none_is_closed_and_left_out(tmp_path):
    """Garbage in place of a file is closed for good; the log goes on with the next."""
    (tmp_path / "log-00000001.sqlite").write_bytes(b"garbage" * 1000)

    with capture_logs() as lines:
        async with EmbeddedLog.open(tmp_path, clock=now) as log:
            position = await log.append(record())
            assert [b"value"] == await values(log.read([Topic.COMPLETIONS]))

    assert 2 == position.partition
    assert (tmp_path / "log-00000001.closed").exists()
    assert [
        ("log.file_closed", 1, "SQLITE_NOTADB"),
        ("log.unavailable", 1, "SQLITE_NOTADB"),
    ] == [(line["event"], line["partition"], line["error"]) for line in lines]


async def test_damaged_pages_close_the_file(tmp_path):
    """A file found damaged while it is read is closed for good by who appends to it."""
    path = tmp_path / "log-00000001.sqlite"
    async with EmbeddedLog.open(tmp_path, clock=now) as log:
        for number in range(200):
            await log.append(record(value=bytes(500) + b"%d" % number))
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(4096 * 5)
        file.write(os.urandom(size - 4096 * 5))

    async with EmbeddedLog.open(tmp_path, clock=now) as log:
        async with asyncio.timeout(20):
            while (await append_somehow(log)) != 2:
                await read_somehow(log)


async def test_damaged_block_is_a_gap(tmp_path):
    """Records whose bytes changed on the disk are left out and told as a gap."""
    async with EmbeddedLog.open(tmp_path, clock=now) as log:
        for number in range(3):
            await log.append(record(value=b"%d" % number))
        with sqlite3.connect(tmp_path / "log-00000001.sqlite") as connection:
            connection.execute("UPDATE completions SET crc = crc + 1 WHERE last_offset = 1")
        connection.close()
        async with log.subscribe("group", [Topic.COMPLETIONS]) as subscription:
            found = await subscription.poll(max_records=10, timeout=SOON)
            assert [b"0", b"2"] == [one.value for one in found]
            assert 1 == subscription.gaps
