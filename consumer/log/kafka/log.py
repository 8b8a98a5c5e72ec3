"""
The log on Kafka: the port, joined from the publisher, subscriptions and reading.

Opening it needs no Kafka: whatever is asked while there is none raises LogUnavailable.
"""

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import ExitStack, aclosing, asynccontextmanager
from pathlib import Path
from typing import Self

from consumer.core.event import NewRecord, Topic
from consumer.log.kafka.joining import open_subscription
from consumer.log.kafka.members import hold_member
from consumer.log.kafka.place import KafkaLimits, KafkaPlace
from consumer.log.kafka.producer import KafkaPublisher
from consumer.log.kafka.reading import Question, read_committed, read_offsets, read_records
from consumer.log.kafka.subscription import KafkaSubscription
from consumer.log.kafka.times import ConsumerTimes
from consumer.ports import Clock, OnRevoked, Place, Position, Record

__all__ = ["ConsumerTimes", "KafkaLog"]


class KafkaLog:
    """A `consumer.ports.Log` on a Kafka. Belongs to the loop it was opened on."""

    def __init__(
        self,
        place: KafkaPlace,
        publisher: KafkaPublisher,
        *,
        times: ConsumerTimes,
        member: str | None,
    ) -> None:
        self.publisher = publisher
        self._place = place
        self._times = times
        self._member = member
        self._groups: set[str] = set()

    @classmethod
    @asynccontextmanager
    async def open(  # noqa: PLR0913  what may differ from role to role
        cls,
        place: KafkaPlace,
        *,
        clock: Clock,  # noqa: ARG003  Kafka's own time stands on its records
        limits: KafkaLimits | None = None,
        members: Path | None = None,
        times: ConsumerTimes | None = None,
        writes: Collection[Topic] = tuple(Topic),
    ) -> AsyncIterator[Self]:
        """
        Open the log, whether or not Kafka answers now; readiness looks at the topics it `writes`.

        Groups are joined under a lasting name from the folder `members`, or without one.
        Raises LogUnavailable when that folder cannot be written, and ConfigError.
        """
        with ExitStack() as stack:
            member = stack.enter_context(hold_member(members)) if members is not None else None
            async with KafkaPublisher.open(place, limits, topics=writes) as publisher:
                yield cls(place, publisher, times=times or ConsumerTimes(), member=member)

    async def append(self, record: NewRecord) -> Position:
        """See `consumer.ports.Publisher`."""
        return await self.publisher.append(record)

    async def ping(self) -> None:
        """See `consumer.ports.Log`."""
        await self.publisher.ping()

    @asynccontextmanager
    async def subscribe(
        self, group: str, topics: Sequence[Topic], *, on_revoked: OnRevoked | None = None
    ) -> AsyncIterator[KafkaSubscription]:
        """See `consumer.ports.Log`."""
        # A second member of this process cannot have the same name: the two would take it
        # from one another for ever.
        is_first = group not in self._groups
        self._groups.add(group)
        try:
            async with open_subscription(
                self._place,
                group,
                topics,
                times=self._times,
                member=self._member if is_first else None,
                on_revoked=on_revoked,
            ) as subscription:
                yield subscription
        finally:
            if is_first:
                self._groups.discard(group)

    async def offsets(self, topics: Sequence[Topic]) -> Mapping[Place, range]:
        """See `consumer.ports.Log`."""
        return await read_offsets(self._place, topics)

    async def committed(self, group: str) -> Mapping[Place, int]:
        """See `consumer.ports.Log`."""
        return await read_committed(self._place, group)

    async def read(
        self,
        topics: Sequence[Topic],
        *,
        key: str | None = None,
        start: Mapping[Place, int] | None = None,
        follow: bool = False,
    ) -> AsyncIterator[Record]:
        """See `consumer.ports.Log`."""
        question = Question(topics, key, start or {}, follow)
        async with aclosing(read_records(self._place, question)) as records:
            async for record in records:
                yield record
