"""Publishing to a real Kafka that is there all the time."""

import asyncio
import time
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import TopicAlreadyExistsError

from consumer.core.event import Topic
from consumer.errors import LogUnavailable, RecordRefused
from consumer.log.kafka.administration import open_administration
from consumer.log.kafka.place import KafkaLimits, client_options, topic_name
from consumer.log.kafka.topics import topic_needs
from tests.kafka.publishing import (
    KIB,
    MIB,
    PATIENT,
    append_all,
    begun,
    body,
    open_publisher,
    record,
    stored,
    values_of,
)
from tests.kafka.stage import Stage, until

NAME = Topic.COMPLETIONS


@pytest.fixture
def stage(kafka, topic_prefix):
    return Stage(kafka.servers, topic_prefix)


async def limit_to(place, size):
    """Set what the topic takes at most."""
    async with open_administration(place) as admin:
        config = {"max.message.bytes": str(size)}
        assert [] == list(await admin.set_configs(topic_name(place, NAME), config, dry_run=False))

        async def is_set():
            needs = [one for one in topic_needs(place, max_body_bytes=MIB) if one.topic is NAME]
            (state,) = await admin.states(needs)
            return config.items() <= state.found.configs.items()

        await until(is_set)  # the broker takes note of it a moment later


async def delete_topic(place):
    admin = AIOKafkaAdminClient(**client_options(place))
    await admin.start()
    try:
        await admin.delete_topics([topic_name(place, NAME)])
    finally:
        await admin.close()


async def test_a_record_stands_where_it_is_said_to(stage):
    """Key, value and headers are in the log, byte for byte, at the position returned."""
    await stage.make_topics(NAME)
    headers = (("ce_id", b"1"), ("ce_id", b""), ("näme", bytes(range(256))))
    sent = record("schlüssel", bytes(range(256)) * 5, headers=headers)

    async with open_publisher(stage.place) as publisher:
        position = await publisher.append(sent)
        await publisher.ping()

    held = (await stored(stage.place))[position.partition][position.offset]
    assert NAME is position.topic
    assert ("schlüssel".encode(), sent.value, headers) == (held.key, held.value, held.headers)


async def test_keys_go_where_other_clients_put_them(stage):
    """A key has the same partition with us as with the plain client."""
    await stage.make_topics(NAME, partitions=7)
    keys = [f"key-{number}" for number in range(40)]

    async with open_publisher(stage.place) as publisher:
        ours = [await publisher.append(record(key)) for key in keys]
    async with AIOKafkaProducer(**client_options(stage.place)) as plain:
        name = topic_name(stage.place, NAME)
        theirs = [await plain.send_and_wait(name, b"", key=key.encode()) for key in keys]

    assert [one.partition for one in theirs] == [one.partition for one in ours]


async def test_a_known_limit_is_judged_before_the_producer(stage):
    """Over the topic's limit it is refused at once, beside small ones that all arrive."""
    await stage.make_topics(NAME, max_message_bytes=MIB)
    small = [record(f"key-{number}", body(KIB, number)) for number in range(50)]
    large = record("key-7", bytes(9 * MIB))

    async with open_publisher(stage.place) as publisher:
        answers = await append_all(publisher, [*small[:25], large, *small[25:]])

    assert "takes 1048576 at most" in answers.pop(25).problem
    assert [] == [answer for answer in answers if isinstance(answer, Exception)]
    assert sorted(one.value for one in small) == sorted(await values_of(stage.place))


async def test_a_record_refused_by_the_broker_leaves_the_others_alone(stage):
    """
    The broker's limit is lower than we know: the guilty one is refused alone, its batch's
    innocents arrive, its partition goes on, and batches become smaller.
    """
    await stage.make_topics(NAME, partitions=1, max_message_bytes=MIB)
    small = [record(f"key-{number}", body(10 * KIB, number)) for number in range(40)]
    guilty = record("guilty", body(150 * KIB))

    async with open_publisher(stage.place) as publisher:
        await publisher.append(record("first", b"first"))
        await limit_to(stage.place, 100 * KIB)
        answers = await append_all(publisher, [*small[:20], guilty, *small[20:]])
        refused = answers.pop(20)
        again = await append_all(publisher, small)
        await publisher.ping()

    assert isinstance(refused, RecordRefused)
    assert [] == [answer for answer in [*answers, *again] if isinstance(answer, Exception)]
    held = await values_of(stage.place)
    assert {one.value for one in small} | {b"first"} == set(held)


