"""The spool in front of a real Kafka: absent at the start, gone under load, refusing."""

import asyncio
from collections import Counter
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import pytest

from consumer.core.event import NewRecord, Topic
from consumer.devservers import make_topic, open_kafka
from consumer.log.kafka.log import KafkaLog
from consumer.log.kafka.place import KafkaLimits, KafkaPlace, topic_name
from consumer.log.kafka.producer import KafkaPublisher
from consumer.log.spool.publisher import Lanes, SpooledPublisher
from consumer.log.spool.spool import NOWHERE, SpoolLimits
from consumer.telemetry import Metrics

pytestmark = pytest.mark.timeout(120)

SOON_S = 60
LIMITS = SpoolLimits(reserve_bytes=0, stop_budget=timedelta(seconds=1))
SENDING = KafkaLimits(send_deadline=timedelta(seconds=1))
USED = (Topic.COMPLETIONS, Topic.DEAD_LETTERS)


def now() -> datetime:
    return datetime.now(UTC)


def record(key, size=1000):
    return NewRecord(Topic.COMPLETIONS, key, key.encode().ljust(size, b"."), (("ce_id", b"1"),))


@asynccontextmanager
async def running(place, folder):
    """The front on a Kafka, draining until the context ends."""
    async with (
        KafkaPublisher.open(place, SENDING, topics=USED) as kafka,
        SpooledPublisher.open(
            Lanes(kafka, kafka.lane(0.5)), folder, clock=now, limits=LIMITS, metrics=Metrics()
        ) as front,
    ):
        stop = asyncio.Event()
        run = asyncio.create_task(front.run(stop))
        try:
            yield front
        finally:
            stop.set()
            async with asyncio.timeout(SOON_S):
                await run


async def until(condition) -> None:
    """Return once the condition holds, looking often."""
    async with asyncio.timeout(SOON_S):
        while not condition():  # noqa: ASYNC110  what is asked has no event
            await asyncio.sleep(0.02)


async def make_topics(options, place, **config) -> None:
    for topic in USED:
        settings = {"max.message.bytes": str(config.get(topic.name.lower(), 1 << 20))}
        await make_topic(options, topic_name(place, topic), partitions=3, config=settings)


async def read(place, topic) -> list:
    async with KafkaLog.open(place, clock=now) as log:
        return [found async for found in log.read([topic])]


async def test_nothing_is_lost_over_an_outage(own_brokers, tmp_path):
    """Accepted without a broker, with one, while it is killed, and stopped without it: all come."""
    keys = (f"k-{n}" for n in range(10_000))
    async with open_kafka(tmp_path / "kafka", brokers=1) as cluster:
        place = KafkaPlace(tuple(cluster.servers.split(",")), is_single_broker=True)
        await make_topics(cluster.client_options(), place)
        (broker,) = cluster.brokers
        await broker.kill()
        taken = []

        async def take(count) -> list:
            chosen = [next(keys) for _ in range(count)]
            positions = await asyncio.gather(*(front.append(record(key)) for key in chosen))
            taken.extend(chosen)
            return positions

        async with running(place, tmp_path / "spool") as front:
            assert {NOWHERE} == {position.partition for position in await take(200)}
            await broker.start()
            await until(lambda: not front.waiting and not front.describes())
            assert NOWHERE not in {position.partition for position in await take(200)}
            sending = asyncio.create_task(take(300))
            await asyncio.sleep(0.02)
            await broker.kill()
            await sending
            await take(100)
            left = front.waiting
        await broker.start()
        await cluster.wait_ready()
        async with running(place, tmp_path / "spool") as front:
            await until(lambda: not front.waiting)
        found = Counter(one.key for one in await read(place, Topic.COMPLETIONS))

    assert left >= 100
    assert (set(), 800) == (set(taken) - set(found), len(found))


async def test_what_is_too_large_is_set_aside_by_the_drain(kafka, topic_prefix, tmp_path):
    """One that the topic refuses becomes a dead letter, one refused there too is kept aside."""
    place = KafkaPlace(tuple(kafka.servers.split(",")), topic_prefix, is_single_broker=True)
    nowhere = KafkaPlace(("127.0.0.1:1",), topic_prefix, is_single_broker=True)
    options = {"bootstrap_servers": kafka.servers}
    await make_topics(options, place, completions=20_000, dead_letters=100_000)
    async with running(nowhere, tmp_path) as front:
        for key, size in (("a", 1000), ("letter", 50_000), ("refused", 200_000), ("b", 1000)):
            await front.append(record(key, size))

    async with running(place, tmp_path) as front:
        await until(lambda: not front.waiting)
        assert 1 == front.refused
    letters = await read(place, Topic.DEAD_LETTERS)

    assert {"a", "b"} == {one.key for one in await read(place, Topic.COMPLETIONS)}
    assert [("letter", record("letter", 50_000).value)] == [(one.key, one.value) for one in letters]
