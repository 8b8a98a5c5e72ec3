"""What the tests on a real Kafka share: a place with topics of its own, and logs on it."""

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from aiokafka import AIOKafkaProducer

from consumer.core.event import NewRecord, Topic
from consumer.devservers import make_topic
from consumer.log.kafka.log import ConsumerTimes, KafkaLog
from consumer.log.kafka.place import KafkaPlace, client_options, topic_name

SOON_S = 60
QUICK = ConsumerTimes(
    session=timedelta(seconds=6),  # the least that brokers allow by default
    heartbeat=timedelta(milliseconds=300),
    rebalance=timedelta(seconds=20),
    answer=timedelta(seconds=3),
    look_every=timedelta(milliseconds=300),
    stall=timedelta(seconds=2),
)


def now() -> datetime:
    return datetime.now(UTC)


@dataclass
class Stage:
    """Topics under a prefix of their own on one Kafka."""

    servers: str
    prefix: str
    times: ConsumerTimes = QUICK
    made: set[Topic] = field(default_factory=set)

    @property
    def place(self) -> KafkaPlace:
        return KafkaPlace(tuple(self.servers.split(",")), self.prefix, is_single_broker=True)

    async def make_topics(self, *topics, partitions=3, max_message_bytes=None) -> None:
        """Make what is missing of these topics, or of all."""
        wanted = set(topics or Topic) - self.made
        config = {"max.message.bytes": str(max_message_bytes)} if max_message_bytes else {}
        options = client_options(self.place)
        await asyncio.gather(
            *(
                make_topic(
                    options, topic_name(self.place, topic), partitions=partitions, config=config
                )
                for topic in wanted
            )
        )
        self.made |= wanted

    @asynccontextmanager
    async def open(self, *, members=None):
        """Open a log on this place."""
        async with KafkaLog.open(self.place, clock=now, times=self.times, members=members) as log:
            yield log

    async def send(self, topic: Topic, *messages, **options) -> None:
        """Send (key, value, headers) past our own publisher, as others might."""
        async with AIOKafkaProducer(**client_options(self.place), **options) as producer:
            for key, value, headers in messages:
                await producer.send_and_wait(
                    topic_name(self.place, topic), value, key=key, headers=headers
                )


def record(key="key", value=b"value", topic=Topic.COMPLETIONS) -> NewRecord:
    return NewRecord(topic, key, value, ())


async def until(holds) -> None:
    """Return when the condition holds, which may be a coroutine function."""
    async with asyncio.timeout(SOON_S):
        while True:
            found = holds()
            if await found if asyncio.iscoroutine(found) else found:
                return
            await asyncio.sleep(0.02)