async def test_the_exact_limit_is_the_brokers(stage):
    """What we compute as the largest size the broker takes, and not a byte more."""
    await stage.make_topics(NAME, max_message_bytes=5000)
    # 61 of the batch, 2 for the record's length, 3 and 1 for the key, 2 for the value's length,
    # 1 for no headers: 70 beside key and value.
    fits, too_large = record("key", bytes(4927)), record("key", bytes(4928))

    async with open_publisher(stage.place) as publisher:
        await publisher.append(fits)
        with pytest.raises(RecordRefused) as refused:
            await publisher.append(too_large)
    async with AIOKafkaProducer(**client_options(stage.place)) as plain:
        name = topic_name(stage.place, NAME)
        await plain.send_and_wait(name, fits.value, key=b"key")
        with pytest.raises(Exception, match="MessageSizeTooLarge"):
            await plain.send_and_wait(name, too_large.value, key=b"key")

    assert "5001 bytes, and the topic takes 5000 at most" == refused.value.problem


async def test_a_limit_raised_meanwhile_is_noticed(stage):
    """A record is not refused by a limit that was raised since it was read."""
    await stage.make_topics(NAME, max_message_bytes=50 * KIB)

    async with open_publisher(stage.place) as publisher:
        await publisher.ping()
        publisher._keeper.sizes.expire()  # as if it had been read long ago
        await limit_to(stage.place, MIB)
        position = await publisher.append(record("key", body(500 * KIB)))

    assert 0 == position.offset


async def test_twelve_of_ten_mebibytes_at_once(stage):
    """Large records wait for room and all arrive; what is in flight stays under the cap."""
    await stage.make_topics(NAME, partitions=12, max_message_bytes=12 * MIB)
    large = [record(f"key-{number}", body(10 * MIB, number)) for number in range(12)]
    peak = 0

    async with open_publisher(stage.place) as publisher:
        sending = asyncio.create_task(append_all(publisher, large))
        while not sending.done():
            peak = max(peak, publisher._permits.bytes)
            await asyncio.sleep(0.001)
        answers = await sending

    assert [] == [answer for answer in answers if isinstance(answer, Exception)]
    assert 20 * MIB < peak <= 32 * MIB
    assert sorted(one.value[:8] for one in large) == sorted(
        value[:8] for value in await values_of(stage.place)
    )


async def test_one_key_keeps_its_order_through_full_batches(stage):
    """Appends started in turn stand in turn, though they wait for one batch after another."""
    await stage.make_topics(NAME, partitions=1)
    large = [record("key", body(200 * KIB if n % 3 else 20, n)) for n in range(40)]

    async with open_publisher(stage.place) as publisher:
        positions = await append_all(publisher, large)

    assert list(range(40)) == [one.offset for one in positions]


async def test_one_key_keeps_its_order_over_a_fresh_producer(stage):
    """What a lost producer had in hand is sent again in the order in which it was appended."""
    await stage.make_topics(NAME, partitions=2)
    values = [body(2 * KIB, number) for number in range(200)]
    given = [record(f"key-{number % 2}", value) for number, value in enumerate(values)]

    async with open_publisher(stage.place) as publisher:
        await publisher.ping()
        first = asyncio.create_task(append_all(publisher, given[:150]))
        await asyncio.sleep(0.002)
        publisher._keeper.session.end("lost by the test")
        second = asyncio.create_task(append_all(publisher, given[150:]))
        answers = await first + await second

    assert [] == [answer for answer in answers if isinstance(answer, Exception)]
    for held in (await stored(stage.place)).values():
        for key in {one.key for one in held}:
            numbers = [int.from_bytes(one.value[:8], "big") for one in held if one.key == key]
            assert sorted(set(numbers)) == list(dict.fromkeys(numbers))
    assert set(values) == set(await values_of(stage.place))


async def test_a_missing_topic_is_told_at_once_and_its_making_is_noticed(stage):
    """Without the topic nothing waits; once it is made, records go in, and none was refused."""
    await stage.make_topics(Topic.RESULTS)

    async with open_publisher(stage.place) as publisher:
        with pytest.raises(LogUnavailable) as missing:
            await publisher.append(record())
        with pytest.raises(LogUnavailable):
            await publisher.ping()
        assert "fal-consumer topics create" in missing.value.problem
        await until(lambda: _takes(publisher, Topic.RESULTS))  # the others go on
        await stage.make_topics(NAME)
        await until(lambda: _takes(publisher))
        await publisher.ping()


