"""
Requests of Kafka's protocol that aiokafka does not have, in its own terms.

Metadata that tells what this user may do and never creates a topic, and a change of single
configuration values: the older request would reset all others.
Source: Apache Kafka protocol guide, Metadata (3) version 8, IncrementalAlterConfigs (44)
version 0; both since Kafka 2.3.
"""

from collections.abc import Mapping, Sequence
from enum import IntEnum
from typing import Any

from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import Array, Boolean, Int8, Int16, Int32, Schema, String

TOPIC = 2
"""The resource type of a topic in requests about configuration and ACLs."""

BROKER = 4
"""The resource type of a broker in requests about configuration."""

_SET = 0
_TEXT = String("utf-8")


class Operation(IntEnum):
    """What an ACL allows or denies, by its number in the protocol."""

    ALL = 2
    READ = 3
    WRITE = 4
    CREATE = 5
    DELETE = 6
    ALTER = 7
    DESCRIBE = 8
    CLUSTER_ACTION = 9
    DESCRIBE_CONFIGS = 10
    ALTER_CONFIGS = 11

    @property
    def word(self) -> str:
        """The operation as `kafka-acls.sh` spells it: `DescribeConfigs`."""
        return "".join(part.capitalize() for part in self.name.split("_"))


class _RightsAnswer(Response):  # type: ignore[misc]  # aiokafka has no types
    API_KEY = 3
    API_VERSION = 8
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "brokers",
            Array(("node_id", Int32), ("host", _TEXT), ("port", Int32), ("rack", _TEXT)),
        ),
        ("cluster_id", _TEXT),
        ("controller_id", Int32),
        (
            "topics",
            Array(
                ("error_code", Int16),
                ("topic", _TEXT),
                ("is_internal", Boolean),
                (
                    "partitions",
                    Array(
                        ("error_code", Int16),
                        ("partition", Int32),
                        ("leader", Int32),
                        ("leader_epoch", Int32),
                        ("replicas", Array(Int32)),
                        ("isr", Array(Int32)),
                        ("offline_replicas", Array(Int32)),
                    ),
                ),
                ("operations", Int32),
            ),
        ),
        ("cluster_operations", Int32),
    )


class _RightsQuestion(RequestStruct):  # type: ignore[misc]
    API_KEY = 3
    API_VERSION = 8
    RESPONSE_TYPE = _RightsAnswer
    SCHEMA = Schema(
        ("topics", Array(_TEXT)),
        ("allow_auto_topic_creation", Boolean),
        ("include_cluster_operations", Boolean),
        ("include_topic_operations", Boolean),
    )


class TopicsAndRights(Request[_RightsQuestion]):  # type: ignore[misc]
    """Asks how topics stand and what this user may do with them; creates none."""

    API_KEY = 3

    def __init__(self, names: Sequence[str]) -> None:
        self._names = list(names)

    def build(self, request_struct_class: Any) -> Any:
        """Return the request as it travels."""
        return request_struct_class(self._names, False, False, True)


class _ChangesAnswer(Response):  # type: ignore[misc]
    API_KEY = 44
    API_VERSION = 0
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "resources",
            Array(
                ("error_code", Int16),
                ("error_message", _TEXT),
                ("resource_type", Int8),
                ("resource_name", _TEXT),
            ),
        ),
    )


class _Changes(RequestStruct):  # type: ignore[misc]
    API_KEY = 44
    API_VERSION = 0
    RESPONSE_TYPE = _ChangesAnswer
    SCHEMA = Schema(
        (
            "resources",
            Array(
                ("resource_type", Int8),
                ("resource_name", _TEXT),
                ("configs", Array(("name", _TEXT), ("operation", Int8), ("value", _TEXT))),
            ),
        ),
        ("validate_only", Boolean),
    )


class SetTopicConfigs(Request[_Changes]):  # type: ignore[misc]
    """Sets some configuration values of a topic and leaves all others as they are."""

    API_KEY = 44

    def __init__(self, name: str, configs: Mapping[str, str], *, validate_only: bool) -> None:
        self._resource = (TOPIC, name, [(key, _SET, value) for key, value in configs.items()])
        self._validate_only = validate_only

    def build(self, request_struct_class: Any) -> Any:
        """Return the request as it travels."""
        return request_struct_class([self._resource], self._validate_only)


def operations_of(bits: int) -> frozenset[str]:
    """Return the operations of a bit field as words; none where the broker told nothing."""
    if bits < 0:  # the least number there is: not told
        return frozenset()
    return frozenset(one.word for one in Operation if bits >> one & 1)
