"""
One aiokafka producer from its start to its end, and the records that it has in hand.

It ends at the first error of any record: what it had in hand is told so, at once, and may
be sent again by the next one. The only module that knows the library's inner parts: its
futures never resolve once a producer is discarded, and its own stopping waits for ever.
"""

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from itertools import chain
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.cluster import ClusterMetadata
from aiokafka.errors import KafkaError, TopicAuthorizationFailedError, UnknownTopicOrPartitionError
from aiokafka.protocol.admin import DescribeConfigsRequest
from aiokafka.structs import RecordMetadata, TopicPartition

from consumer.core.event import NewRecord
from consumer.errors import LogUnavailable, RecordRefused
from consumer.log.kafka.clients import forget_broken_loop
from consumer.log.kafka.faults import Fault, describe_error, describe_refusal, fault_of
from consumer.log.kafka.murmur import partition_of
from consumer.log.kafka.place import KafkaLimits, KafkaPlace, client_options
from consumer.log.kafka.sending import Sending, SessionEnded

_Acknowledged = asyncio.Future[RecordMetadata]

CLOSED = "closed"
"""The reason of an end that we wanted."""

_DISCARD_S = 2.0
# For the connections of an ended producer to close; they are cut before, so it takes no time.
_METADATA_S = 2.0
# For any broker to say who leads what; one that is only slow is not away.
_TOPIC_GAP_S = 0.2
# Between two questions for a topic that was missing.
_TOPIC = 2
_SIZE_LIMIT = "max.message.bytes"
# What configurations are asked of. Source: Apache Kafka protocol, DescribeConfigs.


