"""
Consuming clients, harnessed: opened with a deadline, closed within a budget, faults as ours.

The only place that reaches into aiokafka's consumer where its public face has no word for
what is needed. What is read with a client is elsewhere.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import (
    GroupAuthorizationFailedError,
    KafkaConnectionError,
    KafkaError,
    TopicAuthorizationFailedError,
)
from aiokafka.structs import OffsetAndMetadata

from consumer.core.text import printable
from consumer.errors import LogUnavailable
from consumer.log.kafka.faults import describe_error, name_of
from consumer.log.kafka.place import KafkaPlace, client_options

CLOSE_BUDGET = timedelta(seconds=3)
"""How long a client may take to say goodbye; then it is cut off."""

_MAX_CHARS = 200

# The client tells every failed request, to a logger of its own. What an operator has to know
# is told by us; these lines are neither in our list nor in our form.
logging.getLogger("aiokafka").addHandler(logging.NullHandler())


@contextmanager
def faults_as_ours(doing: str) -> Iterator[None]:
    """Raise LogUnavailable, with a sentence, for what Kafka or its client reports meanwhile."""
    try:
        yield
    except TimeoutError as exc:
        raise LogUnavailable(f"{doing}: Kafka does not answer") from exc
    except (KafkaError, OSError) as exc:
        raise LogUnavailable(f"{doing}: {sentence_of(exc)}") from exc
    except RuntimeError as exc:
        # uvloop's word for a write to a connection that is gone; asyncio's is an OSError.
        raise LogUnavailable(f"{doing}: the connection to Kafka was cut") from exc


def sentence_of(fault: BaseException) -> str:
    """Return what is the matter, and what to do where that is known. Never what was sent."""
    # Every KafkaError is a RuntimeError too; a bare one is uvloop's word for a cut connection.
    if isinstance(fault, KafkaConnectionError | OSError) or not isinstance(fault, KafkaError):
        return f"Kafka does not answer ({name_of(fault)})"
    if isinstance(fault, TopicAuthorizationFailedError | GroupAuthorizationFailedError):
        return f"Kafka says {name_of(fault)}: `fal-consumer topics acls` prints the rights needed"
    if type(fault) is KafkaError:
        # What the client makes of an answer that it has no word for, such as a fenced member's.
        return f"the client of Kafka gave up: {printable(str(fault))[:_MAX_CHARS]}"
    return f"Kafka says {describe_error(fault)}"


@asynccontextmanager
async def open_consumer(
    place: KafkaPlace, *, deadline: timedelta, doing: str, **options: Any
) -> AsyncIterator[AIOKafkaConsumer]:
    """
    Give a connected consumer that reads nothing yet; leaving closes it within CLOSE_BUDGET.

    Commits are never automatic, and what has no committed offset starts at the earliest
    record. Raises LogUnavailable when Kafka cannot be reached within the deadline.
    """
    consumer = AIOKafkaConsumer(
        **client_options(place), enable_auto_commit=False, auto_offset_reset="earliest", **options
    )
    try:
        with faults_as_ours(doing):
            async with asyncio.timeout(deadline.total_seconds()):
                await consumer.start()
        yield consumer
    finally:
        await close_consumer(consumer)


async def close_consumer(consumer: AIOKafkaConsumer, budget: timedelta = CLOSE_BUDGET) -> None:
    """Close a consumer, and cut it off when Kafka does not answer within the budget."""
    closing = asyncio.ensure_future(consumer.stop())
    try:
        await asyncio.wait({closing}, timeout=budget.total_seconds())
    finally:
        if not closing.done():
            closing.cancel()
        cutting = asyncio.ensure_future(_cut_off(consumer, closing))
        await asyncio.shield(cutting)


async def _cut_off(consumer: Any, closing: "asyncio.Future[None]") -> None:
    """End what a cancelled `stop` left behind: its tasks and its connections."""
    await asyncio.wait({closing})
    if not closing.cancelled() and closing.exception() is None:
        return
    coordinator, fetcher = consumer._coordinator, consumer._fetcher  # noqa: SLF001
    names = ("_coordination_task", "_heartbeat_task", "_commit_refresh_task")
    tasks = [getattr(coordinator, name, None) for name in names]
    tasks.append(getattr(fetcher, "_fetch_task", None))
    tasks += getattr(fetcher, "_pending_tasks", ())
    running = [task for task in tasks if task is not None]
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)
    forget_broken_loop(consumer._client)  # noqa: SLF001
    try:
        async with asyncio.timeout(CLOSE_BUDGET.total_seconds()):
            await consumer._client.close()  # noqa: SLF001
    except (TimeoutError, KafkaError, OSError, RuntimeError):
        return  # the process keeps a socket for a while; nothing waits for it


def forget_broken_loop(client: Any) -> None:
    """Let a client whose own loop broke close its connections: else it stops at that error."""
    if client._sync_task is not None and client._sync_task.done():  # noqa: SLF001
        client._sync_task = None  # noqa: SLF001


async def partitions_of(
    consumer: AIOKafkaConsumer, names: Sequence[str], *, deadline: timedelta
) -> list[TopicPartition]:
    """
    Return the partitions of topics, all of which exist.

    Raises LogUnavailable for one that does not, or that may not be seen.
    """
    with faults_as_ours("looking for topics"):
        async with asyncio.timeout(deadline.total_seconds()):
            if not await consumer._client.set_topics(names):  # noqa: SLF001
                raise LogUnavailable("looking for topics: Kafka does not answer")
    found = {name: consumer.partitions_for_topic(name) for name in names}
    missing = sorted(name for name, numbers in found.items() if not numbers)
    if missing:
        raise LogUnavailable(
            f"Kafka has no topic {', '.join(missing)} that this user may read: "
            "`fal-consumer topics create` makes them, `topics acls` prints what they need"
        )
    return [TopicPartition(name, number) for name in names for number in sorted(found[name])]


def position_of(consumer: AIOKafkaConsumer, partition: TopicPartition) -> int | None:
    """Return the next offset that will be read, or None: at once, which `position` is not."""
    assignment = getattr(consumer._subscription.subscription, "assignment", None)  # noqa: SLF001
    state = assignment.state_value(partition) if assignment is not None else None
    return state.position if state is not None and state.has_valid_position else None


async def commit_once(
    consumer: AIOKafkaConsumer, offsets: Mapping[TopicPartition, tuple[int, str]]
) -> None:
    """
    Commit offsets and the text beside them, in one try that ends when it is cancelled.

    Raises the client's errors. Its own `commit` tries for ever, and what it has sent goes on
    behind a wait that was given up: it might come after a later one, and its error is lost.
    """
    coordinator = consumer._coordinator  # noqa: SLF001
    await coordinator.ensure_coordinator_known()
    marks = {place: OffsetAndMetadata(at, text) for place, (at, text) in offsets.items()}
    assignment = consumer._subscription.subscription.assignment  # noqa: SLF001
    async with coordinator._commit_lock:  # noqa: SLF001
        await coordinator._do_commit_offsets(assignment, marks)  # noqa: SLF001


async def committed_of(
    consumer: AIOKafkaConsumer, places: Sequence[TopicPartition]
) -> dict[TopicPartition, tuple[int, str]]:
    """Return the committed offset (0 without one) and the text beside it, of each place."""
    found = await consumer._coordinator.fetch_committed_offsets(places) if places else {}  # noqa: SLF001
    return {
        place: (found[place].offset, found[place].metadata) if place in found else (0, "")
        for place in places
    }
