"""Emptying a spool: what is in nobody's way, what is set aside, what a stop leaves."""

import asyncio
from collections import Counter
from dataclasses import replace
from time import monotonic

import pytest

from consumer.core.event import Topic
from tests.spool.stage import LIMITS, FarSide, opened, record, running


@pytest.fixture
def far():
    return FarSide()


async def fill(far, folder, new_records) -> None:
    """Leave records in a spool that nobody holds."""
    far.is_away = True
    async with opened(far, folder) as front:
        await asyncio.gather(*(front.append(one) for one in new_records))
    far.is_away = False
    far.tries.clear()


def first_letter(far) -> dict[str, str]:
    (letter,) = far.log.records(Topic.DEAD_LETTERS)
    return {name: value.decode() for name, value in letter.headers}


async def test_everything_arrives_as_it_was(far, tmp_path):
    """Records of all topics arrive byte for byte, with their headers, and the spool is empty."""
    records = [record(f"{topic}-{n}", topic=topic) for topic in Topic for n in range(20)]
    await fill(far, tmp_path, records)

    async with running(far, tmp_path) as front:
        await far.until(lambda: not front.waiting)

    found = {r.key: (r.position.topic, r.value, r.headers) for r in far.log.records()}
    assert {r.key: (r.topic, r.value, r.headers) for r in records} == found


async def test_a_second_start_sends_nothing_again(far, tmp_path):
    """What was acknowledged and committed is gone from the spool."""
    await fill(far, tmp_path, [record(f"k-{n}") for n in range(50)])
    async with running(far, tmp_path) as front:
        await far.until(lambda: not front.waiting)
    far.tries.clear()

    async with running(far, tmp_path) as front:
        assert 0 == front.waiting
        await asyncio.sleep(0.1)

    assert Counter() == far.tries


async def test_while_kafka_is_away_a_few_try_at_a_time(far, tmp_path):
    """The backlog feels its way: few tries at once, and not all of it."""
    await fill(far, tmp_path, [record(f"k-{n}") for n in range(300)])
    far.is_away = True
    async with running(far, tmp_path) as front:
        await front.append(record("live"))
        await far.until(lambda: not far.at_once)
        far.most_at_once = 0
        far.tries.clear()
        await far.until(lambda: far.tries)
        await asyncio.sleep(0.5)

        assert far.most_at_once <= 4
        assert far.tries.total() < 40
        far.is_away = False
        await far.until(lambda: not front.waiting)

    assert 301 == len(far.keys())


async def test_a_stuck_record_goes_to_the_end_and_stays_safe(far, tmp_path):
    """One that Kafka does not take while others go leaves its place, and comes in the end."""
    await fill(far, tmp_path, [record(f"k-{n}") for n in range(30)])
    far.stuck_keys = {"k-3"}
    async with running(far, tmp_path) as front:
        await far.until(lambda: front.waiting == 1)
        await far.until(lambda: far.tries["k-3"] > 1)
    async with opened(far, tmp_path) as front:
        assert 1 == front.waiting
    far.stuck_keys = set()
    async with running(far, tmp_path) as front:
        await far.until(lambda: not front.waiting)

    (late,) = [found for found in far.log.records() if found.key == "k-3"]
    assert record("k-3").headers == late.headers
    assert Counter(f"k-{n}" for n in range(30)) == far.keys()


async def test_a_topic_without_rights_holds_back_only_itself(far, tmp_path):
    """All of one topic stays, untouched by the others that go, until it may be written again."""
    bad = [record(f"bad-{n}") for n in range(40)]
    good = [record(f"good-{n}", topic=Topic.LIFECYCLE) for n in range(40)]
    await fill(far, tmp_path, [one for pair in zip(bad, good, strict=True) for one in pair])
    far.stuck_topics = {Topic.COMPLETIONS}
    async with running(far, tmp_path) as front:
        await far.until(lambda: front.waiting == 40)
        assert {one.key for one in good} == set(far.keys())
        far.stuck_topics = set()
        await far.until(lambda: not front.waiting)

    assert {one.key for one in good + bad} == set(far.keys())


async def test_a_refused_record_becomes_a_dead_letter(far, tmp_path):
    """What Kafka refuses goes whole to the dead letters, with reason and origin."""
    far.refused_keys = {"k-1"}
    await fill(far, tmp_path, [record(f"k-{n}") for n in range(3)])

    async with running(far, tmp_path) as front:
        await far.until(lambda: not front.waiting)

    headers = first_letter(far)
    time = headers.pop("dltime")
    assert {
        "ce_id": "k-1",
        "dlreason": "record_refused",
        "dlproblem": "too large for this topic",
        "dlorigin": "spool",
        "dlattempts": "1",
    } == headers
    assert time.endswith("Z")
    assert record("k-1").value == far.log.records(Topic.DEAD_LETTERS)[0].value
    assert Counter(["k-0", "k-2"]) == far.keys(Topic.COMPLETIONS)


