"""What the commands do with spools: look beside a holder, drain and retry what is free."""

import asyncio
from datetime import timedelta

import pytest

from consumer.core.event import Topic
from consumer.log.spool.drain import DrainParts
from consumer.log.spool.gate import Gate
from consumer.log.spool.places import list_places
from consumer.log.spool.upkeep import (
    Drained,
    drain_free,
    look_at_spools,
    refused_records,
    retry_refused,
)
from consumer.telemetry import Metrics
from tests.spool.stage import LIMITS, FarSide, now, opened, record, running


@pytest.fixture
def far():
    return FarSide()


async def drain(far, folder, *, patience_s=20, told=None) -> Drained:
    parts = DrainParts(far, Gate(), now, Metrics(), timedelta(0))
    told = [] if told is None else told
    return await drain_free(
        folder,
        parts,
        LIMITS,
        patience_s=patience_s,
        tell=lambda sent, total: told.append((sent, total)),
    )


async def leave(far, folder, *keys, topic=Topic.COMPLETIONS) -> None:
    """Leave records in spools that nobody holds."""
    far.is_away = True
    async with opened(far, folder) as front:
        for key in keys:
            await front.append(record(key, topic=topic))
    far.is_away = False


async def leave_refused(far, folder, *keys) -> None:
    far.refused_topics = {Topic.DEAD_LETTERS}
    async with opened(far, folder) as front:
        for key in keys:
            await front.append(record(key, topic=Topic.DEAD_LETTERS))
    far.refused_topics = set()


async def test_a_look_tells_what_waits_and_who_holds_it(far, tmp_path):
    """Waiting by topic, refused, age, holder: beside the process that holds the spool."""
    far.is_away = True
    async with opened(far, tmp_path) as front:
        await front.append(record("a"))
        await front.append(record("b"))
        (held,) = await asyncio.to_thread(look_at_spools, tmp_path)
    (free,) = look_at_spools(tmp_path)

    assert held.holder.startswith("process ")
    assert free.holder is None
    for look in (held, free):
        assert ({Topic.COMPLETIONS: 2}, 0, 0) == (look.waiting, look.refused, look.unreadable)
        assert timedelta(0) < now() - look.oldest_at < timedelta(minutes=1)
        assert look.size_bytes > 0


async def test_no_spool_is_nothing_to_look_at(far, tmp_path):
    """Where no receiver ever ran, every command finds nothing."""
    folder = tmp_path / "spool"

    assert [] == look_at_spools(folder)
    assert Drained(0, 0, 0) == await drain(far, folder)
    assert [] == await retry_refused(folder, clock=now, limits=LIMITS)
    assert [] == [one async for one in refused_records(folder, clock=now)]


async def test_draining_empties_and_removes_free_spools(far, tmp_path):
    """What waits is sent, told on the way, and empty spools are gone."""
    await leave(far, tmp_path, *(f"k-{n}" for n in range(30)))
    told = []

    end = await drain(far, tmp_path, told=told)

    assert Drained(30, 0, 0) == end
    assert (30, 30) == told[-1]
    assert [] == list_places(tmp_path)
    assert 30 == len(far.keys())


async def test_draining_leaves_held_spools_alone(far, tmp_path):
    """A spool that a process holds is that process's to drain."""
    far.is_away = True
    async with opened(far, tmp_path) as front:
        await front.append(record("a"))
        far.is_away = False

        assert Drained(0, 0, 0) == await drain(far, tmp_path)
        assert 1 == front.waiting


async def test_draining_gives_up_when_kafka_takes_nothing(far, tmp_path):
    """After its patience it ends, and everything still waits."""
    await leave(far, tmp_path, "a", "b")
    far.is_away = True

    assert Drained(0, 2, 0) == await drain(far, tmp_path, patience_s=0.3)
    (look,) = look_at_spools(tmp_path)
    assert {Topic.COMPLETIONS: 2} == look.waiting


async def test_refused_records_are_told_with_their_reason(far, tmp_path):
    """Key, size and Kafka's word for each record that is aside."""
    await leave_refused(far, tmp_path, "a", "b")

    found = [one async for one in refused_records(tmp_path, clock=now)]

    assert [("a", "too large for this topic"), ("b", "too large for this topic")] == [
        (one.record.key, one.problem) for one in found
    ]
    assert all(one.size > 100 for one in found)


async def test_a_retry_of_a_free_spool_lets_its_records_wait_again(far, tmp_path):
    """They are sent with the next draining."""
    await leave_refused(far, tmp_path, "a", "b")

    (retried,) = await retry_refused(tmp_path, clock=now, limits=LIMITS)
    end = await drain(far, tmp_path)

    assert (2, None) == (retried.records, retried.holder)
    assert Drained(2, 0, 0) == end
    assert {"a", "b"} == set(far.keys(Topic.DEAD_LETTERS))


async def test_a_retry_of_a_held_spool_asks_its_holder(far, tmp_path):
    """The process that holds it tries again by itself."""
    far.refused_topics = {Topic.DEAD_LETTERS}
    async with running(far, tmp_path) as front:
        await front.append(record("a", topic=Topic.DEAD_LETTERS))
        far.refused_topics = set()

        (retried,) = await retry_refused(tmp_path, clock=now, limits=LIMITS)
        await far.until(lambda: not front.refused and not front.waiting)

    assert 1 == retried.records
    assert retried.holder.startswith("process ")
    assert {"a": 1} == far.keys(Topic.DEAD_LETTERS)