class Session:
    """
    A running producer. `on_end` is called once, with this session and the reason.

    `ended` is set then. `refusing` are the full names of topics that took no records then, for
    a reason of the place, with the sentence that says why; `has_accused` tells whether a record
    was refused for its own sake.
    """

    def __init__(
        self,
        place: KafkaPlace,
        limits: KafkaLimits,
        *,
        batch_bytes: int,
        on_end: Callable[["Session", str], None],
    ) -> None:
        self._limits = limits
        self._on_end = on_end
        self._loop = asyncio.get_running_loop()
        self._in_hand: dict[Sending, None] = {}
        self._adding: dict[tuple[str, str], Sending] = {}
        self._missing: dict[str, tuple[float, str]] = {}
        self.ended = asyncio.Event()
        self.is_over = False
        self.acknowledged_at = 0.0
        self.batch_bytes = batch_bytes
        self.refusing: dict[str, str] = {}
        self.has_accused = False
        self._producer = AIOKafkaProducer(
            **client_options(place),
            acks="all",
            enable_idempotence=True,
            linger_ms=0,
            max_batch_size=batch_bytes,
            # Ours is the judgement of sizes: the client's would come before it.
            max_request_size=4 * limits.max_bytes,
            request_timeout_ms=round(limits.request_timeout.total_seconds() * 1000),
        )
        self._cluster = self._producer.client.cluster
        self._cluster.add_listener(self._note_topics)
        self._partitions: Mapping[str, Sequence[TopicPartition]] = {}
        self._add_timeout_s = limits.request_timeout.total_seconds()

    async def start(self, names: Sequence[str]) -> None:
        """
        Connect, and learn of these topics.

        Raises what aiokafka, or the network, raises, and TimeoutError. Then it is closed.
        """
        try:
            async with asyncio.timeout(2 * self._limits.request_timeout.total_seconds()):
                await self._producer.start()
                self._mind_sender()
                await self._producer.client.set_topics(names)
        except BaseException:
            await self.close()
            raise

    def _mind_sender(self) -> None:
        """Be told ourselves when one of the client's own loops breaks."""
        sender = self._producer._sender  # noqa: SLF001
        # Its own callback raises where no transaction waits, and the loop prints a traceback.
        sender.sender_task.remove_done_callback(sender._fail_all)  # noqa: SLF001
        sender.sender_task.add_done_callback(self._note_loop_end)
        # Without this one nobody learns of a new leader or topic, and who asks waits for ever.
        self._producer.client._sync_task.add_done_callback(self._note_loop_end)  # noqa: SLF001

    def _note_loop_end(self, task: "asyncio.Task[None]") -> None:
        if not task.cancelled() and task.exception() is not None:
            self.end(f"a loop of the client broke ({type(task.exception()).__name__})")

    # ---------------------------------------------------------------- sending

    async def send(self, sending: Sending) -> RecordMetadata:
        """
        Return what the brokers say of a record that is durable.

        Raises RecordRefused, LogUnavailable for a fault of the place, and SessionEnded when it
        is to be sent again. A cancelled wait leaves the record in the client: it may appear.
        """
        record, name = sending.record, sending.name
        if name not in self._partitions:
            await self._find_topic(name)
        # The client lets a record wait while its partition's batch is full, and would let a
        # later one of the same key pass it.
        spot = (name, record.key)
        ahead = self._adding.get(spot)
        self._adding[spot] = sending
        try:
            if ahead is not None:
                ahead.added = self._loop.create_future()
                await ahead.added
            if self.is_over:
                raise SessionEnded
            if name not in self._partitions:  # gone while it waited
                raise LogUnavailable(describe_refusal(name, UnknownTopicOrPartitionError))
            future = await self._add(name, record)
        except KafkaError as exc:
            raise self._word_of_client(sending, exc) from exc
        except UnicodeEncodeError as exc:
            raise RecordRefused(name, "its key or a header's name is not UTF-8 text") from exc
        finally:
            if self._adding[spot] is sending:
                del self._adding[spot]
            if sending.added is not None and not sending.added.done():
                sending.added.set_result(None)
        waiter = sending.waiter = self._loop.create_future()
        sending.started_at = self._loop.time()
        sending.session, sending.future = self, future
        self._in_hand[sending] = None
        future.add_done_callback(sending.settle)
        return await waiter

    def _add(self, name: str, record: NewRecord) -> Coroutine[Any, Any, _Acknowledged]:
        """
        Hand the record to the client's batches; what comes back waits until it is taken.

        What `AIOKafkaProducer.send` does besides (metadata, size, serializers) is done by now,
        and would be paid for again by every record.
        """
        key, spots = record.key.encode(), self._partitions[name]
        return self._producer._message_accumulator.add_message(  # type: ignore[no-any-return]  # noqa: SLF001
            spots[partition_of(key, len(spots))],
            key,
            record.value,
            self._add_timeout_s,
            headers=list(record.headers),
        )

    def _word_of_client(self, sending: Sending, error: KafkaError) -> Exception:
        """Return what a record's caller hears when the client did not even take it."""
        if isinstance(error, SessionEnded):
            return error
        if fault_of(error) is Fault.PRODUCER:
            self.end(describe_error(error))
            return SessionEnded()
        return LogUnavailable(describe_refusal(sending.name, error))

    async def _find_topic(self, name: str) -> None:
        """Return when the client knows the topic. Raises LogUnavailable, soon, without it."""
        now = self._loop.time()
        missed_at, problem = self._missing.get(name, (-1.0, ""))
        if problem and now - missed_at < _TOPIC_GAP_S:
            raise LogUnavailable(problem)
        self._producer.client.add_topic(name)
        await self._producer.client.force_metadata_update()
        if name in self._partitions:
            return
        problem = self._maybe_problem_of(name) or "Kafka does not answer"
        self._missing[name] = (self._loop.time(), problem)
        raise LogUnavailable(problem)

    def _note_topics(self, cluster: ClusterMetadata) -> None:
        self._partitions = {
            name: [
                TopicPartition(name, number)
                for number in range(len(cluster.partitions_for_topic(name)))
            ]
            for name in cluster.topics()
        }

    # ---------------------------------------------------------------- what is known

    def oldest_age_s(self) -> float:
        """Return for how long the oldest record in hand has been there; 0 without one."""
        oldest = next(iter(self._in_hand), None)
        return 0.0 if oldest is None else self._loop.time() - oldest.started_at

    async def is_answered(self) -> bool | None:
        """Ask who leads what. False when no broker can be reached, None when they are slow."""
        try:
            async with asyncio.timeout(_METADATA_S):
                return bool(await self._producer.client.force_metadata_update())
        except TimeoutError:
            return None

    async def max_message_bytes(self, names: Sequence[str]) -> Mapping[str, int]:
        """Return the limits that this user may read, by topic. Raises LogUnavailable."""
        client = self._producer.client
        request = DescribeConfigsRequest([(_TOPIC, name, [_SIZE_LIMIT]) for name in names])
        try:
            async with asyncio.timeout(_METADATA_S):
                answer = await client.send(client.get_random_node(), request)
        except (KafkaError, OSError, TimeoutError, RuntimeError, LookupError) as exc:
            # The last two are uvloop's and the client's words for a connection that was cut.
            problem = f"Kafka does not say how large a record may be: {describe_error(exc)}"
            raise LogUnavailable(problem) from exc
        return {
            name: int(entry[1])
            for code, _, _, name, entries in answer.resources
            for entry in entries
            if not code and entry[0] == _SIZE_LIMIT and entry[1]
        }

    def problems_of(self, names: Sequence[str]) -> list[str]:
        """Return what is wrong with these topics, as far as the client has heard."""
        found = (self._maybe_problem_of(name) for name in names)
        return [problem for problem in found if problem]

    def _maybe_problem_of(self, name: str) -> str | None:
        if name in self._cluster.unauthorized_topics:
            return describe_refusal(name, TopicAuthorizationFailedError)
        if name not in self._partitions:
            return describe_refusal(name, UnknownTopicOrPartitionError)
        return None

    # ---------------------------------------------------------------- the end

    def acknowledged(self, sending: Sending) -> None:
        """Take note that a record is durable."""
        del self._in_hand[sending]
        self.acknowledged_at = self._loop.time()

    def end(self, reason: str) -> None:
        """
        Send nothing more, and tell every caller what became of its record.

        Refused is what was refused alone. What was refused in company is suspect, and the
        rest was only beside it: all of these get SessionEnded.
        """
        if self.is_over:
            return
        self.is_over = True
        self.ended.set()
        failed = {one: error for one in self._in_hand if (error := _error_of(one)) is not None}
        accused = [one for one, error in failed.items() if fault_of(error) is Fault.RECORD]
        for sending in list(self._in_hand):
            error = failed.get(sending)
            if error is None and sending.future.done():
                continue  # acknowledged: its callback is about to run
            del self._in_hand[sending]
            sending.fail(self._word_for(sending, error, is_alone=len(accused) == 1))
            sending.let_go()
        self.has_accused = bool(accused)
        self._on_end(self, reason or _reason_of(failed))
        # Wakes who waits inside the client for a full batch, and keeps it from sending more.
        self._end_batches()
        if self._producer._sender.sender_task is not None:  # noqa: SLF001
            self._producer._sender.sender_task.cancel()  # noqa: SLF001

    def _end_batches(self) -> None:
        accumulator = self._producer._message_accumulator  # noqa: SLF001
        accumulator.fail_all(SessionEnded())
        # One that was sent and put back for another try takes itself off here when it fails, and
        # where it is missing the loop prints a traceback.
        batches = accumulator._pending_batches  # noqa: SLF001
        batches.update(chain.from_iterable(accumulator._batches.values()))  # noqa: SLF001
        for batch in batches:
            # Where nobody waits for room in it, the loop would print that nobody did.
            if batch._drain_waiter.done():  # noqa: SLF001
                batch._drain_waiter.exception()  # noqa: SLF001

    def _word_for(
        self, sending: Sending, error: BaseException | None, *, is_alone: bool
    ) -> Exception:
        if error is None or fault_of(error) is Fault.PRODUCER:
            return SessionEnded()
        if fault_of(error) is Fault.RECORD:
            if is_alone:
                return RecordRefused(sending.name, describe_error(error))
            sending.is_suspect = True
            return SessionEnded()
        problem = describe_refusal(sending.name, error)
        self.refusing[sending.name] = problem
        return LogUnavailable(problem)

    async def close(self) -> None:
        """Cut the connections and let the producer's tasks end. Never takes long."""
        self.end(CLOSED)
        client, sender = self._producer.client, self._producer._sender.sender_task  # noqa: SLF001
        forget_broken_loop(client)
        for connection in client._conns.values():  # noqa: SLF001
            if connection._writer is not None:  # noqa: SLF001
                # Closing would wait until a broker that is away has read all that was written.
                connection._writer.transport.abort()  # noqa: SLF001
        with suppress(KafkaError, OSError, TimeoutError, RuntimeError):
            async with asyncio.timeout(_DISCARD_S):
                await client.close()
        if sender is not None:
            await asyncio.wait({sender}, timeout=_DISCARD_S)
            if sender.done() and not sender.cancelled():
                sender.exception()
        with suppress(KafkaError, OSError, TimeoutError, RuntimeError):
            async with asyncio.timeout(_DISCARD_S):
                await self._producer.stop()


def _error_of(sending: Sending) -> BaseException | None:
    future = sending.future
    return future.exception() if future.done() else None


def _reason_of(failed: "dict[Sending, BaseException]") -> str:
    for sending, error in failed.items():
        return describe_refusal(sending.name, error)
    return "the producer ended"
