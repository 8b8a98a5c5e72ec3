"""
Which topic it is that stands under a name: Kafka gives each a new id when it is made.

A topic that was deleted and made again counts its offsets from 0, so that an offset of the
earlier one would skip records of the later. The client does not ask for ids; this does.
Source: Apache Kafka protocol guide, Metadata (3) version 10, and KIP-516; since Kafka 2.8.
"""

from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import Any

from aiokafka.errors import IncompatibleBrokerVersion
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import (
    AbstractType,
    Boolean,
    CompactArray,
    CompactString,
    Int16,
    Int32,
    Schema,
    TaggedFields,
)

_TEXT = CompactString("utf-8")
_NUMBERS = CompactArray(Int32)
_ID_BYTES = 16
_NO_ID = bytes(_ID_BYTES)


class _Id(AbstractType):  # type: ignore[misc]  # aiokafka has no types
    """A UUID as its 16 bytes."""

    @classmethod
    def decode(cls, data: BytesIO) -> bytes:
        return data.read(_ID_BYTES)

    @classmethod
    def encode(cls, value: bytes) -> bytes:
        return value


class _IdsAnswer(Response):  # type: ignore[misc]
    API_KEY = 3
    API_VERSION = 10
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "brokers",
            CompactArray(
                ("node_id", Int32),
                ("host", _TEXT),
                ("port", Int32),
                ("rack", _TEXT),
                ("tags", TaggedFields),
            ),
        ),
        ("cluster_id", _TEXT),
        ("controller_id", Int32),
        (
            "topics",
            CompactArray(
                ("error_code", Int16),
                ("topic", _TEXT),
                ("topic_id", _Id),
                ("is_internal", Boolean),
                (
                    "partitions",
                    CompactArray(
                        ("error_code", Int16),
                        ("partition", Int32),
                        ("leader", Int32),
                        ("leader_epoch", Int32),
                        ("replicas", _NUMBERS),
                        ("isr", _NUMBERS),
                        ("offline_replicas", _NUMBERS),
                        ("tags", TaggedFields),
                    ),
                ),
                ("operations", Int32),
                ("tags", TaggedFields),
            ),
        ),
        ("cluster_operations", Int32),
        ("tags", TaggedFields),
    )


class _IdsQuestion(RequestStruct):  # type: ignore[misc]
    API_KEY = 3
    API_VERSION = 10
    FLEXIBLE_VERSION = True
    RESPONSE_TYPE = _IdsAnswer
    SCHEMA = Schema(
        ("topics", CompactArray(("topic_id", _Id), ("topic", _TEXT), ("tags", TaggedFields))),
        ("allow_auto_topic_creation", Boolean),
        ("include_cluster_operations", Boolean),
        ("include_topic_operations", Boolean),
        ("tags", TaggedFields),
    )


class _TopicIds(Request[_IdsQuestion]):  # type: ignore[misc]
    """Asks for topics by name, and creates none."""

    API_KEY = 3

    def __init__(self, names: Sequence[str]) -> None:
        self._names = list(names)

    def build(self, request_struct_class: Any) -> Any:
        """Return the request as it travels."""
        no_tags: dict[int, bytes] = {}
        asked = [(_NO_ID, name, no_tags) for name in self._names]
        return request_struct_class(asked, False, False, False, no_tags)


async def read_topic_ids(client: Any, names: Sequence[str]) -> Mapping[str, str]:
    """
    Return the ids, as hex text, of those topics that are there.

    None at all from brokers that know no ids. Raises what aiokafka and the network raise.
    """
    try:
        answer = await client.send(client.get_random_node(), _TopicIds(names))
    except (IncompatibleBrokerVersion, NotImplementedError):
        return {}
    return {name: raw.hex() for code, name, raw, *_ in answer.topics if not code and raw != _NO_ID}
