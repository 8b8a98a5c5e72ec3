"""Others read the topics: the CloudEvents SDK, kcat, plain clients; schemas hold every value."""

import asyncio
import json
import shutil
import sys
from functools import cache
from pathlib import Path

import pytest
from cloudevents.core.bindings.kafka import KafkaMessage, from_binary
from cloudevents.core.formats.json import JSONFormat
from confluent_kafka import Consumer
from confluent_kafka import TopicPartition as Place
from jsonschema import Draft202012Validator

from consumer.core.command import parse_command
from consumer.core.event import EventType, Topic, decode, format_time
from consumer.log.kafka.log import KafkaLog
from consumer.log.kafka.place import KafkaPlace
from consumer.testing.deliveries import REQUEST_ID, webhook_body
from docs.asyncapi import document, short_name
from tests.kafka.foreign import (
    NOW,
    blocks,
    every_kind,
    lines_of,
    make_topics,
    output_of,
    program,
    read_all,
    result,
    webhook,
)

SCHEMAS = Path(__file__).parents[2] / "schemas"
LETTERS = Topic.DEAD_LETTERS
MESSAGES = document()["components"]["messages"]
MIB = 1024 * 1024


@pytest.fixture
async def place(kafka, topic_prefix) -> KafkaPlace:
    """A Kafka with our topics, one partition each."""
    place = KafkaPlace((kafka.servers,), topic_prefix, is_single_broker=True)
    await make_topics(place)
    return place


@pytest.fixture
def kcat(require) -> str:
    found = shutil.which("kcat")
    if found is None:
        require("kcat", "kcat is not installed (Debian, Ubuntu: apt-get install kcat)")
    return found


async def fill(place: KafkaPlace, *records) -> None:
    """Put records on the topics as the service does."""
    async with KafkaLog.open(place, clock=lambda: NOW) as log:
        for record in records:
            async with asyncio.timeout(30):
                await log.append(record)


@cache
def schema_of(kind: str) -> Draft202012Validator:
    name = kind.removeprefix("fal-consumer.")
    return Draft202012Validator(json.loads((SCHEMAS / f"{name}.schema.json").read_text()))


def texts(record) -> dict[str, str]:
    return {name: value.decode() for name, value in record.headers}


async def test_every_kind_of_record_is_what_the_documents_say(place):
    """
    Each record has the headers that the AsyncAPI document lists, a value that the JSON Schema of
    its type holds, and is an event to the official CloudEvents SDK.
    """
    records = every_kind()
    await fill(place, *records)

    read = await read_all(place, *(topic for topic in Topic if topic is not LETTERS))

    assert {kind.value for kind in EventType} == {texts(record)["ce_type"] for record in read}
    assert sorted(one.value for one in records if one.topic is not LETTERS) == sorted(
        record.value for record in read
    )
    for record in read:
        headers = texts(record)
        message = MESSAGES[short_name(EventType(headers["ce_type"]))]
        assert [] == list(Draft202012Validator(message["headers"]).iter_errors(headers))
        assert [] == list(schema_of(headers["ce_type"]).iter_errors(json.loads(record.value)))
        event = from_binary(
            KafkaMessage(dict(record.headers), record.key, record.value), JSONFormat()
        )
        assert (headers["ce_type"], headers["ce_id"]) == (event.get_type(), event.get_id())
        assert record.key.decode() == event.get_subject() == event.get_extension("partitionkey")
        assert format_time(event.get_time()) == headers["ce_time"]
        assert json.loads(record.value) == event.get_data()


async def test_dead_letters_are_what_the_document_says(place):
    """A dead letter has its own headers beside the record's, and the value its type promises."""
    await fill(place, *every_kind())

    letters = {texts(one)["dlreason"]: one for one in await read_all(place, LETTERS) if one.value}

    assert {"unverified", "unreadable_body"} == set(letters)
    check = Draft202012Validator(MESSAGES["dead-letter"]["headers"])
    for letter in letters.values():
        assert [] == list(check.iter_errors(texts(letter)))
        assert {*texts(letter)} <= {*MESSAGES["dead-letter"]["headers"]["properties"]}
    whole = letters["unverified"]
    assert schema_of(texts(whole)["ce_type"]).is_valid(json.loads(whole.value))
    assert b"\xff not JSON" == letters["unreadable_body"].value


