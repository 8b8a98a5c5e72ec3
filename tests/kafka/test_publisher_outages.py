"""Publishing while brokers go and come back: nothing acknowledged is lost, nobody waits long."""

import asyncio
import time
from dataclasses import replace
from datetime import timedelta

import pytest

from consumer.core.event import Topic
from consumer.devservers import Right, open_kafka
from consumer.errors import LogUnavailable, RecordRefused
from consumer.log.kafka.place import KafkaLimits, KafkaPlace, Security, topic_name
from tests.kafka.publishing import (
    KIB,
    MIB,
    append_all,
    begun,
    body,
    open_publisher,
    record,
    values_of,
)
from tests.kafka.stage import until

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

NAME = Topic.COMPLETIONS
BRIEF = KafkaLimits(
    send_deadline=timedelta(seconds=1),
    request_timeout=timedelta(seconds=2),
    stall_deadline=timedelta(seconds=3),
)
LATE_S = 1.0
# How much later than its deadline an answer may come on a busy machine.


@pytest.fixture(autouse=True)
async def complaints():
    """What the loop would print as tracebacks: there must be none, whatever happens to Kafka."""
    found = []
    asyncio.get_running_loop().set_exception_handler(lambda _, told: found.append(told))
    yield found
    assert [] == found


@pytest.fixture
async def cluster(tmp_path, own_brokers):
    async with open_kafka(tmp_path / "kafka") as cluster:
        await cluster.make_topic("fal.completions", partitions=3)
        yield cluster


def place_of(cluster):
    return KafkaPlace(tuple(cluster.servers.split(",")), "fal.", is_single_broker=True)


class Sender:
    """Appends record after record from several hands, and keeps the books."""

    def __init__(self, publisher):
        self.publisher = publisher
        self.acknowledged = []
        self.put_off = 0
        self.longest_s = 0.0
        self._number = 0
        self._stop = asyncio.Event()

    async def run(self):
        async with asyncio.TaskGroup() as hands:
            for _ in range(8):
                hands.create_task(self._send())

    def stop(self):
        self._stop.set()

    async def _send(self):
        while not self._stop.is_set():
            self._number += 1
            value, started = body(KIB, self._number), time.monotonic()
            try:
                await self.publisher.append(record(f"key-{self._number}", value))
                self.acknowledged.append(value)
            except LogUnavailable:
                self.put_off += 1
                await asyncio.sleep(0.01)
            self.longest_s = max(self.longest_s, time.monotonic() - started)


async def test_a_killed_broker_loses_nothing_acknowledged(cluster, record_property):
    """Killed amid the traffic and started again: waits end in time, and every debt is paid."""
    (broker,) = cluster.brokers

    async with open_publisher(place_of(cluster), BRIEF) as publisher:
        sender = Sender(publisher)
        sending = asyncio.create_task(sender.run())
        for _ in range(2):
            had = len(sender.acknowledged)
            await until(lambda had=had: len(sender.acknowledged) > had + 500)
            await broker.kill()
            put_off = sender.put_off
            await until(lambda put_off=put_off: sender.put_off > put_off + 50)
            with pytest.raises(LogUnavailable):
                await publisher.ping()
            await broker.start()
            await broker.wait_ready()
        had = len(sender.acknowledged)
        await until(lambda: len(sender.acknowledged) > had + 500)
        sender.stop()
        await sending
        await publisher.ping()

    record_property("numbers", f"kills: {len(sender.acknowledged)} acknowledged, none lost")
    assert set(sender.acknowledged) <= set(await values_of(place_of(cluster)))
    assert sender.longest_s < BRIEF.send_deadline.total_seconds() + LATE_S


async def test_a_paused_broker_keeps_nobody_waiting_and_memory_bounded(cluster):
    """Frozen for longer than every deadline: appends end in time, room is capped, all recovers."""
    (broker,) = cluster.brokers
    limits = replace(BRIEF, max_bytes=MIB, max_records=100)

    async with open_publisher(place_of(cluster), limits) as publisher:
        await publisher.append(record())
        broker.pause()
        started = time.monotonic()
        given = [record(f"key-{number}", body(50 * KIB, number)) for number in range(60)]
        answers = await append_all(publisher, given)
        took_s = time.monotonic() - started
        held = publisher._permits.bytes
        assert {LogUnavailable} == {type(answer) for answer in answers}
        assert took_s < limits.send_deadline.total_seconds() + LATE_S
        assert 0 < held <= MIB  # the client has them still, though nobody waits
        assert "acknowledge" in publisher.trouble() or "answer" in publisher.trouble()
        # The stall is noticed, the producer discarded, and the room is free again.
        await until(lambda: 0 == publisher._permits.bytes)
        with pytest.raises(LogUnavailable):
            await publisher.append(record())

        broker.resume()
        await until(lambda: _takes(publisher))
        again = await append_all(publisher, given)
        await publisher.ping()

    assert [] == [answer for answer in again if isinstance(answer, Exception)]
    assert {one.value for one in given} <= set(await values_of(place_of(cluster)))


