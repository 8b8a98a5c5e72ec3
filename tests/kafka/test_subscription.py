"""A group's reading on a real Kafka, beyond the promises of every log."""

import asyncio
import sys
from datetime import timedelta
from itertools import count
from pathlib import Path

import pytest

from consumer.core.event import Topic
from consumer.errors import LogUnavailable
from consumer.subscription import next_batch
from tests.conformance.log import gather, low_water
from tests.kafka.stage import SOON_S, Stage, record, until

SECOND = timedelta(seconds=1)
ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture
async def stage(kafka, topic_prefix) -> Stage:
    """Three partitions of completions, and of commands."""
    stage = Stage(kafka.servers, topic_prefix)
    await stage.make_topics(Topic.COMPLETIONS, Topic.COMMANDS)
    return stage


async def test_records_of_others_come_as_records(stage):
    """No key, no value, a key that is no text: all come, so that they can be set aside."""
    await stage.send(
        Topic.COMMANDS,
        (None, b"no key", []),
        (b"tombstone", None, []),
        (b"\xff", b"no text", [("x", b"\xfe")]),
    )
    async with stage.open() as log, log.subscribe("group", [Topic.COMMANDS]) as subscription:
        found = await gather(subscription, 3)
        await subscription.commit(low_water(found))
        lag = await subscription.lag()

    assert {("", b"no key"), ("tombstone", b""), (r"\xff", b"no text")} == {
        (one.key, one.value) for one in found
    }
    assert 0 == lag


async def test_markers_of_transactions_are_no_end(stage):
    """Offsets at which no record stands are passed, in a group and without one."""
    await stage.send_in_transactions(Topic.COMMANDS, 5)
    async with stage.open() as log, log.subscribe("group", [Topic.COMMANDS]) as subscription:
        found = await gather(subscription, 5)
        read = [one async for one in log.read([Topic.COMMANDS])]

    assert 5 == len(found) == len(read)
    assert max(one.position.offset for one in found) > 5


async def test_what_is_not_asked_for_is_bounded(stage):
    """While nobody polls, only so much is read ahead; all of it comes in the end."""
    async with stage.open() as log, log.subscribe("group", [Topic.COMPLETIONS]) as subscription:
        sent = 6000
        for first in range(0, sent, 500):
            some = range(first, first + 500)
            await asyncio.gather(*(log.append(record(f"key-{n}")) for n in some))
        await until(lambda: len(subscription._buffer) >= 2000 and not subscription._wanted())
        held = len(subscription._buffer)
        found = await gather(subscription, sent)

    assert 2000 <= held <= 2000 + 3 * 500
    assert sent == len({one.position for one in found})


async def test_a_missing_topic_is_told(stage):
    """A group on a topic that does not exist is told how it comes to be."""
    async with stage.open() as log:
        with pytest.raises(LogUnavailable, match=r"lifecycle.*topics create"):
            async with log.subscribe("group", [Topic.COMPLETIONS, Topic.LIFECYCLE]):
                pytest.fail("opened")


async def test_a_topic_made_anew_is_read_from_its_beginning(stage):
    """Offsets beyond the end of a topic that was deleted and made again hold nothing back."""
    async with stage.open() as log:
        for number in range(5):
            await log.append(record("key", b"%d" % number))
        async with log.subscribe("group", [Topic.COMPLETIONS]) as subscription:
            await subscription.commit(low_water(await gather(subscription, 5)))
    await stage.make_anew(Topic.COMPLETIONS)

    async with stage.open() as log, log.subscribe("group", [Topic.COMPLETIONS]) as subscription:
        await log.append(record("key", b"new"))
        found = await gather(subscription, 1)
        await subscription.commit(low_water(found))
        told = await log.committed("group")

    assert [b"new"] == [one.value for one in found]
    assert dict(low_water(found)).items() <= told.items()


# ---------------------------------------------------------------- lasting names


async def test_a_restart_under_a_lasting_name_is_no_rebalance(stage, tmp_path):
    """A member that comes back takes up where it committed, and nobody else is disturbed."""
    revoked = []

    async def on_revoked(places):
        revoked.extend(places)

    topics = [Topic.COMPLETIONS]
    async with (
        stage.open(members=tmp_path) as staying,
        staying.subscribe("group", topics, on_revoked=on_revoked) as other,
    ):
        async with stage.open(members=tmp_path) as log, log.subscribe("group", topics) as leaving:
            await _all_assigned(log, leaving, other)
        revoked.clear()
        sent = [await staying.append(record(f"late-{n}")) for n in range(20)]
        found = []
        async with stage.open(members=tmp_path) as log, log.subscribe("group", topics) as back:

            async def all_came():
                for subscription in (back, other):
                    some = await subscription.poll(max_records=100, timeout=timedelta(0))
                    found.extend(one.position for one in some if one.key.startswith("late"))
                return len(found) >= len(sent)

            await until(all_came)

    assert sorted(sent) == sorted(found)
    assert [] == revoked


