"""Reading the files."""

from datetime import UTC, datetime

import pytest

from consumer.core.event import NewRecord, Topic
from consumer.errors import LogUnavailable
from consumer.log.embedded import EmbeddedLog, LogLimits
from consumer.log.files import LogFolder
from consumer.log.reader import Reader, Wanted


def now() -> datetime:
    return datetime.now(UTC)


@pytest.fixture
def reader(tmp_path):
    made = Reader(LogFolder(tmp_path), condemn=lambda _number, _error: None)
    yield made
    made.close()


async def fill(folder, topics, *, size=10) -> None:
    async with EmbeddedLog.open(folder, clock=now, limits=LogLimits(own_groups=frozenset())) as log:
        for topic in topics:
            await log.append(NewRecord(topic, "key", bytes(size), ()))


async def test_one_read_is_bounded_by_bytes(tmp_path, reader):
    """A read takes about 32 MiB, and more only where one record alone is larger."""
    await fill(tmp_path, [Topic.RESULTS] * 5, size=12 << 20)

    stretches = reader.fetch(Wanted((Topic.RESULTS,), {}, 100))

    assert [0, 1] == [stretch.first for stretch in stretches]


async def test_topics_take_turns(tmp_path, reader):
    """A topic with much to give does not keep the others waiting."""
    await fill(tmp_path, [Topic.RESULTS, Topic.RESULTS, Topic.COMMANDS])

    wanted = Wanted((Topic.RESULTS, Topic.COMMANDS), {}, 1)
    first = {reader.fetch(wanted)[0].topic for _ in range(4)}

    assert {Topic.RESULTS, Topic.COMMANDS} == first


async def test_file_that_went_is_let_go(tmp_path, reader):
    """A file that was removed is no longer read, and no error."""
    await fill(tmp_path, [Topic.RESULTS])
    assert 1 == len(reader.fetch(Wanted((Topic.RESULTS,), {}, 10)))
    LogFolder(tmp_path).remove(1)

    assert [] == reader.fetch(Wanted((Topic.RESULTS,), {}, 10))


def test_nothing_readable_is_unavailable(tmp_path, reader):
    """When no file can be read, the log is unavailable."""
    LogFolder(tmp_path).file(1).write_bytes(b"garbage" * 1000)

    with pytest.raises(LogUnavailable):
        reader.fetch(Wanted((Topic.RESULTS,), {}, 10))
