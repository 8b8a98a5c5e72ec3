"""What the tests on a real Kafka share: a place with topics of its own, and logs on it."""

import asyncio
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import TopicAlreadyExistsError

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
        await until(lambda: self._are_seen(wanted))
        self.made |= wanted

    async def _are_seen(self, topics) -> bool:
        """Tell whether the broker names these topics with their leaders; at first it may not."""
        admin = AIOKafkaAdminClient(**client_options(self.place))
        await admin.start()
        try:
            told = await admin.describe_topics([topic_name(self.place, one) for one in topics])
        finally:
            await admin.close()
        return all(
            not one["error_code"] and all(part["leader"] >= 0 for part in one["partitions"])
            for one in told
        )

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

    async def send_in_transactions(self, topic: Topic, count: int) -> None:
        """Send records of one key, each in a transaction of its own, which leaves a marker."""
        options = client_options(self.place)
        async with AIOKafkaProducer(**options, transactional_id=self.prefix) as producer:
            for number in range(count):
                async with producer.transaction():
                    await producer.send(topic_name(self.place, topic), b"%d" % number, key=b"key")

    async def make_anew(self, topic: Topic) -> None:
        """Delete a topic, and make it again under its name."""
        admin = AIOKafkaAdminClient(**client_options(self.place))
        await admin.start()
        try:
            await admin.delete_topics([topic_name(self.place, topic)])
        finally:
            await admin.close()
        self.made.discard(topic)

        async def is_made() -> bool:
            with suppress(TopicAlreadyExistsError):
                await self.make_topics(topic)
            return topic in self.made

        await until(is_made)


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
