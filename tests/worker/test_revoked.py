"""Places that move to another member: what is finished, what is committed, what is forgotten."""

import asyncio
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest

from consumer.core.event import NewRecord, Topic
from consumer.core.policy import Done
from consumer.errors import LogUnavailable
from consumer.testing.log import MemoryLog
from tests.worker.bench import GROUP, HEADERS, SOON_S, TOPIC, Handler, all_committed, until, working

PLACE = (TOPIC, 0)


class Watched(MemoryLog):
    """A log that hands its last subscription to the test."""

    subscription = None
    openings = 0
    refusals = 0

    @asynccontextmanager
    async def subscribe(self, group, topics, *, on_revoked=None):
        if self.refusals:
            self.refusals -= 1
            raise LogUnavailable("away")
        self.openings += 1
        async with super().subscribe(group, topics, on_revoked=on_revoked) as subscription:
            self.subscription = subscription
            yield subscription


@pytest.fixture
def log(bench) -> Watched:
    bench.log = Watched(clock=bench.read_clock, store=bench.log.store)
    bench.log.store.partitions = 1
    return bench.log


async def test_what_is_in_hand_is_finished_and_committed(bench, log):
    """Within its budget a revoke waits for what is in hand, and commits it."""
    gate = asyncio.Event()

    async def step(_record, _attempt):
        await gate.wait()
        return Done()

    handler = Handler(step)
    await bench.put("a", b"1", b"2")
    async with working(bench.worker(handler)):
        await until(lambda: handler.handed)
        revoking = asyncio.create_task(log.subscription.revoke(PLACE))
        await asyncio.sleep(0)
        gate.set()
        await asyncio.wait_for(revoking, SOON_S)
        committed = await bench.committed()
        await bench.put("a", b"3")
        await all_committed(bench, 3)

    assert 2 == committed
    assert [b"1", b"2", b"3"] == handler.done


async def test_what_is_unfinished_is_cut_and_comes_again(bench, log):
    """What the budget does not finish is cut, not committed, and handled again by the next."""
    hangs = True

    async def step(record, _attempt):
        if record.value == b"hangs" and hangs:
            await asyncio.Event().wait()
        return Done()

    handler = Handler(step)
    await bench.put("a", b"1")
    await bench.put("b", b"hangs", b"after")
    async with working(bench.worker(handler, revoke_budget=timedelta(milliseconds=30))):
        await until(lambda: b"1" in handler.done and handler.at_once == 1)
        await asyncio.wait_for(log.subscription.revoke(PLACE), SOON_S)
        committed, at_once = await bench.committed(), handler.at_once
        hangs = False
        await all_committed(bench, 3)

    assert (1, 0) == (committed, at_once)
    assert [b"1", b"hangs", b"after"] == handler.done
    assert 2 == sum(value == b"hangs" for _, value, _ in handler.handed)


async def test_a_late_end_of_a_revoked_record_counts_nothing(bench, log):
    """A handler that will not be cut does not move the mark of the place's next time."""
    ends = [asyncio.Event(), asyncio.Event()]
    begun = []

    async def step(record, _attempt):
        if record.value != b"stubborn":
            return Done()
        end = ends[len(begun)]
        begun.append(record)
        while not end.is_set():
            try:
                await end.wait()
            except asyncio.CancelledError:  # as no handler of ours does
                continue
        return Done()

    handler = Handler(step)
    await bench.put("a", b"stubborn")
    async with working(bench.worker(handler, revoke_budget=timedelta(milliseconds=10))):
        await until(lambda: len(begun) == 1)
        await asyncio.wait_for(log.subscription.revoke(PLACE), SOON_S)
        ends[0].set()
        await until(lambda: len(begun) == 2)
        await bench.put("b", b"2")
        await until(lambda: b"2" in handler.done)
        committed = await bench.committed()
        ends[1].set()
        await all_committed(bench, 2)

    assert 0 == committed


async def test_a_chain_goes_on_with_the_records_of_other_places(bench, log):
    """Of a key's records on two topics only those of the revoked place are dropped."""
    gate = asyncio.Event()

    async def step(record, _attempt):
        if record.value == b"first":
            await gate.wait()
        return Done()

    handler = Handler(step)
    handler.topics = (TOPIC, Topic.RESULTS)
    await bench.log.append(NewRecord(TOPIC, "a", b"first", HEADERS))
    await bench.log.append(NewRecord(Topic.RESULTS, "a", b"other", HEADERS))
    async with working(bench.worker(handler, revoke_budget=timedelta(milliseconds=30))):
        await until(lambda: handler.at_once == 1)
        await asyncio.wait_for(log.subscription.revoke(PLACE), SOON_S)
        await until(lambda: b"other" in handler.done)
        gate.set()
        await all_committed(bench, 2)

    assert sorted([b"first", b"other"]) == sorted(handler.done)
    assert 1 == sum(value == b"other" for _, value, _ in handler.handed)


async def test_a_place_too_far_from_its_mark_is_left_out(bench, log):
    """Behind a record that hangs no more than the distance is taken; other places go on."""
    gate = asyncio.Event()

    async def step(record, _attempt):
        if record.value == b"hangs":
            await gate.wait()
        return Done()

    handler = Handler(step)
    handler.topics = (TOPIC, Topic.RESULTS)
    await bench.put("slow", b"hangs")
    for n in range(20):
        await bench.put(f"key-{n}", b"%d" % n)
    async with working(bench.worker(handler, max_distance=5, max_in_hand=2)):
        await until(lambda: len(handler.done) >= 4)
        await bench.log.append(NewRecord(Topic.RESULTS, "other", b"other", HEADERS))
        await until(lambda: b"other" in handler.done)
        taken = len(handler.handed)
        gate.set()
        await all_committed(bench, 22)

    assert taken <= 5 + 2 + 1


async def test_a_subscription_that_fails_again_and_again_is_opened_anew(bench, log):
    """After polls that fail in a row the subscription is opened again, and nothing is lost."""
    handler = Handler()
    await bench.put("a", b"1")
    async with working(bench.worker(handler)):
        await all_committed(bench, 1)

        async def stalled(**_named):
            raise LogUnavailable("reading stalled")

        log.subscription.poll = stalled
        await until(lambda: log.openings == 2)
        await bench.put("a", b"2")
        await all_committed(bench, 2)

    assert [b"1", b"2"] == handler.done


async def test_a_log_that_cannot_be_opened_is_tried_again(bench, log):
    """A subscription that cannot be opened at the start is tried again, until it can."""
    log.refusals = 2
    await bench.put("a", b"1")
    async with working(bench.worker()):
        await all_committed(bench, 1)

    assert (0, 1) == (log.refusals, log.openings)


async def test_a_stop_ends_a_worker_that_never_opened(bench, log):
    """A worker that waits for its log to come stops at once when told to."""
    log.refusals = 10**6
    stop = asyncio.Event()
    running = asyncio.create_task(bench.worker().run(stop))
    await until(lambda: log.refusals < 10**6 - 1)
    stop.set()

    await asyncio.wait_for(running, SOON_S)

    assert {} == await log.committed(GROUP)
