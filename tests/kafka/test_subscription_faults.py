"""Reading while Kafka fails: brokers of these tests' own, and clients that stand still."""

import asyncio
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from types import SimpleNamespace

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from consumer.core.event import Topic
from consumer.devservers import open_kafka
from consumer.errors import LogUnavailable
from consumer.log.kafka.subscription import KafkaSubscription
from tests.conformance.log import gather, low_water
from tests.kafka.stage import QUICK, SOON_S, Stage, record, until

SECOND = timedelta(seconds=1)
NAME = TopicPartition("t.completions", 0)


# ---------------------------------------------------------------- a client that stands still


class Client:
    """A consumer that fetches nothing, whatever the end is."""

    def __init__(self, *, position=5, end=9, error=None):
        state = SimpleNamespace(position=position, has_valid_position=True)
        assignment = SimpleNamespace(state_value=lambda _partition: state)
        self._subscription = SimpleNamespace(subscription=SimpleNamespace(assignment=assignment))
        self.end, self.error = end, error
        self._client = SimpleNamespace(get_random_node=lambda: 0, send=self._knows_no_ids)
        self._coordinator = SimpleNamespace(fetch_committed_offsets=self._has_committed)

    async def _knows_no_ids(self, _node, _request):
        return SimpleNamespace(topics=[])

    async def _has_committed(self, _partitions):
        return {}

    def assignment(self):
        return {NAME}

    async def getmany(self, *_partitions, timeout_ms, max_records):
        await asyncio.sleep(timeout_ms / 1000)
        if self.error:
            raise self.error
        return {}

    async def end_offsets(self, partitions):
        return dict.fromkeys(partitions, self.end)


@asynccontextmanager
async def watched(client):
    """Run a subscription over such a client, as one that is assigned."""
    topics = {NAME.topic: Topic.COMPLETIONS}
    subscription = KafkaSubscription(client, [NAME], topics, times=QUICK)
    await subscription.take_over()
    tasks = [
        asyncio.create_task(subscription.pump()),
        asyncio.create_task(subscription.look_after()),
    ]
    try:
        yield subscription
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def refused(subscription) -> str:
    """Poll until it is refused, and return why."""
    async with asyncio.timeout(SOON_S):
        while True:
            try:
                await subscription.poll(max_records=1, timeout=SECOND)
            except LogUnavailable as exc:
                return exc.problem


async def test_reading_that_stalled_is_told():
    """While the end is ahead and nothing comes, polls say so after a while, and go on saying."""
    async with watched(Client()) as subscription:
        assert (await refused(subscription)).startswith("reading stalled: completions/0 at 5")
        with pytest.raises(LogUnavailable):
            await subscription.poll(max_records=1, timeout=SECOND)


async def test_reading_at_the_end_is_no_stall():
    """With nothing to read nothing is told."""
    async with watched(Client(position=9)) as subscription:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(3 * QUICK.stall.total_seconds() / 2):
                await refused(subscription)


async def test_a_place_that_nobody_wants_is_no_stall():
    """A place that the worker leaves out may stand still."""
    async with watched(Client()) as subscription:
        loop = asyncio.get_running_loop()
        until_s = loop.time() + 3 * QUICK.stall.total_seconds() / 2
        while loop.time() < until_s:
            found = await subscription.poll(
                max_records=1, timeout=SECOND, without=[(Topic.COMPLETIONS, 0)]
            )
            assert [] == list(found)


@pytest.mark.parametrize(
    "error, told",
    [
        (KafkaError("UnknownError()"), "gave up: KafkaError: UnknownError()"),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "x"), "cannot be read"),
    ],
)
async def test_what_the_client_reports_ends_the_subscription(error, told):
    """Whatever the client raises is told by polls, for then it must be opened anew."""
    async with watched(Client(error=error)) as subscription:
        assert told in await refused(subscription)


async def test_a_holder_letting_go_ends_with_its_subscription():
    """Closed in the middle of a revoke, a subscription does not leave its holder at it."""
    ended, begun = asyncio.Event(), asyncio.Event()

    async def let_go(_places):
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    topics = {NAME.topic: Topic.COMPLETIONS}
    subscription = KafkaSubscription(Client(), [NAME], topics, times=QUICK, on_revoked=let_go)
    closing = asyncio.create_task(subscription.let_go())
    await begun.wait()
    closing.cancel()
    await asyncio.wait({closing})

    assert ended.is_set()


