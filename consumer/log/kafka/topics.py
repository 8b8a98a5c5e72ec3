"""
How our topics must be on a Kafka, and whether they are: sizes, retention, replicas.

Pure: what stands on the brokers comes in as `TopicFound`. Asking and changing them is
`administration`; who may use them is `acls`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Literal

from consumer.core.event import Topic
from consumer.core.result import MAX_OUTPUT_BYTES
from consumer.log.kafka.place import KafkaPlace, topic_name

Verdict = Literal["ok", "warning", "failed"]

PARTITIONS = 12
REPLICATION = 3
_MIB = 1024 * 1024
_BESIDE_A_BODY = _MIB
# Headers, key, the JSON around an output and Kafka's own framing. Our headers stay far below:
# the longest are a token (2 KiB), four ids (256 bytes each) and a dead letter's problem.
_LIFECYCLE_BYTES = 2 * _MIB
# Its largest events are key sets: documents of 64 KiB at most, escaped.
_RETENTION = timedelta(days=30)
_COMMANDS_RETENTION = timedelta(days=7)

RETENTION_MS = "retention.ms"
MAX_MESSAGE_BYTES = "max.message.bytes"
MIN_IN_SYNC = "min.insync.replicas"
_RETENTION_BYTES = "retention.bytes"
_CLEANUP = "cleanup.policy"
_UNCLEAN = "unclean.leader.election.enable"
_COMPRESSION = "compression.type"
_PLAIN_CODECS = ("producer", "uncompressed", "gzip")
# Source: Apache Kafka documentation, "Topic Configs" (4.x).

CONFIG_NAMES = (
    RETENTION_MS,
    MAX_MESSAGE_BYTES,
    MIN_IN_SYNC,
    _RETENTION_BYTES,
    _CLEANUP,
    _UNCLEAN,
    _COMPRESSION,
)
"""The configuration of a topic that is looked at."""


@dataclass(frozen=True, slots=True)
class TopicNeeds:
    """What one topic must have. `max_message_bytes` bounds a record batch, framing included."""

    topic: Topic
    name: str
    replication: int
    min_in_sync: int
    retention: timedelta
    max_message_bytes: int

    @property
    def configs(self) -> Mapping[str, str]:
        """The configuration with which the topic is made."""
        return {
            _CLEANUP: "delete",
            RETENTION_MS: str(round(self.retention.total_seconds() * 1000)),
            MAX_MESSAGE_BYTES: str(self.max_message_bytes),
            MIN_IN_SYNC: str(self.min_in_sync),
            _UNCLEAN: "false",
        }


@dataclass(frozen=True, slots=True)
class TopicFound:
    """
    A topic as the brokers tell it. `configs` is None where we may not see it.

    `replication` is the least of its partitions; `operations` are what this user may do.
    """

    name: str
    partitions: int
    replication: int
    leaderless: int = 0
    out_of_sync: int = 0
    configs: Mapping[str, str] | None = None
    operations: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as it must be. `fix` is the configuration that mends it, if any."""

    verdict: Verdict
    text: str
    fix: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True)
class TopicState:
    """A topic with what it needs; `found` None where it is not there, or not for us to see."""

    needs: TopicNeeds
    found: TopicFound | None
    findings: Sequence[Finding] = field(default=())
    is_hidden: bool = False

    @property
    def is_missing(self) -> bool:
        """Tell whether the topic is certainly not there."""
        return self.found is None and not self.is_hidden

    @property
    def verdict(self) -> Verdict:
        """The worst of the findings."""
        told = {finding.verdict for finding in self.findings}
        return "failed" if "failed" in told else "warning" if "warning" in told else "ok"

    @property
    def text(self) -> str:
        """What stands there, or everything that is not as it must be."""
        if self.findings or self.found is None:
            return "; ".join(finding.text for finding in self.findings)
        copies = self.found.replication
        word = "copy" if copies == 1 else "copies"
        return f"{self.found.partitions} partitions, {copies} {word}"

    @property
    def fixes(self) -> Mapping[str, str]:
        """The configuration that would mend what can be mended so."""
        return dict(finding.fix for finding in self.findings if finding.fix)


def topic_needs(place: KafkaPlace, *, max_body_bytes: int) -> Sequence[TopicNeeds]:
    """
    Return what each topic needs, for webhook bodies of up to `max_body_bytes`.

    A place with a single broker needs one replica; else three, of which two must have a
    record before it counts.
    """
    copies = 1 if place.is_single_broker else REPLICATION
    return [
        TopicNeeds(
            topic,
            topic_name(place, topic),
            copies,
            1 if place.is_single_broker else 2,
            _COMMANDS_RETENTION if topic is Topic.COMMANDS else _RETENTION,
            record_bytes(topic, max_body_bytes=max_body_bytes),
        )
        for topic in Topic
    ]


