"""One producer's hold on records, where no broker is needed."""

import asyncio

import pytest

from consumer.errors import LogUnavailable
from consumer.log.kafka.permits import Permits
from consumer.log.kafka.place import KafkaLimits, KafkaPlace
from consumer.log.kafka.sending import Sending
from consumer.log.kafka.session import Session
from tests.kafka.publishing import record

NAME = "fal.completions"


def sending(number):
    lane = Permits(max_records=9, max_bytes=999).main
    return Sending(record(), NAME, 1, lane, number)


async def test_a_topic_that_goes_while_a_record_waits_is_a_fault_of_the_place():
    """A record that waits behind another of its key is told when its topic is gone."""
    place, limits = KafkaPlace(("127.0.0.1:9",), "fal."), KafkaLimits()
    session = Session(place, limits, batch_bytes=1000, on_end=lambda *_: None)
    first, second = sending(1), sending(2)
    session._partitions = {NAME: 3}
    session._adding[NAME, "key"] = first
    waiting = asyncio.create_task(session.send(second))
    await asyncio.sleep(0)
    session._partitions = {}
    first.added.set_result(None)

    try:
        with pytest.raises(LogUnavailable, match="is missing"):
            await waiting
    finally:
        await session.close()
