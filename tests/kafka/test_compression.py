"""Others choose how they compress what they send."""

import asyncio

import pytest
from confluent_kafka import Producer

from consumer.core.event import Topic
from consumer.log.kafka.place import topic_name
from tests.conformance.log import gather
from tests.kafka.stage import Stage


@pytest.mark.parametrize("codec", ["gzip", "snappy", "lz4", "zstd"])
async def test_compressed_batches_are_read(kafka, topic_prefix, codec):
    """A batch comes out as it went in, whichever codec its sender chose."""
    stage = Stage(kafka.servers, topic_prefix)
    await stage.make_topics(Topic.COMMANDS)
    values = [b"%d" % number * 500 for number in range(20)]

    def send():
        producer = Producer({"bootstrap.servers": kafka.servers, "compression.type": codec})
        for value in values:
            producer.produce(topic_name(stage.place, Topic.COMMANDS), value, key="key")
        assert 0 == producer.flush(20)

    await asyncio.to_thread(send)
    async with stage.open() as log, log.subscribe("group", [Topic.COMMANDS]) as subscription:
        found = await gather(subscription, len(values))

    assert values == [record.value for record in found]