async def test_what_is_refused_as_a_dead_letter_too_is_kept_aside(far, tmp_path):
    """It leaves the others' way, is never lost, and is tried again on demand."""
    far.refused_topics = {Topic.COMPLETIONS, Topic.DEAD_LETTERS}
    await fill(far, tmp_path, [record("k"), record("other", topic=Topic.LIFECYCLE)])
    async with running(far, tmp_path) as front:
        await far.until(lambda: front.refused == 1 and not front.waiting)
    assert Counter(["other"]) == far.keys()

    far.refused_topics = set()
    async with running(far, tmp_path) as front:
        assert (0, 1) == (front.waiting, front.refused)
        (spool,) = tmp_path.iterdir()
        (spool / "retry").touch()
        await far.until(lambda: not front.refused and far.keys(Topic.DEAD_LETTERS))
        await far.until(lambda: not (spool / "retry").exists())

    headers = first_letter(far)
    assert "record_refused" == headers["dlreason"]
    assert not [name for name in headers if name.startswith("spool-")]


async def test_large_records_pass(far, tmp_path):
    """Records of megabytes wait and leave like any other."""
    await fill(far, tmp_path, [record(f"k-{n}", size=5 << 20) for n in range(6)])

    async with running(far, tmp_path) as front:
        await far.until(lambda: not front.waiting)

    assert [5 << 20] * 6 == [len(found.value) for found in far.log.records()]


async def test_a_stop_while_kafka_is_away_is_quick(far, tmp_path):
    """A stop does not wait for Kafka; what waits stays for the next start."""
    await fill(far, tmp_path, [record(f"k-{n}") for n in range(100)])
    far.is_away, far.deadline_s = True, 5
    async with opened(far, tmp_path) as front:
        stop = asyncio.Event()
        run = asyncio.create_task(front.run(stop))
        await far.until(lambda: far.tries.total() > 0)
        began = monotonic()
        stop.set()
        await run
        took = monotonic() - began
        assert 100 == front.waiting

    assert took < 3


async def test_a_stop_finishes_what_is_on_its_way(far, tmp_path):
    """Sends in hand are finished and committed within the budget, and not sent again."""
    await fill(far, tmp_path, [record(f"k-{n}") for n in range(100)])
    async with opened(far, tmp_path) as front:
        stop = asyncio.Event()
        run = asyncio.create_task(front.run(stop))
        await far.until(lambda: far.keys().total() > 0)
        stop.set()
        await run
    async with running(far, tmp_path) as front:
        await far.until(lambda: not front.waiting)

    assert Counter(f"k-{n}" for n in range(100)) == far.keys()


async def test_nothing_acknowledged_is_left_behind_those_given_up(far, tmp_path):
    """What is accepted after many that were given up arrives while the process runs."""
    far.is_away = True
    async with running(far, tmp_path) as front:
        await front.append(record("first"))
        given_up = [
            asyncio.create_task(front.append(record(f"gone-{n}", size=1 << 20))) for n in range(20)
        ]
        await asyncio.sleep(0)
        for one in given_up:
            one.cancel()
        await asyncio.wait(given_up)
        await front.append(record("kept"))
        far.is_away = False
        await far.until(lambda: not front.waiting)

        assert 1 <= far.keys()["kept"]


async def test_a_record_at_the_limit_stays_where_it_is(far, tmp_path):
    """One that would be too large for the spool with its mark is tried on in its place."""
    stuck = record("stuck", size=1000)
    limits = replace(LIMITS, max_record_bytes=stuck.size)
    far.stuck_keys.add("stuck")
    async with running(far, tmp_path, limits=limits) as front:
        await front.append(stuck)
        await asyncio.gather(*(front.append(record(f"k-{n}")) for n in range(9)))
        await far.until(lambda: 9 == len(far.keys()))
        tries = far.tries["stuck"]
        await far.until(lambda: far.tries["stuck"] > tries)
        await front.append(record("k-9"))
        await far.until(lambda: far.tries["stuck"] > tries + 1)
        far.stuck_keys.clear()
        await far.until(lambda: not front.waiting)

    assert 11 == len(far.keys())
