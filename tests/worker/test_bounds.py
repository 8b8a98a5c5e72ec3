"""Bounds: how much is in hand, how long a stop lasts, and how long a pause."""

import asyncio
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest

from consumer.core.policy import Done
from consumer.errors import LogUnavailable
from consumer.testing.log import MemoryLog, MemorySubscription
from consumer.worker import Worker, _pause_s
from tests.worker.bench import SOON_S, Handler, all_committed, never, now, until, working

# ---------------------------------------------------------------- what is in hand


@pytest.mark.parametrize("limits", [{"max_in_hand": 5}, {"max_in_hand_bytes": 50}])
async def test_no_more_is_taken_than_fits(bench, limits):
    """While the bound is reached no record is taken; when one is done the next is."""
    gate = asyncio.Event()

    async def step(_record, _attempt):
        await gate.wait()
        return Done()

    handler = Handler(step)
    bench.log.store.partitions = 1
    for n in range(5):
        await bench.put(f"key-{n}", b"0123456789")
    async with working(bench.worker(handler, **limits)):
        await until(lambda: handler.at_once == 5)
        for n in range(5, 40):
            await bench.put(f"key-{n}", b"0123456789")
        await asyncio.sleep(0)
        most = len(handler.handed)
        gate.set()
        await all_committed(bench, 40)

    assert 5 == most


async def test_a_full_worker_waits_without_spinning(bench):
    """While it is full and a commit takes its time, the loop is not kept busy."""
    turns = 0
    committing, gate = asyncio.Event(), asyncio.Event()

    class SlowSubscription(MemorySubscription):
        async def commit(self, offsets):
            committing.set()
            await gate.wait()
            await super().commit(offsets)

    class StuckLog(MemoryLog):
        @asynccontextmanager
        async def subscribe(self, group, topics, *, on_revoked=None):
            yield SlowSubscription(self, group, topics)

    async def step(record, _attempt):
        return Done() if record.value == b"1" else await never(record, 1)

    bench.log = StuckLog(clock=now, store=bench.log.store)
    await bench.put("a", b"1", b"2" * 100)
    worker = bench.worker(step, max_in_hand_bytes=50)

    class Counted(Worker):
        async def _wait_for_room(self, stopped):
            nonlocal turns
            turns += 1
            await super()._wait_for_room(stopped)

    worker.__class__ = Counted
    async with working(worker):
        await asyncio.wait_for(committing.wait(), SOON_S)
        for _ in range(100):
            await asyncio.sleep(0)
        gate.set()

    assert turns < 5


# ---------------------------------------------------------------- stopping


class SlowLog(MemoryLog):
    """A log whose commits take a while."""

    @asynccontextmanager
    async def subscribe(self, group, topics, *, on_revoked=None):
        subscription = MemorySubscription(self, group, topics)
        commit = subscription.commit

        async def slow(offsets):
            for _ in range(10):
                await asyncio.sleep(0)
            await commit(offsets)

        subscription.commit = slow
        yield subscription


async def test_a_stop_drains_what_is_in_hand(bench):
    """A stop finishes what is in hand, and commits it before the subscription ends."""
    gate, stop = asyncio.Event(), asyncio.Event()

    class Draining(Worker):
        async def _drain(self, places, budget):
            gate.set()
            await super()._drain(places, budget)

    async def step(_record, _attempt):
        await gate.wait()
        return Done()

    bench.log = SlowLog(clock=now, store=bench.log.store)
    handler = Handler(step)
    worker = bench.worker(handler)
    worker.__class__ = Draining
    await bench.put("a", b"1", b"2")
    running = asyncio.create_task(worker.run(stop))
    await until(lambda: handler.handed)
    stop.set()
    async with asyncio.timeout(SOON_S):
        await running

    assert 2 == await bench.committed()


async def test_a_stop_keeps_to_its_budget(bench):
    """What the budget does not finish is cut, stays uncommitted, and comes again."""
    stop = asyncio.Event()

    async def step(record, _attempt):
        return Done() if record.value == b"1" else await never(record, 1)

    first, second = Handler(step), Handler()
    await bench.put("a", b"1", b"2")
    budget = timedelta(milliseconds=30)
    running = asyncio.create_task(bench.worker(first, stop_budget=budget).run(stop))
    await until(lambda: len(first.handed) == 2)
    stop.set()
    async with asyncio.timeout(SOON_S):
        await running
    committed = await bench.committed()

    async with working(bench.worker(second)):
        await all_committed(bench, 2)

    assert (1, 0) == (committed, first.at_once)
    assert [b"2"] == second.done


# ---------------------------------------------------------------- a log that is away


class AbsentLog(MemoryLog):
    """A log whose polls fail; `failures` of them, then it is back."""

    failures = 0

    @asynccontextmanager
    async def subscribe(self, group, topics, *, on_revoked=None):
        subscription = MemorySubscription(self, group, topics)
        poll = subscription.poll

        async def failing(**named):
            if self.failures:
                self.failures -= 1
                raise LogUnavailable("away")
            return await poll(**named)

        subscription.poll = failing
        yield subscription


async def test_a_log_that_is_away_is_asked_again(bench):
    """A worker survives a log that gives nothing, and goes on when it is back."""
    bench.log = AbsentLog(clock=now, store=bench.log.store)
    bench.log.failures = 2
    await bench.put("a", b"1")

    async with working(bench.worker()):
        await all_committed(bench, 1)


def test_the_pause_is_bounded_however_long_the_log_is_away():
    """The pause doubles up to five seconds, after any number of failures."""
    assert [0.2, 0.4, 0.8] == [_pause_s(n) for n in (1, 2, 3)]
    assert 5.0 == _pause_s(10**6)
