"""
What tests ask of a cluster as its admin: topics, and rights given and taken away.

Topics by aiokafka; rights by confluent-kafka, because aiokafka knows no ACLs.
"""

import asyncio
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Literal

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import for_code

from consumer.devservers.java import MISSING
from consumer.errors import ConfigError

ANSWER_WITHIN_S = 20.0


@dataclass(frozen=True, slots=True)
class Right:
    """
    To do `operation` (READ, WRITE, DESCRIBE, CREATE, …) on topics or groups of that name.

    With `prefix`, on all whose names begin with it.
    """

    operation: str
    name: str
    kind: Literal["topic", "group"] = "topic"
    prefix: bool = False


async def make_topic(
    options: Mapping[str, Any],
    name: str,
    *,
    partitions: int = 1,
    config: Mapping[str, str] | None = None,
) -> None:
    """
    Make a topic, kept as often as the cluster keeps topics; `options` as aiokafka takes them.

    Raises the aiokafka error of the broker's answer.
    """
    # -1: as often as the brokers' default.replication.factor says. aiokafka takes that only
    # beside an assignment, which may be empty.
    topic = NewTopic(name, partitions, -1, {}, dict(config or {}))
    admin = AIOKafkaAdminClient(**options)
    try:
        async with asyncio.timeout(ANSWER_WITHIN_S):
            await admin.start()
            answer = await admin.create_topics([topic])
    finally:
        await admin.close()
    for _, code, message in answer.topic_errors:
        if code:
            raise for_code(code)(f"{name}: {message}")


async def permit(
    options: Mapping[str, Any], user: str, rights: Sequence[Right], *, take_back: bool = False
) -> None:
    """Give a user rights, or take them back; `options` are the admin's, as aiokafka's."""
    try:
        import confluent_kafka.admin as librdkafka  # noqa: PLC0415, it comes with the extra `dev` only
    except ImportError as error:
        raise ConfigError([MISSING.format(error)]) from error
    client = librdkafka.AdminClient(_as_librdkafka(options))
    kinds = {
        "topic": librdkafka.ResourceType.TOPIC,
        "group": librdkafka.ResourceType.GROUP,
    }
    patterns = librdkafka.ResourcePatternType
    named = [
        (
            kinds[right.kind],
            right.name,
            patterns.PREFIXED if right.prefix else patterns.LITERAL,
            f"User:{user}",
            "*",
            librdkafka.AclOperation[right.operation],
            librdkafka.AclPermissionType.ALLOW,
        )
        for right in rights
    ]
    answers: list[Future[Any]]
    if take_back:
        filters = [librdkafka.AclBindingFilter(*one) for one in named]
        answers = list(client.delete_acls(filters).values())
    else:
        bindings = [librdkafka.AclBinding(*one) for one in named]
        answers = list(client.create_acls(bindings).values())
    async with asyncio.timeout(ANSWER_WITHIN_S):
        for answer in answers:
            await asyncio.wrap_future(answer)


def _as_librdkafka(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return an aiokafka login without TLS in the words of confluent-kafka."""
    names = {
        "bootstrap_servers": "bootstrap.servers",
        "security_protocol": "security.protocol",
        "sasl_mechanism": "sasl.mechanism",
        "sasl_plain_username": "sasl.username",
        "sasl_plain_password": "sasl.password",
    }
    return {words: options[name] for name, words in names.items() if name in options}
