"""What `check` says of the spools."""

import asyncio
from dataclasses import replace

import pytest

from consumer.app.spooling import spool_finding
from consumer.core.event import Topic
from consumer.log.files import LogFolder
from consumer.log.spool.places import list_places
from consumer.settings import Settings
from tests.spool.stage import LIMITS, FarSide, opened, record


@pytest.fixture
def far():
    far = FarSide()
    far.is_away = True
    return far


@pytest.fixture
def settings(tmp_path):
    return Settings(data_dir=tmp_path)


async def finding(settings):
    return await asyncio.to_thread(spool_finding, settings)


async def test_nothing_waits(settings):
    """Without a spool all is well."""
    assert ("ok", "nothing waits") == await finding(settings)


async def test_what_a_process_holds_is_on_its_way(far, settings):
    """Events that wait in a held spool are no trouble; with nobody there they are."""
    async with opened(far, settings.data_dir / "spool") as front:
        await front.append(record("a"))
        held = await finding(settings)
    free = await finding(settings)

    assert ("ok", "1 events wait") == held
    assert ("warning", "1 events wait, 1 spools held by nobody: start a receiver") == free


async def test_refused_records_are_a_warning(far, settings):
    """Records that Kafka refused wait for somebody to act."""
    far.is_away, far.refused_topics = False, {Topic.DEAD_LETTERS}
    limits = replace(LIMITS, max_bytes=1 << 20)
    async with opened(far, settings.data_dir / "spool", limits=limits) as front:
        await front.append(record("a", topic=Topic.DEAD_LETTERS))

    expected = "1 records refused by Kafka: see fal-consumer spool show"
    assert ("warning", expected) == await finding(settings)


async def test_a_damaged_file_is_a_warning(far, settings):
    """A file that cannot be read is told first."""
    folder = settings.data_dir / "spool"
    async with opened(far, folder) as front:
        await front.append(record("a"))
    LogFolder(list_places(folder)[0].waiting).file(1).write_bytes(b"no log" * 1000)

    assert ("warning", "1 files cannot be read: look at the disk") == await finding(settings)