class Recreated(Client):
    """A consumer whose topic is another one by the next time that places are shared out."""

    def __init__(self):
        super().__init__()
        self.id, self.sought = b"1" * 16, []
        self.reading, self.read = asyncio.Event(), asyncio.Event()

    async def _knows_no_ids(self, _node, _request):
        return SimpleNamespace(topics=[(0, NAME.topic, self.id)])

    async def _has_committed(self, _partitions):
        return {NAME: SimpleNamespace(offset=5, metadata=(b"1" * 16).hex())}

    def seek(self, partition, offset):
        self.sought.append((partition, offset))

    async def getmany(self, *partitions, timeout_ms, max_records):
        if NAME not in partitions or self.read.is_set():
            return await super().getmany(
                *partitions, timeout_ms=timeout_ms, max_records=max_records
            )
        self.reading.set()
        await self.read.wait()
        message = SimpleNamespace(
            partition=0, offset=5, key=b"a", value=b"1", headers=(), timestamp=0
        )
        return {NAME: [message]}


async def test_a_read_under_way_in_a_rebalance_is_no_part_of_another_topic():
    """What a read brought from the old topic's offset is not given before the new one's start."""
    client = Recreated()
    async with watched(client) as subscription:
        await client.reading.wait()
        await subscription.let_go()
        client.id = b"2" * 16
        client.read.set()
        early = await subscription.poll(max_records=9, timeout=SECOND / 10)
        await subscription.take_over()
        late = await subscription.poll(max_records=9, timeout=SECOND / 10)

    assert [(NAME, 0)] == client.sought
    assert [[], []] == [list(early), list(late)]


async def test_a_client_that_never_answers_does_not_end_the_watch():
    """While the client's own look for a new topic hangs, polls say that Kafka does not answer."""
    client = Recreated()
    client.id = b"\0" * 16  # none: the topic is not there yet
    client._client.force_metadata_update = asyncio.Event().wait
    client.read.set()
    async with watched(client) as subscription:
        client.id = b"1" * 16

        assert "does not answer" in await refused(subscription)


# ---------------------------------------------------------------- brokers that fail


@pytest.mark.slow
async def test_a_paused_broker_is_told_and_then_read_on(tmp_path, own_brokers, topic_prefix):
    """While it stands still polls raise, without hurry; when it goes on, so does reading."""
    async with open_kafka(tmp_path) as cluster:
        stage = Stage(cluster.servers, topic_prefix)
        await stage.make_topics(Topic.COMPLETIONS)
        async with stage.open() as log, log.subscribe("group", [Topic.COMPLETIONS]) as reading:
            await log.append(record(value=b"1"))
            first = await gather(reading, 1)
            cluster.brokers[0].pause()
            try:
                told = await refused(reading)
                with pytest.raises(LogUnavailable):
                    await reading.commit(low_water(first))
            finally:
                cluster.brokers[0].resume()
            await until(lambda: _taken(log, record(value=b"2")))
            found = []
            async with asyncio.timeout(SOON_S):
                while b"2" not in [one.value for one in found]:
                    with suppress(LogUnavailable):
                        found += await reading.poll(max_records=9, timeout=SECOND)
            await reading.commit(low_water(found))

    assert "does not answer" in told


async def _taken(log, new) -> bool:
    with suppress(LogUnavailable):
        await log.append(new)
        return True
    return False


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["pause", "kill"])
async def test_leaving_takes_no_longer_while_the_broker_is_away(
    tmp_path, own_brokers, topic_prefix, fault
):
    """A subscription ends within its budget with nobody to say goodbye to."""
    loop = asyncio.get_running_loop()
    async with open_kafka(tmp_path) as cluster:
        stage = Stage(cluster.servers, topic_prefix)
        await stage.make_topics(Topic.COMPLETIONS)
        broker = cluster.brokers[0]
        async with stage.open() as log:
            async with log.subscribe("group", [Topic.COMPLETIONS]) as subscription:
                await log.append(record())
                await gather(subscription, 1)
                await broker.kill() if fault == "kill" else broker.pause()
                began = loop.time()
            took = loop.time() - began
            if fault == "pause":
                broker.resume()

    assert took < 8
