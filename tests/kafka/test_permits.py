"""Room on the way to Kafka: caps, lanes, and nobody who waits for ever."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.log.kafka.permits import Permits

MIB = 1024 * 1024


def permits(records=10, size=100):
    return Permits(max_records=records, max_bytes=size)


async def settle():
    """Let every task run that can."""
    for _ in range(5):
        await asyncio.sleep(0)


def test_bytes_are_capped():
    """What does not fit is not let in, and what left makes room."""
    main = permits(size=100).main

    assert main.maybe_take(60)
    assert not main.maybe_take(60)
    main.give_back(60)
    assert main.maybe_take(60)


def test_records_are_capped():
    """So many records, however small."""
    main = permits(records=2).main

    assert [True, True, False] == [main.maybe_take(1) for _ in range(3)]


def test_a_record_larger_than_the_whole_passes_alone():
    """A giant is let in when nothing else is there, and nothing beside it."""
    main = permits(size=100).main

    assert main.maybe_take(1000)
    assert not main.maybe_take(1)


def test_a_lane_has_its_own_part():
    """A full lane leaves the others their part, both ways."""
    whole = permits(records=100, size=100)
    drain = whole.lane(0.25)

    assert [True, False] == [drain.maybe_take(20), drain.maybe_take(20)]
    assert [True, False] == [whole.main.maybe_take(75), whole.main.maybe_take(1)]


async def test_a_wait_ends_with_room():
    """Who waits is let in as soon as there is room, in order."""
    main = permits(size=100).main
    assert main.maybe_take(100)
    order = []

    async def enter(name, size):
        await main.take(size)
        order.append(name)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(enter("first", 80))
        tasks.create_task(enter("second", 30))
        await settle()
        main.give_back(100)
        await settle()
        assert ["first"] == order
        main.give_back(80)

    assert ["first", "second"] == order


async def test_nobody_overtakes_who_waits():
    """A small record does not slip past a large one that waits for the same room."""
    whole = permits(records=100, size=100)
    drain = whole.lane(0.1)
    assert whole.main.maybe_take(90)
    large = asyncio.create_task(drain.take(50))  # larger than its lane's part: passes alone
    await settle()
    whole.main.give_back(90)
    await settle()
    assert large.done()

    assert whole.main.maybe_take(50)
    second = asyncio.create_task(drain.take(50))
    await settle()
    whole.main.give_back(50)
    drain.give_back(50)
    await second


async def test_small_live_records_cannot_starve_a_large_one_of_the_backlog():
    """Once a large record waits for the whole, even a lane with room left waits behind it."""
    whole = permits(records=100, size=100)
    drain = whole.lane(0.25)
    for _ in range(7):
        assert whole.main.maybe_take(10)
    large = asyncio.create_task(drain.take(60))
    await settle()

    assert not whole.main.maybe_take(5)
    for _ in range(3):
        whole.main.give_back(10)
    await settle()
    assert large.done()
    assert not whole.main.maybe_take(5)


async def test_a_cancelled_wait_takes_nothing():
    """Who is cancelled while waiting, or in the moment of being let in, holds no room."""
    whole = permits(size=100)
    main = whole.main
    assert main.maybe_take(100)
    waiting = asyncio.create_task(main.take(50))
    lucky = asyncio.create_task(main.take(60))
    await settle()
    waiting.cancel()
    await settle()
    main.give_back(100)
    lucky.cancel()
    for task in (waiting, lucky):
        with pytest.raises(asyncio.CancelledError):
            await task

    assert (0, 0, 0) == (whole.records, whole.bytes, whole.waiting)
    assert main.maybe_take(100)


@given(
    st.lists(st.tuples(st.booleans(), st.integers(1, 150), st.booleans()), max_size=40),
    st.randoms(use_true_random=False),
)
def test_caps_hold_and_everybody_gets_in(arrivals, random):
    """Whatever comes, the whole is never over its cap but for one alone, and all get in."""

    async def run():
        whole = permits(records=8, size=100)
        lanes = {False: whole.main, True: whole.lane(0.3)}
        held, passed = [], []

        async def enter(is_drain, size):
            await lanes[is_drain].take(size)
            assert whole.bytes <= 100 or 1 == whole.records
            assert whole.records <= 8
            held.append((is_drain, size))
            passed.append(size)

        async with asyncio.TaskGroup() as tasks:
            count = 0
            for is_drain, size, leaves in arrivals:
                if leaves and held:
                    lane, taken = held.pop(random.randrange(len(held)))
                    lanes[lane].give_back(taken)
                tasks.create_task(enter(is_drain, size))
                count += 1
                await settle()
            while len(passed) < count or held:
                lane, taken = held.pop(random.randrange(len(held)))
                lanes[lane].give_back(taken)
                await settle()
        assert (0, 0, 0) == (whole.records, whole.bytes, whole.waiting)

    asyncio.run(run())