def test_each_topic_carries_what_the_document_lists():
    """Each type is listed on the one channel that it is written to; all topics are there."""
    channels = document()["channels"]

    for record in every_kind():
        kinds = {short_name(EventType(v.decode())) for n, v in record.headers if n == "ce_type"}
        expected = {"dead-letter"} if record.topic is LETTERS else kinds
        assert expected <= set(channels[record.topic]["messages"])
    listed = [name for channel in channels.values() for name in channel["messages"]]
    assert sorted([*map(short_name, EventType), "dead-letter"]) == sorted(listed)
    assert [f"fal.{topic}" for topic in Topic] == [one["address"] for one in channels.values()]


async def test_kcat_prints_the_records(place, kcat):
    """The line of the docs prints key, headers and value of each result, and ends."""
    record = result()
    await fill(place, record)

    said = (await output_of(program("kcat", 0, place))).decode().splitlines()

    assert said[0].startswith(f"{REQUEST_ID} ce_specversion=1.0,ce_type=fal-consumer.result.v1,")
    assert record.value.decode() == said[1]


async def test_kcat_reads_as_a_group(place, kcat):
    """The second line of the docs gives each value, from the first on."""
    record = result()
    await fill(place, record, record)

    assert [record.value.decode()] * 2 == await lines_of(program("kcat", 1, place), 2)


@pytest.mark.parametrize("client", ["aiokafka", "confluent-kafka"])
async def test_the_programs_of_the_docs_read_results(place, client):
    """Each program of the docs prints the request and how it ended."""
    await fill(place, result())

    assert [f"{REQUEST_ID} succeeded"] == await lines_of(program(client, 0, place), 1)


async def test_the_sdk_lines_of_the_docs_read_a_result(place):
    """The lines for the CloudEvents SDK print type, subject and outcome of a record."""
    await fill(place, result())
    (record,) = await read_all(place, Topic.RESULTS)
    made = f"from types import SimpleNamespace as N; record = N(headers={record.headers!r}, "
    made += f"key={record.key!r}, value={record.value!r})\n"

    said = await lines_of([sys.executable, "-c", made + blocks("CloudEvents SDK")[0]], 1)

    assert [f"fal-consumer.result.v1 {REQUEST_ID} succeeded"] == said


async def test_a_command_from_kcat_is_a_command(place, kcat):
    """What the line of the docs writes is read as the command that it means."""
    await output_of(program("Asking for work", 0, place))

    (record,) = await read_all(place, Topic.COMMANDS)

    event = decode(record.headers, record.value)
    assert (EventType.COMMAND, "job-17", b"job-17") == (event.type, event.id, record.key)
    assert "fal-ai/flux/dev" == parse_command(event.data).endpoint
    assert schema_of("fal-consumer.command.v1").is_valid(json.loads(record.value))


async def test_readers_need_no_settings_for_large_records(place, kcat):
    """A completion of 10 MiB comes whole to clients that were told nothing about sizes."""
    empty = webhook_body(payload={"text": ""})
    large = webhook(webhook_body(payload={"text": "x" * (10 * MIB - len(empty))}))
    await fill(place, large, large)

    plain = await read_all(place, Topic.COMPLETIONS)
    by_librdkafka = await asyncio.to_thread(read_by_librdkafka, place, 2)
    name = place.topic_prefix + Topic.COMPLETIONS
    options = ["-C", "-t", name, "-o", "beginning", "-e", "-q", "-f", "%S\n"]
    sizes = await output_of([kcat, "-b", place.servers[0], *options])

    assert 10 * MIB == len(large.value)
    assert [large.value] * 2 == [record.value for record in plain] == by_librdkafka
    assert [10 * MIB] * 2 == [int(line) for line in sizes.split()]


def read_by_librdkafka(place: KafkaPlace, count: int) -> list[bytes]:
    reader = Consumer({"bootstrap.servers": place.servers[0], "group.id": "none"})
    try:
        reader.assign([Place(place.topic_prefix + Topic.COMPLETIONS, 0, 0)])
        records = [reader.poll(30) for _ in range(count)]
        return [record.value() for record in records]
    finally:
        reader.close()
