"""
Reading Kafka without a group: what is there, where it begins and ends, what groups committed.

Each question opens a client of its own and closes it: they are rare, and asked by commands
that look once.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from consumer.core.event import Topic
from consumer.errors import LogUnavailable
from consumer.log.kafka.clients import faults_as_ours, open_consumer, partitions_of, position_of
from consumer.log.kafka.place import KafkaPlace, client_options, group_name, topic_name, topic_of
from consumer.log.kafka.records import record_of
from consumer.ports import Place, Record

ANSWER = timedelta(seconds=10)
"""How long Kafka may take for one answer; a reading that gets no further fails after it."""

_AT_ONCE = 500
_TURN_MS = 500


async def read_offsets(place: KafkaPlace, topics: Sequence[Topic]) -> dict[Place, range]:
    """Return the offsets held, from the oldest up to the next. Raises LogUnavailable."""
    names = _names(place, topics)
    async with open_consumer(place, deadline=ANSWER, doing="reading offsets") as consumer:
        partitions = await partitions_of(consumer, list(names), deadline=ANSWER)
        spans = await _spans(consumer, partitions)
    return {(names[one.topic], one.partition): span for one, span in spans.items()}


async def read_committed(place: KafkaPlace, group: str) -> dict[Place, int]:
    """Return what a group has committed of our topics. Raises LogUnavailable."""
    admin = AIOKafkaAdminClient(**client_options(place))
    try:
        with faults_as_ours(f"reading what {group} committed"):
            async with asyncio.timeout(ANSWER.total_seconds()):
                await admin.start()
                found = await admin.list_consumer_group_offsets(group_name(place, group))
    finally:
        await admin.close()
    named = (
        (topic_of(place, one.topic), one.partition, mark.offset) for one, mark in found.items()
    )
    return {(topic, number): at for topic, number, at in named if topic is not None and at >= 0}


@dataclass(frozen=True, slots=True)
class Question:
    """What is read: topics, from places on (the oldest where none is named), of one key or all."""

    topics: Sequence[Topic]
    key: str | None = None
    start: Mapping[Place, int] = field(default_factory=dict)
    follow: bool = False


async def read_records(place: KafkaPlace, question: Question) -> AsyncGenerator[Record, None]:
    """
    Give the records that were there at the beginning, or, following, for ever.

    Raises LogUnavailable, also for a topic that does not exist.
    """
    names = _names(place, question.topics)
    async with open_consumer(place, deadline=ANSWER, doing="reading") as consumer:
        partitions = await partitions_of(consumer, list(names), deadline=ANSWER)
        spans = await _spans(consumer, partitions)
        consumer.assign(partitions)
        for one, span in spans.items():
            wanted = question.start.get((names[one.topic], one.partition), 0)
            # Beyond the end Kafka would begin at the oldest.
            consumer.seek(one, min(max(wanted, span.start), span.stop))
        ends = None if question.follow else {one: span.stop for one, span in spans.items()}
        async for record in _follow(consumer, ends, _chooser(names, question)):
            yield record


def _chooser(names: Mapping[str, Topic], question: Question) -> Callable[[Any], Record | None]:
    """Return what makes a record of a message, or nothing of one that is not asked for."""
    key = None if question.key is None else question.key.encode("utf-8", "surrogatepass")

    def choose(message: Any) -> Record | None:
        if key is not None and (message.key or b"") != key:
            return None
        topic = names[message.topic]
        if message.offset < question.start.get((topic, message.partition), 0):
            return None
        return record_of(topic, message)

    return choose


async def _follow(
    consumer: Any,
    ends: Mapping[TopicPartition, int] | None,
    choose: Callable[[Any], Record | None],
) -> AsyncGenerator[Record, None]:
    """Give what is chosen, up to the ends if there are any."""
    progress = _Progress(consumer, ends)
    while not progress.is_done():
        with faults_as_ours("reading"):
            found = await consumer.getmany(timeout_ms=_TURN_MS, max_records=_AT_ONCE)
        for partition, messages in found.items():
            for message in messages:
                if ends is not None and message.offset >= ends[partition]:
                    break
                record = choose(message)
                if record is not None:
                    yield record
        await progress.check(is_moving=bool(found))


class _Progress:
    """Whether a reading has come to its end, or does not get on."""

    def __init__(self, consumer: Any, ends: Mapping[TopicPartition, int] | None) -> None:
        self._consumer = consumer
        self._ends = ends
        self._loop = asyncio.get_running_loop()
        self._moved_at = self._loop.time()

    def is_done(self) -> bool:
        """Return whether every partition was read to its end. Never while following."""
        if self._ends is None:
            return False
        return all((position_of(self._consumer, p) or 0) >= end for p, end in self._ends.items())

    async def check(self, *, is_moving: bool) -> None:
        """Ask Kafka whether it is there, when nothing has come for a while."""
        now = self._loop.time()
        if is_moving:
            self._moved_at = now
        elif now - self._moved_at >= ANSWER.total_seconds():
            if self._ends is not None:
                raise LogUnavailable("reading: Kafka gives nothing more, though there is more")
            # Followed to the end: silence is news only if Kafka is silent too.
            await _spans(self._consumer, list(self._consumer.assignment()))
            self._moved_at = now


async def _spans(
    consumer: Any, partitions: Sequence[TopicPartition]
) -> dict[TopicPartition, range]:
    with faults_as_ours("reading offsets"):
        async with asyncio.timeout(ANSWER.total_seconds()):
            oldest = await consumer.beginning_offsets(partitions)
            ends = await consumer.end_offsets(partitions)
    return {one: range(oldest[one], ends[one]) for one in partitions}


def _names(place: KafkaPlace, topics: Sequence[Topic]) -> dict[str, Topic]:
    return {topic_name(place, topic): topic for topic in topics}
