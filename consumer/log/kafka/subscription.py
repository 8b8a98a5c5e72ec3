"""
A group's reading of Kafka: a pump that owns the client, and a subscription that asks the pump.

The client is read whether or not anybody asks, so membership in the group never depends on
the worker. Whatever goes wrong in the client ends this subscription: what it had fetched
may be lost inside it, and a fresh one begins at the committed offsets.
"""

import asyncio
from collections.abc import Awaitable, Collection, Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Any

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from consumer.core.event import Topic
from consumer.errors import LogUnavailable
from consumer.log.kafka.buffer import Buffer
from consumer.log.kafka.clients import faults_as_ours, position_of, sentence_of
from consumer.log.kafka.marks import Marks
from consumer.log.kafka.records import record_of
from consumer.log.kafka.times import ConsumerTimes
from consumer.log.kafka.topic_ids import read_topic_ids
from consumer.log.kafka.watch import Standing, Watch
from consumer.ports import OnRevoked, Place, Record
from consumer.telemetry import get_logger

_log = get_logger()

_NOWHERE = TopicPartition("", -1)
# To poll for no partition at all: it reads nothing, and shows the client that it is in use.
_TURN_MS = 200
_AT_ONCE = 500
_BUFFER_RECORDS = 2000
_BUFFER_BYTES = 16 * 1024 * 1024


