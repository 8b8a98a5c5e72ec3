"""
Joining a group on Kafka: the client of a member, its options, and what the group tells it.

What a member then reads is `subscription`'s.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

from aiokafka import ConsumerRebalanceListener
from aiokafka.coordinator.assignors.range import RangePartitionAssignor

from consumer.core.event import Topic
from consumer.log.kafka.clients import open_consumer, partitions_of
from consumer.log.kafka.place import KafkaPlace, group_name, topic_name
from consumer.log.kafka.subscription import KafkaSubscription, kept
from consumer.log.kafka.times import ConsumerTimes
from consumer.ports import OnRevoked

_FETCH_BYTES = 16 * 1024 * 1024
_METADATA_MS = 30_000
_NEVER_MS = 24 * 3600 * 1000
# A pump that stands still shows in the watch; leaving the group would only hide it.


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka has no types
    """Tells a subscription what its group decided. Every rebalance takes all places first."""

    def __init__(self, subscription: KafkaSubscription) -> None:
        self._subscription = subscription

    async def on_partitions_revoked(self, revoked: object) -> None:  # noqa: ARG002  all of them
        await self._subscription.let_go()

    async def on_partitions_assigned(self, assigned: object) -> None:  # noqa: ARG002
        await self._subscription.take_over()


@asynccontextmanager
async def open_subscription(  # noqa: PLR0913  what a membership is made of
    place: KafkaPlace,
    group: str,
    topics: Sequence[Topic],
    *,
    times: ConsumerTimes = ConsumerTimes(),  # noqa: B008  frozen
    member: str | None = None,
    on_revoked: OnRevoked | None = None,
) -> AsyncIterator[KafkaSubscription]:
    """
    Join a group under a member's lasting name, or for once without one, until leaving.

    Who leaves under a lasting name keeps its places for the session, for itself to come back.
    Raises LogUnavailable when Kafka does not answer, or does not have the topics.
    """
    names = {topic_name(place, topic): topic for topic in topics}
    options = _group_options(times, group_name(place, group), member)
    doing = f"joining group {group}"
    async with open_consumer(place, deadline=times.opening, doing=doing, **options) as consumer:
        partitions = await partitions_of(consumer, list(names), deadline=times.opening)
        subscription = KafkaSubscription(
            consumer, partitions, names, times=times, on_revoked=on_revoked
        )
        # When it breaks, nothing tells of new leaders and partitions any more.
        consumer._client._sync_task.add_done_callback(subscription.end_with)  # noqa: SLF001
        consumer.subscribe(list(names), listener=_Listener(subscription))
        tasks = [
            kept(subscription, subscription.pump()),
            kept(subscription, subscription.look_after()),
        ]
        try:
            await subscription.wait_for_assignment()
            yield subscription
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


def _group_options(times: ConsumerTimes, group: str, member: str | None) -> dict[str, Any]:
    return {
        "group_id": group,
        "group_instance_id": member,
        # Partitions of one number stay together over all topics, and with them a key's records.
        "partition_assignment_strategy": (RangePartitionAssignor,),
        "session_timeout_ms": _ms(times.session),
        "heartbeat_interval_ms": _ms(times.heartbeat),
        "rebalance_timeout_ms": _ms(times.rebalance),
        # Joining is answered when all members have let go, or at the rebalance timeout.
        "request_timeout_ms": _ms(times.rebalance + times.answer),
        "max_poll_interval_ms": _NEVER_MS,
        # New partitions, and topics made again, are found by asking.
        "metadata_max_age_ms": _METADATA_MS,
        "fetch_max_bytes": _FETCH_BYTES,
    }


def _ms(duration: timedelta) -> int:
    return duration // timedelta(milliseconds=1)