async def test_an_end_while_a_batch_waits_for_another_try_leaves_no_traceback(cluster):
    """A batch that the client put back, as it does without a leader, ends with its producer."""
    (broker,) = cluster.brokers

    async with open_publisher(place_of(cluster), BRIEF) as publisher:
        await publisher.append(record())
        session = publisher._keeper.session
        batches = session._producer._message_accumulator
        broker.pause()
        sending = asyncio.create_task(publisher.append(record("again")))
        await until(lambda: batches._pending_batches)
        batches.reenqueue(next(iter(batches._pending_batches)))
        session.end("as if its leader had gone")
        broker.resume()
        await sending


async def test_a_start_needs_no_broker(cluster):
    """With nobody there appends fail fast and say why; when the broker comes, they go in."""
    (broker,) = cluster.brokers
    await broker.kill()

    async with open_publisher(place_of(cluster), BRIEF) as publisher:
        await until(lambda: bool(publisher.trouble()))
        started = time.monotonic()
        for call in (lambda: publisher.append(record()), publisher.ping):
            with pytest.raises(LogUnavailable) as error:
                await call()
            assert cluster.servers in error.value.problem
            assert "onnect" in error.value.problem  # the system's words
        assert time.monotonic() - started < 0.5

        await broker.start()
        await until(lambda: _takes(publisher))
        await publisher.ping()
        assert "" == publisher.trouble()


@pytest.mark.parametrize("how", ["killed", "paused"])
async def test_it_closes_in_time_while_the_broker_is_away(cluster, how):
    """Closing with records in the client and no broker ends within its budget."""
    (broker,) = cluster.brokers

    async with open_publisher(place_of(cluster), BRIEF) as publisher:
        await publisher.append(record())
        await broker.kill() if how == "killed" else broker.pause()
        sending = asyncio.create_task(
            append_all(publisher, [record(f"k-{n}", body(300 * KIB, n)) for n in range(60)])
        )
        await begun(publisher)
        started = time.monotonic()
    took_s = time.monotonic() - started
    answers = await sending

    assert {LogUnavailable} == {type(answer) for answer in answers}
    assert took_s < BRIEF.send_deadline.total_seconds() + 2 * LATE_S
    assert (0, 0) == (publisher._permits.records, publisher._permits.bytes)


async def test_rights_taken_away_and_given_back(tmp_path, own_brokers):
    """Without the right records are put off, never refused, and others' topics go on."""
    users = {"admin": "admin-word", "sender": "sender-word"}
    write = Right("WRITE", "fal.completions")
    async with open_kafka(tmp_path / "kafka", users=users) as cluster:
        for topic in (NAME, Topic.RESULTS):
            await cluster.make_topic(f"fal.{topic.value}", partitions=2)
        await cluster.grant("sender", Right("DESCRIBE", "fal.", prefix=True), write)
        await cluster.grant("sender", Right("WRITE", "fal.results"))
        security = Security("SASL_PLAINTEXT", "PLAIN", "sender", "sender-word")
        place = replace(place_of(cluster), security=security)
        limits = replace(BRIEF, send_deadline=timedelta(seconds=5))

        async with open_publisher(place, limits, topics=(NAME, Topic.RESULTS)) as publisher:
            await publisher.append(record())
            await cluster.revoke("sender", write)
            await until(lambda: _is_refused_for_the_place(publisher, place))
            assert "fal-consumer topics acls" in publisher.trouble()
            with pytest.raises(LogUnavailable):
                await publisher.ping()
            await publisher.append(record(topic=Topic.RESULTS))
            await cluster.grant("sender", write)
            await until(lambda: _takes(publisher))
            await publisher.ping()

        wrong = replace(security, password="other-word")
        async with open_publisher(replace(place, security=wrong), limits) as publisher:
            await until(lambda: bool(publisher.trouble()))
            assert "password" in publisher.trouble()
            assert "other-word" not in publisher.trouble()


async def _is_refused_for_the_place(publisher, place):
    try:
        await publisher.append(record())
    except LogUnavailable as exc:
        return topic_name(place, NAME) in exc.problem
    except RecordRefused:
        pytest.fail("a missing right is no fault of the record")
    return False


async def _takes(publisher):
    try:
        return bool(await publisher.append(record()))
    except LogUnavailable:
        return False
