"""Clusters of their own: what the brokers keep over kills, and whom they let in."""

import asyncio
import os
import signal

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import TopicAuthorizationFailedError

from consumer.devservers import Right, ServerNotStarted, open_kafka
from consumer.errors import InvariantBroken

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("own_brokers")]

TOPIC = "t-kept.results"
USERS = {"admin": "admin's word", "consumer": 'a "word"'}
SOON_S = 30


async def write(cluster, value, *, user="admin", mechanism="PLAIN"):
    """Write a record and wait until every copy that is needed is made."""
    options = cluster.client_options(user, mechanism)
    async with asyncio.timeout(SOON_S), AIOKafkaProducer(**options, acks="all") as producer:
        return await producer.send_and_wait(TOPIC, value)


async def read_all(cluster) -> list[bytes]:
    """Return the values of the topic's only partition, first to last."""
    partition = TopicPartition(TOPIC, 0)
    values = []
    async with (
        asyncio.timeout(SOON_S),
        AIOKafkaConsumer(**cluster.client_options()) as consumer,
    ):
        consumer.assign([partition])
        await consumer.seek_to_beginning(partition)
        end = (await consumer.end_offsets([partition]))[partition]
        while len(values) < end:
            values.append((await consumer.getone()).value)
    return values


async def test_acknowledged_record_outlives_a_kill(tmp_path):
    """A broker that was killed starts again on its port, and has what it acknowledged."""
    async with open_kafka(tmp_path) as cluster:
        broker = cluster.brokers[0]
        before = (broker.pid, cluster.servers)
        await cluster.make_topic(TOPIC)
        await write(cluster, b"before")
        await broker.kill()
        assert not broker.is_running
        with pytest.raises(InvariantBroken):
            broker.pid  # noqa: B018, asking is what raises
        await broker.start()
        await broker.wait_ready()
        await write(cluster, b"after")

        assert [b"before", b"after"] == await read_all(cluster)
        assert before[0] != broker.pid
        assert before[1] == cluster.servers


async def test_paused_broker_answers_after_it_resumes(tmp_path):
    """A frozen broker acknowledges nothing; once it goes on, the waiting record is taken."""
    async with open_kafka(tmp_path) as cluster:
        broker = cluster.brokers[0]
        await cluster.make_topic(TOPIC)
        async with AIOKafkaProducer(**cluster.client_options(), acks="all") as producer:
            await producer.send_and_wait(TOPIC, b"before")
            broker.pause()
            waiting = await producer.send(TOPIC, b"meanwhile")
            done, _ = await asyncio.wait([waiting], timeout=0.5)
            assert not done
            broker.resume()
            async with asyncio.timeout(SOON_S):
                kept = await waiting

        assert 1 == kept.offset
        broker.pause()
        await broker.stop()
        assert not broker.is_running


async def test_two_of_three_brokers_still_write(tmp_path):
    """With one of three brokers killed, records are still kept twice; it may come back."""
    async with open_kafka(tmp_path, brokers=3) as cluster:
        await cluster.make_topic(TOPIC)
        await write(cluster, b"three")
        await cluster.brokers[0].kill()
        await write(cluster, b"two")
        await cluster.brokers[0].start()
        await cluster.wait_ready()

        assert [b"three", b"two"] == await read_all(cluster)


async def test_rights_are_given_and_taken_back(tmp_path):
    """A user writes only while he has the right to, whichever way he logs in."""
    async with open_kafka(tmp_path, users=USERS) as cluster:
        right = Right("WRITE", "t-kept.", prefix=True)
        await cluster.make_topic(TOPIC)
        for mechanism in ("PLAIN", "SCRAM-SHA-256"):
            login = {"user": "consumer", "mechanism": mechanism}
            with pytest.raises(TopicAuthorizationFailedError):
                await write(cluster, b"refused", **login)
            await cluster.grant("consumer", right)
            await write(cluster, mechanism.encode(), **login)
            await cluster.revoke("consumer", right)

        assert [b"PLAIN", b"SCRAM-SHA-256"] == await read_all(cluster)


@pytest.mark.parametrize("users", [None, USERS], ids=["certificates", "users"])
async def test_tls_is_spoken(tmp_path, users):
    """Over TLS, whoever the throw-away authority vouches for, or who logs in, may write."""
    async with open_kafka(tmp_path, users=users, tls=True) as cluster:
        await cluster.make_topic(TOPIC)
        await write(cluster, b"sealed")

        protocol = cluster.client_options()["security_protocol"]
        assert ("SASL_SSL" if users else "SSL") == protocol
        assert [b"sealed"] == await read_all(cluster)


async def test_broker_that_cannot_start_says_why(tmp_path):
    """A broker that ends at once raises with the reason from its log, and leaves no process."""
    with pytest.raises(ServerNotStarted, match=r"num\.network\.threads"):
        async with open_kafka(tmp_path, config={"num.network.threads": "none"}):
            pass


async def test_brokers_end_with_a_block_that_fails(tmp_path):
    """However the block ends, paused brokers included, their processes are gone after it."""
    pids = []

    async def fail_within() -> None:
        async with open_kafka(tmp_path) as cluster:
            pids.append(cluster.brokers[0].pid)
            cluster.brokers[0].pause()
            raise LookupError

    with pytest.raises(LookupError):
        await fail_within()
    with pytest.raises(ProcessLookupError):
        os.kill(pids[0], signal.SIGCONT)
