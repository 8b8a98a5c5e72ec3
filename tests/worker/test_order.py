"""The loop of a group: order, concurrency, and nothing committed before its effect."""

import asyncio
from collections import defaultdict
from contextlib import asynccontextmanager

from consumer.core.policy import Done
from consumer.errors import LogUnavailable
from consumer.testing.log import MemoryLog, MemorySubscription
from tests.worker.bench import Handler, all_committed, never, now, until, working

# ---------------------------------------------------------------- order and concurrency


async def test_records_of_a_key_are_handled_in_order(bench):
    """The records of one key are handled one after another, whatever each one takes."""
    seen = defaultdict(list)

    async def step(record, _attempt):
        await asyncio.sleep(0.004 if record.value == b"0" else 0)
        seen[record.key].append(record.value)
        return Done()

    worker = bench.worker(step)
    for n in range(6):
        for key in ("a", "b", "c"):
            await bench.put(key, b"%d" % n)

    async with working(worker):
        await all_committed(bench, 18)

    assert {key: [b"%d" % n for n in range(6)] for key in ("a", "b", "c")} == seen


async def test_keys_are_handled_at_once_up_to_a_limit(bench):
    """Different keys are handled at once, up to the limit and no further."""
    gate = asyncio.Event()

    async def step(_record, _attempt):
        await gate.wait()
        return Done()

    handler = Handler(step)
    for n in range(10):
        await bench.put(f"key-{n}", b"x")

    async with working(bench.worker(handler, concurrency=4)):
        await until(lambda: handler.at_once == 4)
        gate.set()
        await all_committed(bench, 10)

    assert 4 == handler.most_at_once


async def test_a_slow_key_holds_only_itself(bench):
    """While one key hangs, others are handled, and the low-water mark stays before it."""

    async def step(record, _attempt):
        if record.value == b"hangs":
            await asyncio.Event().wait()
        return Done()

    bench.log.store.partitions = 1
    await bench.put("a", b"1")
    await bench.put("slow", b"hangs")
    await bench.put("b", b"2", b"3")
    handler = Handler(step)

    async with working(bench.worker(handler)):
        await until(lambda: handler.done == [b"1", b"2", b"3"])
        await all_committed(bench, 1)

    assert 1 == await bench.committed()


# ---------------------------------------------------------------- commits and kills


async def test_nothing_is_committed_before_its_effect(bench):
    """A record in hand is not committed, and comes again after a kill."""
    await bench.put("a", b"1")
    first = Handler(never)
    async with working(bench.worker(first)):
        await until(lambda: first.handed)
    before = await bench.committed()

    second = Handler()
    async with working(bench.worker(second)):
        await all_committed(bench, 1)

    assert 0 == before
    assert [("a", b"1", 1)] == second.handed


class DeafLog(MemoryLog):
    """A log that refuses the next `refusals` commits."""

    refusals = 0

    @asynccontextmanager
    async def subscribe(self, group, topics, *, on_revoked=None):
        subscription = MemorySubscription(self, group, topics)
        commit = subscription.commit

        async def refusing(offsets):
            if self.refusals:
                self.refusals -= 1
                raise LogUnavailable("away")
            await commit(offsets)

        subscription.commit = refusing
        yield subscription


async def test_a_kill_between_effect_and_commit_repeats_the_effect(bench):
    """What was done but not committed is done again, and nothing is skipped."""
    bench.log = DeafLog(clock=now, store=bench.log.store)
    bench.log.refusals = 10**6
    await bench.put("a", b"1", b"2")
    first, second = Handler(), Handler()
    async with working(bench.worker(first)):
        await until(lambda: first.done == [b"1", b"2"])

    bench.log.refusals = 0
    async with working(bench.worker(second)):
        await all_committed(bench, 2)

    assert [b"1", b"2"] == second.done


async def test_a_commit_that_failed_is_tried_again(bench):
    """A commit that the log did not take is made later, though no further record comes."""
    bench.log = DeafLog(clock=now, store=bench.log.store)
    bench.log.refusals = 1
    await bench.put("a", b"1")

    async with working(bench.worker()):
        await all_committed(bench, 1)

    assert 0 == bench.log.refusals