async def _all_assigned(log, *subscriptions) -> None:
    """Return when each of the members has been given a record."""
    waiting = set(subscriptions)

    numbers = count()

    async def each_has_one():
        await log.append(record(f"key-{next(numbers)}"))
        for one in list(waiting):
            if found := await one.poll(max_records=100, timeout=timedelta(0)):
                await one.commit(low_water(found))
                waiting.discard(one)
        return not waiting

    await until(each_has_one)


CHILD = """
import asyncio, sys
from datetime import timedelta
from itertools import count
from pathlib import Path
from consumer.core.event import Topic
from consumer.subscription import next_batch
from tests.conformance.log import gather, low_water
from tests.kafka.stage import Stage

async def main(servers, prefix, folder):
    stage = Stage(servers, prefix)
    async with stage.open(members=Path(folder)) as log:
        async with log.subscribe("group", [Topic.COMPLETIONS]) as subscription:
            found = await gather(subscription, 10)
            await subscription.commit(low_water(found[:4]))
            Path(folder, "ready").touch()
            await asyncio.Event().wait()

asyncio.run(main(*sys.argv[1:]))
"""


async def test_a_killed_member_comes_back_at_once(stage, tmp_path):
    """After SIGKILL the next process has the name, and reads before the session would end."""
    async with stage.open(members=None) as log:
        for number in range(10):
            await log.append(record("key", b"%d" % number))
    arguments = [sys.executable, "-c", CHILD, stage.servers, stage.prefix, str(tmp_path)]
    child = await asyncio.create_subprocess_exec(*arguments, cwd=ROOT)
    try:
        await until((tmp_path / "ready").exists)
    finally:
        child.kill()
        await child.wait()
    loop = asyncio.get_running_loop()
    began = loop.time()

    async with (
        stage.open(members=tmp_path) as log,
        log.subscribe("group", [Topic.COMPLETIONS]) as subscription,
    ):
        found = await gather(subscription, 6)
        waited = loop.time() - began

    assert [b"%d" % n for n in range(4, 10)] == [one.value for one in found]
    assert waited < stage.times.session.total_seconds()


# ---------------------------------------------------------------- reading without a group


async def test_reading_a_missing_topic_is_told(stage):
    """Whoever asks for a topic that does not exist learns which one it is."""
    async with stage.open() as log:
        for question in (
            lambda: log.offsets([Topic.RESULTS]),
            lambda: anext(log.read([Topic.RESULTS])),
        ):
            with pytest.raises(LogUnavailable, match="results"):
                await question()


async def test_with_no_kafka_everything_is_unavailable(topic_prefix, unused_tcp_port):
    """Opening needs no Kafka; each question says that none answers, and soon."""
    stage = Stage(f"127.0.0.1:{unused_tcp_port}", topic_prefix)
    async with asyncio.timeout(30), stage.open() as log:
        for question in (
            lambda: log.append(record()),
            log.ping,
            lambda: log.offsets([Topic.RESULTS]),
            lambda: log.committed("group"),
            lambda: anext(log.read([Topic.RESULTS])),
            lambda: log.subscribe("group", [Topic.RESULTS]).__aenter__(),
        ):
            with pytest.raises(LogUnavailable):
                await question()


async def test_a_group_that_does_not_follow_reads_to_the_end(stage):
    """Without following, batches come until nothing stands after what was committed."""
    async with stage.open() as log, log.subscribe("group", [Topic.COMPLETIONS]) as subscription:
        for number in range(20):
            await log.append(record(f"key-{number}"))
        found = []
        while some := await next_batch(subscription, max_records=7, follow=False):
            found += some
            await subscription.commit(low_water(found))

    assert 20 == len(found)


async def test_a_subscription_whose_client_broke_is_over(stage):
    """When the client can learn of no leader any more, polls say so, and a fresh one reads on."""
    await stage.make_topics(Topic.COMPLETIONS)
    async with stage.open() as log, log.subscribe("group", [Topic.COMPLETIONS]) as subscription:
        client = subscription._consumer._client

        async def cut(*_):
            raise RuntimeError("unable to perform operation on a closed transport")

        client._metadata_update, broken = cut, client._sync_task
        client.add_topic("another")
        await until(broken.done)
        with pytest.raises(LogUnavailable, match="a loop of the client broke"):
            async with asyncio.timeout(SOON_S):
                await subscription.poll(max_records=1, timeout=timedelta(seconds=SOON_S))
