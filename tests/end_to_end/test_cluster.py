"""What only a cluster can meet: large records, topics that are small, gone, or forbidden."""

import asyncio
import io
import json
import os
import time
from uuid import uuid4

import aiohttp
import pytest
from aiokafka.admin import AIOKafkaAdminClient
from pydantic import SecretStr

from consumer.app.cluster import kafka_place
from consumer.app.topics import MakeOrder, make_topics
from consumer.core.event import Topic
from consumer.devservers import Right, open_kafka
from consumer.log.kafka.administration import open_administration
from consumer.log.kafka.place import client_options, topic_name
from consumer.simulator import completion_body
from tests.end_to_end.cluster import open_cluster as open_cluster_on
from tests.end_to_end.stage import ACCOUNT, until

pytestmark = [pytest.mark.slow, pytest.mark.kafka, pytest.mark.timeout(240)]

MIB = 1024 * 1024


def body_of(size: int) -> tuple[str, bytes]:
    """Return a request id and a readable completion of exactly that many bytes."""
    request_id = str(uuid4())
    bare = completion_body(request_id, {"text": ""})
    filler = os.urandom(size).hex()[: max(0, size - len(bare))]
    body = completion_body(request_id, {"text": filler})
    return request_id, body


async def post_all(stage, bodies: dict[str, bytes]) -> dict[str, int]:
    """Deliver all of them at once, and return the answers."""
    async with aiohttp.ClientSession() as session:

        async def post(request_id: str, body: bytes) -> int:
            signer = stage.simulator.keys.signing
            headers = signer.sign_headers(request_id, ACCOUNT, int(time.time()), body)
            url = f"{stage.receiver_url}/webhooks/fal"
            async with session.post(url, data=io.BytesIO(body), headers=headers) as answer:
                return answer.status

        async def ready() -> bool:
            async with session.get(f"{stage.receiver_url}/readyz") as answer:
                return answer.status == 200

        await until(ready)
        found = await asyncio.gather(*(post(*one) for one in bodies.items()))
    return dict(zip(bodies, found, strict=True))


async def kept(stage, topic: Topic, bodies: dict[str, bytes]) -> bool:
    """Tell whether a topic holds every one of these bodies, byte for byte."""
    held = {record.key: record.value for record in await stage.records(topic)}
    return all(held.get(request_id) == body for request_id, body in bodies.items())


async def recorded(stage, bodies: dict[str, bytes]) -> bool:
    """Tell whether the ledger holds the evidence of every one of these, byte for byte."""
    for request_id, body in bodies.items():
        if body not in [one.body for one in await stage.ledger.evidence(request_id)]:
            return False
    return True


async def test_nine_mebibytes_pass_unchanged(open_cluster):
    """Receiver, Kafka and worker take a large delivery; the ledger holds its very bytes."""
    bodies = dict([body_of(9 * MIB)])
    async with open_cluster() as stage:
        answers = await post_all(stage, bodies)
        await until(lambda: recorded(stage, bodies))

        assert {200} == set(answers.values())
        assert await kept(stage, Topic.COMPLETIONS, bodies)


async def test_twelve_of_ten_mebibytes_at_once(open_cluster):
    """What is together over every limit of a request to Kafka passes in turn."""
    bodies = dict(body_of(10 * MIB) for _ in range(12))
    async with open_cluster() as stage:
        answers = await post_all(stage, bodies)
        await until(lambda: recorded(stage, bodies))

        assert {200} == set(answers.values())


async def test_what_a_topic_does_not_take_is_a_dead_letter_and_in_nobodys_way(open_cluster):
    """On a topic of 1 MiB the large one is kept whole; small ones before, beside, after arrive."""
    large = dict([body_of(2 * MIB)])
    before, beside, after = (dict(body_of(2000) for _ in range(20)) for _ in range(3))
    async with open_cluster() as stage:
        place = kafka_place(stage.settings)
        name = topic_name(place, Topic.COMPLETIONS)
        async with open_administration(place) as administration:
            refused = await administration.set_configs(
                name, {"max.message.bytes": str(MIB)}, dry_run=False
            )
        answers = await post_all(stage, before)
        answers |= await post_all(stage, {**beside, **large})
        answers |= await post_all(stage, after)
        await until(lambda: kept(stage, Topic.DEAD_LETTERS, large))
        await until(lambda: kept(stage, Topic.COMPLETIONS, {**before, **beside, **after}))

        assert not refused
        assert {200} == set(answers.values())
        letters = await stage.records(Topic.DEAD_LETTERS)
        assert [next(iter(large))] == [letter.key for letter in letters]


async def test_a_topic_that_was_deleted_and_made_again_loses_nothing(open_cluster):
    """Meanwhile deliveries wait in the spool; no dead letter, none missing afterwards."""
    first, second = (dict(body_of(2000) for _ in range(30)) for _ in range(2))
    async with open_cluster() as stage:
        answers = await post_all(stage, first)
        await until(lambda: recorded(stage, first))
        place = kafka_place(stage.settings)
        admin = AIOKafkaAdminClient(**client_options(place))
        await admin.start()
        try:
            await admin.delete_topics([topic_name(place, Topic.COMPLETIONS)])
        finally:
            await admin.close()
        answers |= await post_all(stage, second)
        await make_topics(stage.settings, MakeOrder(partitions=4))
        await until(lambda: recorded(stage, second))

        assert {200} == set(answers.values())
        assert [] == await stage.records(Topic.DEAD_LETTERS)


async def test_rights_taken_away_and_given_back_lose_nothing(tmp_path, own_brokers, topic_prefix):
    """A receiver that may not write is a Kafka that does not answer: it spools, and drains."""
    users = {"admin": "admin-secret", "service": "service-secret"}
    password = tmp_path / "password"
    password.write_text(users["service"])
    reading = ("READ", "CREATE", "DESCRIBE", "DESCRIBE_CONFIGS")
    rights = [
        *(Right(operation, topic_prefix, prefix=True) for operation in reading),
        *(Right("WRITE", topic_prefix + topic) for topic in Topic),
        Right("READ", topic_prefix, kind="group", prefix=True),
    ]
    write = Right("WRITE", topic_prefix + Topic.COMPLETIONS)
    async with open_kafka(tmp_path / "kafka", users=users) as cluster:
        await cluster.grant("service", *rights)
        opened = open_cluster_on(
            tmp_path,
            f"kafka://{cluster.servers}",
            topic_prefix,
            kafka_security_protocol="SASL_PLAINTEXT",
            kafka_sasl_mechanism="SCRAM-SHA-256",
            kafka_sasl_username=SecretStr("service"),
            kafka_sasl_password_file=password,
        )
        async with opened as stage:
            first, second = (dict(body_of(2000) for _ in range(30)) for _ in range(2))
            answers = await post_all(stage, first)
            await cluster.revoke("service", write)
            answers |= await post_all(stage, second)
            held_back = not await kept(stage, Topic.COMPLETIONS, second)
            await cluster.grant("service", write)
            await until(lambda: recorded(stage, {**first, **second}))

            assert {200} == set(answers.values())
            assert held_back
            assert [] == await stage.records(Topic.DEAD_LETTERS)


def test_the_bodies_are_what_they_claim():
    """A body has the size that was asked for, and parses."""
    request_id, body = body_of(MIB)

    assert MIB == len(body)
    assert request_id == json.loads(body)["request_id"]
