"""The broker that all tests share: one for all, and gone with the last of them."""

import asyncio
import fcntl
import os
import signal
import sys
from asyncio.subprocess import PIPE

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.errors import TopicAlreadyExistsError

from consumer.devservers import use_shared_kafka

SOON_S = 60
USES_IT = """
import sys, time
from pathlib import Path
from consumer.devservers import use_shared_kafka
with use_shared_kafka(Path(sys.argv[1])) as servers:
    print(servers, flush=True)
    time.sleep(3600)
"""


async def start_user(folder):
    """Start a process that uses the broker of that folder; return it and what it was told."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", USES_IT, str(folder), stdout=PIPE
    )
    async with asyncio.timeout(SOON_S):
        servers = await process.stdout.readline()
    return process, servers.decode().strip()


async def wait_until_nobody_keeps(folder):
    """Return once the process that kept the broker has ended: its lock is free then."""
    with (folder / "keeper.lock").open("a") as lock:
        async with asyncio.timeout(SOON_S):
            await asyncio.to_thread(fcntl.flock, lock, fcntl.LOCK_EX)


async def is_listening(servers) -> bool:
    host, port = servers.split(":")
    try:
        _, writer = await asyncio.open_connection(host, int(port))
    except ConnectionRefusedError:
        return False
    writer.close()
    return True


async def test_fixture_takes_records(kafka, topic_prefix):
    """The fixture's Kafka makes topics under the test's prefix, and acknowledges a record."""
    topic = f"{topic_prefix}results"
    await kafka.make_topic(topic, partitions=2)
    async with AIOKafkaProducer(bootstrap_servers=kafka.servers, acks="all") as producer:
        kept = await producer.send_and_wait(topic, b"value", key=b"key")

    assert (topic, 0) == (kept.topic, kept.offset)
    assert f"kafka://{kafka.servers}" == kafka.url


async def test_making_a_topic_twice_is_refused(kafka, topic_prefix):
    """What the broker answers to a topic is raised, not passed over."""
    await kafka.make_topic(f"{topic_prefix}results")
    with pytest.raises(TopicAlreadyExistsError):
        await kafka.make_topic(f"{topic_prefix}results")


@pytest.mark.slow
@pytest.mark.usefixtures("own_brokers")
async def test_ends_with_its_last_user(tmp_path):
    """Processes share one broker; it outlives the one that started it, killed or not."""
    first, servers = await start_user(tmp_path)
    second, same_servers = await start_user(tmp_path)
    assert servers == same_servers

    first.kill()
    await first.wait()
    with use_shared_kafka(tmp_path) as still_the_same:
        assert servers == still_the_same
    assert await is_listening(servers)

    second.kill()
    await second.wait()
    await wait_until_nobody_keeps(tmp_path)
    assert not await is_listening(servers)


@pytest.mark.slow
@pytest.mark.usefixtures("own_brokers")
async def test_is_started_again_after_its_keeper_was_killed(tmp_path):
    """A broker dies with the process that kept it, and who comes next starts another."""
    with use_shared_kafka(tmp_path) as servers:
        os.kill(int((tmp_path / "keeper.pid").read_text()), signal.SIGKILL)
        await wait_until_nobody_keeps(tmp_path)
        with use_shared_kafka(tmp_path) as others:
            assert others != servers
            assert await is_listening(others)
            assert not await is_listening(servers)
    await wait_until_nobody_keeps(tmp_path)
    assert not await is_listening(others)
