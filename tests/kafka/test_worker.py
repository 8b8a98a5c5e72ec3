"""Workers that share a group on a real Kafka: rebalances in the middle of their work."""

import asyncio
from contextlib import suppress
from datetime import timedelta

from consumer.core.event import Topic
from consumer.core.policy import Done
from consumer.errors import LogUnavailable
from tests.kafka.stage import SOON_S, Stage, record, until
from tests.worker.bench import GROUP, Bench, Handler

PLACES = 3


async def all_committed(log, count: int) -> None:
    """Return when the group has committed so many records."""

    async def is_so():
        return sum((await log.committed(GROUP)).values()) == count

    await until(is_so)


async def ended(running) -> None:
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running


async def test_rebalances_lose_nothing_and_commit_nothing_unfinished(kafka, topic_prefix):
    """While members come and go each record is handled, and a mark never passes one that is not."""
    stage = Stage(kafka.servers, topic_prefix)
    await stage.make_topics(Topic.COMMANDS, partitions=PLACES)
    bench, done, total = Bench(), set(), 900
    passed = []
    stop, hang = asyncio.Event(), asyncio.Event()

    async def step(one, _attempt):
        if one.value == b"hangs":
            await hang.wait()
        await asyncio.sleep(0.002)
        done.add((one.position.partition, one.position.offset))
        return Done()

    async def look(log):
        for (_, partition), mark in (await log.committed(GROUP)).items():
            missing = {(partition, offset) for offset in range(mark)} - done
            passed.extend(missing)

    def worker(log):
        bench.log = log
        return bench.worker(
            Handler(step), concurrency=16, revoke_budget=timedelta(milliseconds=200)
        )

    async with stage.open() as first, stage.open() as second:
        workers = [asyncio.create_task(worker(first).run(stop))]
        for number in range(total):
            value = b"hangs" if number == 10 else b"%d" % number
            await first.append(record(f"key-{number % 60}", value, Topic.COMMANDS))
            if number == 300:
                workers.append(asyncio.create_task(worker(second).run(stop)))
            if number == 600:
                await look(first)
                await ended(workers.pop(0))
        await until(lambda: len(done) > total // 3)
        await look(second)
        hang.set()
        await all_committed(second, total)
        await look(second)
        stop.set()
        async with asyncio.timeout(SOON_S):
            await asyncio.gather(*workers)

    assert [] == passed
    assert total == len(done)


async def test_a_worker_waits_for_its_topics(kafka, topic_prefix):
    """A worker that is started before its topics exist begins when they do."""
    stage = Stage(kafka.servers, topic_prefix)
    bench, handler, stop = Bench(), Handler(), asyncio.Event()
    async with stage.open() as log:
        bench.log = log
        running = asyncio.create_task(bench.worker(handler).run(stop))
        await asyncio.sleep(0)
        await stage.make_topics()
        await until(lambda: _taken(log))
        await until(lambda: handler.done)
        stop.set()
        async with asyncio.timeout(SOON_S):
            await running
        committed = await log.committed(GROUP)

    assert [1] == list(committed.values())


async def _taken(log) -> bool:
    with suppress(LogUnavailable):
        await log.append(record(topic=Topic.COMMANDS))
        return True
    return False