def record_bytes(topic: Topic, *, max_body_bytes: int) -> int:
    """
    Return the `max.message.bytes` that a topic needs.

    A completion holds a webhook's body, or an output that we asked for, which is 10 MiB at
    most as it is written (base64 included). A command's input may hold as much as a body. A
    result over its limit is published without its output. A dead letter holds any of them
    and why it is one.
    """
    largest = max(max_body_bytes, MAX_OUTPUT_BYTES) + _BESIDE_A_BODY
    match topic:
        case Topic.RESULTS:
            return MAX_OUTPUT_BYTES + _BESIDE_A_BODY
        case Topic.LIFECYCLE:
            return _LIFECYCLE_BYTES
        case Topic.DEAD_LETTERS:
            return largest + _BESIDE_A_BODY
        case _:
            return largest


def request_bytes(max_body_bytes: int) -> int:
    """Return the `socket.request.max.bytes` that the brokers need for our largest record."""
    return record_bytes(Topic.DEAD_LETTERS, max_body_bytes=max_body_bytes) + _MIB


def judged(needs: TopicNeeds, found: TopicFound | None, *, is_hidden: bool = False) -> TopicState:
    """Return the topic with everything about it that is not as it must be."""
    if found is None:
        text = "is not there: fal-consumer topics create"
        if is_hidden:
            text = "this user may not see it: grant Describe, see fal-consumer topics acls"
        return TopicState(needs, None, [Finding("failed", text)], is_hidden)
    return TopicState(needs, found, [*_of_replicas(needs, found), *_of_configs(needs, found)])


def _of_replicas(needs: TopicNeeds, found: TopicFound) -> list[Finding]:
    findings = []
    if found.replication < needs.replication:
        text = (
            f"replication {found.replication}, needs {needs.replication}: add replicas with "
            "kafka-reassign-partitions.sh"
        )
        findings.append(Finding("failed", text))
    if found.leaderless:
        text = f"{found.leaderless} of {found.partitions} partitions have no leader: start brokers"
        findings.append(Finding("failed", text))
    elif found.out_of_sync:
        text = f"{found.out_of_sync} of {found.partitions} partitions lack a replica in sync"
        findings.append(Finding("warning", text))
    return findings


def _of_configs(needs: TopicNeeds, found: TopicFound) -> list[Finding]:
    if found.configs is None:
        return [Finding("warning", "its configuration is hidden: grant DescribeConfigs")]
    configs, wanted = found.configs, needs.configs
    findings = [
        Finding("failed", f"{name} {_told(configs.get(name))}, needs {at_least}", (name, at_least))
        for name in (RETENTION_MS, MAX_MESSAGE_BYTES)
        if _number(configs.get(name)) < int(at_least := wanted[name])
    ]
    findings += _of_min_in_sync(needs, found, configs.get(MIN_IN_SYNC))
    for name, allowed in (
        (_CLEANUP, ("delete",)),
        (_UNCLEAN, ("false",)),
        (_COMPRESSION, _PLAIN_CODECS),
    ):
        told = configs.get(name, allowed[0])
        if told not in allowed:
            text = f"{name} {told}, needs {allowed[0]}"
            findings.append(Finding("failed", text, (name, allowed[0])))
    if configs.get(_RETENTION_BYTES, "-1") != "-1":
        text = f"{_RETENTION_BYTES} {configs[_RETENTION_BYTES]}: records may go before their time"
        findings.append(Finding("warning", text, (_RETENTION_BYTES, "-1")))
    return findings


def _of_min_in_sync(needs: TopicNeeds, found: TopicFound, told: str | None) -> list[Finding]:
    """
    Return what is wrong with the replicas that must have a record. With too few replicas
    nothing is offered to mend it: to ask for more than there are would stop every write.
    """
    if found.replication < needs.replication:
        return []
    if _number(told) < needs.min_in_sync:
        text = f"{MIN_IN_SYNC} {_told(told)}, needs {needs.min_in_sync}"
        return [Finding("failed", text, (MIN_IN_SYNC, str(needs.min_in_sync)))]
    if _number(told) >= found.replication > 1:
        text = f"{MIN_IN_SYNC} {told} of {found.replication}: one broker away stops every write"
        return [Finding("warning", text)]
    return []


def _number(text: str | None) -> float:
    """Return a limit as a number: -1 is none, what is not told is nothing."""
    if text is None or not text.removeprefix("-").isdigit():
        return 0
    return float("inf") if text == "-1" else int(text)


def _told(text: str | None) -> str:
    return text or "not told"
