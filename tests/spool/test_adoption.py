"""Spools of others: adopted when nobody holds them, drained, removed when empty."""

import pytest

from consumer.core.event import Topic
from consumer.log.files import LogFolder
from consumer.log.spool.places import list_places, new_place
from tests.spool.stage import FarSide, opened, record, running


@pytest.fixture
def far():
    return FarSide()


async def leave_two(far, folder) -> None:
    """Leave two spools that nobody holds, with five records in each."""
    far.is_away = True
    async with opened(far, folder) as one, opened(far, folder) as two:
        for n in range(5):
            await one.append(record(f"one-{n}"))
            await two.append(record(f"two-{n}"))
    far.is_away = False


async def test_a_start_takes_one_and_adopts_the_rest(far, tmp_path):
    """Every free spool is emptied; what was adopted is removed, the own one stays."""
    await leave_two(far, tmp_path)

    async with running(far, tmp_path) as front:
        assert 10 == front.waiting
        await far.until(lambda: len(list_places(tmp_path)) == 1)

    assert {f"{name}-{n}" for name in ("one", "two") for n in range(5)} == set(far.keys())


async def test_a_held_spool_is_left_alone(far, tmp_path):
    """Two receivers on one folder have a spool each, and neither touches the other's."""
    far.is_away = True
    async with opened(far, tmp_path) as first:
        await first.append(record("first"))
        far.is_away = False
        async with running(far, tmp_path) as second:
            assert 0 == second.waiting
            assert 2 == len(list_places(tmp_path))
        assert 1 == first.waiting


async def test_an_adopted_spool_with_refused_records_stays(far, tmp_path):
    """What Kafka refused is no reason to remove a spool."""
    await leave_two(far, tmp_path)
    far.refused_topics = {Topic.COMPLETIONS, Topic.DEAD_LETTERS}

    async with running(far, tmp_path) as front:
        await far.until(lambda: front.refused == 10)
    async with opened(far, tmp_path) as front:
        assert (0, 10) == (front.waiting, front.refused)


async def test_a_spool_that_cannot_be_read_is_left(far, tmp_path):
    """Damage in one spool keeps nobody from starting, and the damaged file stays."""
    await leave_two(far, tmp_path)
    damaged = list_places(tmp_path)[0]
    file = LogFolder(damaged.waiting).file(1)
    file.write_bytes(b"no database" * 1000)

    async with running(far, tmp_path) as front:
        await far.until(lambda: not front.waiting)

    assert file.exists()
    assert 5 == len(far.keys())


async def test_a_folder_with_a_lock_alone_is_an_empty_spool(far, tmp_path):
    """A process that died while it made or removed its spool leaves nothing that hurts."""
    new_place(tmp_path).release()
    (tmp_path / "bare").mkdir()

    async with running(far, tmp_path):
        await far.until(lambda: len(list_places(tmp_path)) == 1)