async def test_a_topic_deleted_and_made_again_goes_on(stage):
    """While it is gone records are put off, never refused; then they go in again."""
    await stage.make_topics(NAME)
    limits = replace(
        PATIENT, send_deadline=timedelta(seconds=1), stall_deadline=timedelta(seconds=2)
    )

    async with open_publisher(stage.place, limits) as publisher:
        for number in range(20):
            await publisher.append(record(f"key-{number}"))
        await delete_topic(stage.place)
        await until(lambda: _is_put_off(publisher))
        stage.made.clear()
        await until(lambda: _is_made(stage))
        await until(lambda: _takes(publisher))
        answers = await append_all(publisher, [record(f"key-{number}") for number in range(20)])

    assert [] == [answer for answer in answers if isinstance(answer, Exception)]


async def test_a_drain_lane_and_live_records_do_not_starve_each_other(stage):
    """With a lane full of large records, a live one still goes in, and the other way round."""
    await stage.make_topics(NAME, partitions=3, max_message_bytes=12 * MIB)

    async with open_publisher(stage.place) as publisher:
        await publisher.ping()
        lane = publisher.lane(0.25)
        backlog = asyncio.create_task(
            append_all(lane, [record(f"old-{n}", body(9 * MIB, n)) for n in range(6)])
        )
        live = asyncio.create_task(
            append_all(publisher, [record(f"new-{n}", body(9 * MIB, n)) for n in range(6)])
        )
        answers = await backlog + await live
        await lane.ping()

    assert [] == [answer for answer in answers if isinstance(answer, Exception)]


async def test_no_room_in_time_is_unavailable(stage):
    """Who finds no room within the deadline hears so, and what is in hand goes on."""
    await stage.make_topics(NAME)
    limits = KafkaLimits(send_deadline=timedelta(seconds=0.5), max_records=2)

    async with open_publisher(stage.place, limits) as publisher:
        await publisher.append(record())
        main = publisher._permits.main
        assert main.maybe_take(1)
        assert main.maybe_take(1)
        with pytest.raises(LogUnavailable):
            await publisher.append(record())
        main.give_back(1)
        await publisher.append(record())
        main.give_back(1)

        assert (0, 0) == (publisher._permits.records, publisher._permits.bytes)


@pytest.mark.parametrize("made", [record("\ud800"), record(headers=(("\ud800", b""),))])
async def test_text_that_no_encoding_carries_is_refused(stage, made):
    """Such a record is refused without harm to those beside it."""
    await stage.make_topics(NAME, partitions=1)
    good = [record(f"key-{number}") for number in range(10)]

    async with open_publisher(stage.place) as publisher:
        answers = await append_all(publisher, [*good[:5], made, *good[5:]])

    assert isinstance(answers.pop(5), RecordRefused)
    assert set(range(10)) == {answer.offset for answer in answers}


async def test_closing_finishes_what_is_in_hand(stage):
    """Records on their way when it closes are durable, later ones are put off."""
    await stage.make_topics(NAME)
    given = [record(f"key-{number}", body(KIB, number)) for number in range(300)]

    async with open_publisher(stage.place) as publisher:
        await publisher.ping()
        sending = asyncio.create_task(append_all(publisher, given))
        await begun(publisher)
        started = time.monotonic()
    assert time.monotonic() - started < 5

    answers = await sending
    assert [] == [answer for answer in answers if isinstance(answer, Exception)]
    with pytest.raises(LogUnavailable):
        await publisher.append(given[0])
    assert 300 == len(await values_of(stage.place))


async def test_a_cancelled_append_keeps_its_room_until_the_client_is_done(stage):
    """Who goes away leaves the record with the client: its bytes count until it is through."""
    await stage.make_topics(NAME)

    async with open_publisher(stage.place) as publisher:
        await publisher.ping()
        sending = asyncio.create_task(publisher.append(record(value=body(500 * KIB))))
        await asyncio.sleep(0)
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        assert 1 == publisher._permits.records
        await until(lambda: 0 == publisher._permits.records)

    assert [body(500 * KIB)] == await values_of(stage.place)


async def _takes(publisher, topic=NAME):
    try:
        return bool(await publisher.append(record(topic=topic)))
    except LogUnavailable:
        return False


async def _is_put_off(publisher):
    return not await _takes(publisher)


async def _is_made(stage):
    with suppress(TopicAlreadyExistsError):  # while Kafka is still deleting it
        await stage.make_topics(NAME)
        return True
    return False