class KafkaSubscription:
    """See `consumer.ports.Subscription`. One poll at a time."""

    def __init__(
        self,
        consumer: Any,
        partitions: Sequence[TopicPartition],
        topics: Mapping[str, Topic],
        *,
        times: ConsumerTimes = ConsumerTimes(),  # noqa: B008  frozen
        on_revoked: OnRevoked | None = None,
    ) -> None:
        self._consumer = consumer
        self._partitions = partitions
        self._topics = topics
        self._times = times
        self._on_revoked = on_revoked
        self._marks = Marks(consumer, answer=times.answer)
        self._watch = Watch(
            stall_s=times.stall.total_seconds(),
            assignment_s=(2 * times.rebalance).total_seconds(),
        )
        self._buffer = Buffer(max_records=_BUFFER_RECORDS, max_bytes=_BUFFER_BYTES)
        self._without: Collection[Place] = ()
        self._assigned = asyncio.Event()
        self._over: str | None = None
        self._trouble: str | None = None
        self._topic_ids: Mapping[str, str] = {}
        self._arrived = asyncio.Event()
        self._changed = asyncio.Event()

    # ------------------------------------------------------------ the port

    async def poll(
        self, *, max_records: int, timeout: timedelta, without: Collection[Place] = ()
    ) -> Sequence[Record]:
        """See `consumer.ports.Subscription`."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout.total_seconds()
        if without != self._without:
            self._without = without
            self._changed.set()
        await asyncio.sleep(0)
        while True:
            self._arrived.clear()
            # While places are shared out, what came already may be of a topic that is gone.
            is_ours = self._assigned.is_set()
            if is_ours and (taken := self._buffer.take(max_records, without)):
                self._changed.set()
                return taken
            if self._over is not None:
                raise LogUnavailable(self._over)
            left = deadline - loop.time()
            if left <= 0:
                break
            with suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await self._arrived.wait()
        if self._trouble is not None:
            raise LogUnavailable(self._trouble)
        return []

    async def commit(self, offsets: Mapping[Place, int]) -> None:
        """See `consumer.ports.Subscription`."""
        await self._marks.commit({self._partition(place): at for place, at in offsets.items()})

    async def lag(self) -> int:
        """See `consumer.ports.Subscription`."""
        return await self._marks.lag()

    # ------------------------------------------------------------ the pump

    async def pump(self) -> None:
        """Read what is wanted, for ever; whatever the client reports ends the subscription."""
        try:
            while True:
                await self._turn()
        except (KafkaError, OSError, RuntimeError) as exc:  # the last is uvloop's, of a cut one
            self.end(sentence_of(exc))
        except ValueError as exc:
            # From the client's parser. It may have lost what stood before, so that nothing more
            # is taken from it.
            self.end(f"a record cannot be read ({type(exc).__name__})")

    async def _turn(self) -> None:
        self._changed.clear()
        wanted = self._wanted()
        if not wanted:
            with suppress(TimeoutError):
                async with asyncio.timeout(_TURN_MS / 1000):
                    await self._changed.wait()
            wanted = self._wanted()
        found = await self._consumer.getmany(
            *(wanted or [_NOWHERE]), timeout_ms=_TURN_MS if wanted else 0, max_records=_AT_ONCE
        )
        for partition, messages in found.items():
            topic = self._topics[partition.topic]
            records = [record_of(topic, message) for message in messages]
            self._buffer.put((topic, partition.partition), records)
        if found:
            self._arrived.set()

    def _wanted(self) -> list[TopicPartition]:
        """
        Return the partitions to read from now.

        Those left out are not paused in the client, which would throw away what it has
        fetched of them: they are not taken from, and so fetch nothing more either.
        """
        if not self._assigned.is_set():
            return []
        wanted = []
        for partition in self._consumer.assignment():
            place = self._place(partition)
            if place not in self._without and self._buffer.has_room(place):
                wanted.append(partition)
        return wanted

    def end(self, problem: str) -> None:
        """Give what was read already, and then nothing but the error that says why."""
        if self._over is None:
            self._over = problem
        self._arrived.set()

    def end_with(self, task: "asyncio.Future[None]") -> None:
        """End because a loop of the client did, unless it was told to."""
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self.end(f"a loop of the client broke ({type(error).__name__})")

    # ------------------------------------------------------------ assignments

    async def let_go(self) -> None:
        """Forget what was read, and let the holder finish what it has, within the budget."""
        self._assigned.clear()
        self._buffer.clear()
        places = [self._place(partition) for partition in self._consumer.assignment()]
        if places and self._on_revoked is not None:
            # In a task of its own: the client would hide what it raises.
            letting = kept(self, self._on_revoked(places))
            try:
                await asyncio.wait({letting}, timeout=self._times.revoke.total_seconds())
            finally:
                # Also when the client closes meanwhile: it must not outlive this subscription and
                # let go of what the next one holds.
                letting.cancel()
                await asyncio.wait({letting})
        self._marks.forget()

    async def take_over(self) -> None:
        """Begin to read what was assigned, where it was committed for this very topic."""
        try:
            self._topic_ids = await self._read_topic_ids()
            stale = await self._marks.learn(self._topic_ids)
        except LogUnavailable as exc:
            self.end(exc.problem)
            return
        for partition in stale:
            _log.warning("subscription.began_anew", topic=partition.topic)
            self._consumer.seek(partition, 0)
            # A read that was under way when the places were shared out began where the other
            # topic was committed.
            self._buffer.drop(self._place(partition))
        self._assigned.set()
        self._changed.set()
        self._arrived.set()

    async def _read_topic_ids(self) -> Mapping[str, str]:
        with faults_as_ours("looking for topics"):
            async with asyncio.timeout(self._times.answer.total_seconds()):
                return await read_topic_ids(self._consumer._client, list(self._topics))  # noqa: SLF001

    async def wait_for_assignment(self) -> None:
        """Return when places are assigned, or after a while: the group may take its time."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self._times.opening.total_seconds()):
                await self._assigned.wait()

    # ------------------------------------------------------------ the watch

    async def look_after(self) -> None:
        """Look now and then whether Kafka answers and reading goes on, for ever."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(self._times.look_every.total_seconds())
            try:
                with faults_as_ours("reading"):
                    async with asyncio.timeout(self._times.answer.total_seconds()):
                        standing = await self._standing()
                other = await self._maybe_other_topic(await self._read_topic_ids())
            except LogUnavailable as exc:
                self._trouble = exc.problem
                continue
            self._trouble = None
            problem = other or self._watch.look(standing, loop.time())
            if problem is not None:
                self.end(problem)

    async def _maybe_other_topic(self, ids: Mapping[str, str]) -> str | None:
        """Return a sentence when another topic stands under a name than the one we read."""
        known = self._topic_ids
        if self._assigned.is_set() and ids.keys() - known.keys():
            # Shared out without it. Only the client's own look makes the group share out anew:
            # one that joins again under its lasting name is given what it had.
            with faults_as_ours("looking for topics"):
                async with asyncio.timeout(self._times.answer.total_seconds()):
                    await self._consumer._client.force_metadata_update()  # noqa: SLF001
        for name, found in ids.items():
            if found != known.get(name, found):
                return f"{name} was deleted and made again: reading begins anew"
        return None

    async def _standing(self) -> Standing:
        wanted = self._wanted()
        # Asked of all while none is ours: the answer alone says that Kafka is there.
        ends = await self._consumer.end_offsets(wanted or self._partitions)
        return Standing(
            self._assigned.is_set(),
            {self._place(one): position_of(self._consumer, one) for one in wanted},
            {self._place(one): end for one, end in ends.items()},
        )

    # ------------------------------------------------------------ names

    def _place(self, partition: TopicPartition) -> Place:
        return (self._topics[partition.topic], partition.partition)

    def _partition(self, place: Place) -> TopicPartition:
        topic, number = place
        name = next(name for name, known in self._topics.items() if known is topic)
        return TopicPartition(name, number)


def kept(subscription: KafkaSubscription, running: Awaitable[None]) -> "asyncio.Future[None]":
    """Return a task whose unexpected end is the subscription's end, and is told."""
    task = asyncio.ensure_future(running)
    task.add_done_callback(lambda done: _tell_end(subscription, done))
    return task


def _tell_end(subscription: KafkaSubscription, done: "asyncio.Future[None]") -> None:
    error = None if done.cancelled() else done.exception()
    if error is not None:
        _log.error("invariant.broken", error=type(error).__name__, exc_info=error)
        subscription.end(f"reading ended ({type(error).__name__})")
