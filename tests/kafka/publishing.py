"""What the publisher's tests share: reading back, and records made to measure."""

import asyncio
from collections import defaultdict
from datetime import timedelta

from aiokafka import AIOKafkaConsumer

from consumer.core.event import NewRecord, Topic
from consumer.log.kafka.place import KafkaLimits, client_options, topic_name
from consumer.log.kafka.producer import KafkaPublisher

KIB = 1024
MIB = 1024 * 1024
PATIENT = KafkaLimits(send_deadline=timedelta(seconds=20))
"""For tests about what arrives, on a machine that may be busy."""


def open_publisher(place, limits=PATIENT, *, topics=(Topic.COMPLETIONS,)):
    """Open a publisher for one topic."""
    return KafkaPublisher.open(place, limits, topics=topics)


def record(key="key", value=b"value", topic=Topic.COMPLETIONS, headers=()):
    """Return a record."""
    return NewRecord(topic, key, value, headers)


def body(size, seed=0):
    """Return so many bytes that tell whose they are."""
    return seed.to_bytes(8, "big") + bytes(size - 8)


async def stored(place, topic=Topic.COMPLETIONS):
    """Return every record of a topic: by partition, in order, as the client reads them."""
    name = topic_name(place, topic)
    found = defaultdict(list)
    options = client_options(place)
    async with AIOKafkaConsumer(name, **options, auto_offset_reset="earliest") as consumer:
        places = sorted(consumer.assignment())
        assert places
        ends = await consumer.end_offsets(places)
        while [one for one in places if await consumer.position(one) < ends[one]]:
            for one, got in (await consumer.getmany(timeout_ms=500)).items():
                found[one.partition] += got
    return dict(found)


async def values_of(place, topic=Topic.COMPLETIONS):
    """Return the values of a topic, in no order between partitions."""
    return [one.value for held in (await stored(place, topic)).values() for one in held]


async def append_all(publisher, records):
    """Append all at once; return positions and errors in their order."""
    return await asyncio.gather(*(publisher.append(one) for one in records), return_exceptions=True)


async def begun(publisher):
    """Return once appends that were just started are in hand: a few turns of the loop."""
    for _ in range(5):
        await asyncio.sleep(0)
    assert publisher._active
