"""
The AsyncAPI document of the topics: keys, headers and values, for readers in any language.

Made of the same types and tables that the service runs on; `generate.py` writes it. Sizes and
retention are those of the default settings.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from consumer.core.event import HOME, EventType, Topic
from consumer.core.key_proof import PROOF_ATTRIBUTE
from consumer.core.replay import LETTER_HEADERS, MARKS
from consumer.log.kafka.place import KafkaPlace
from consumer.log.kafka.topics import PARTITIONS, TopicNeeds, topic_needs
from consumer.settings import Settings

VERSION = "3.0.0"
_BINDING = "0.5.0"
# Source: AsyncAPI 3.0.0 specification and its Kafka bindings.

_PLAIN = re.compile(r"[A-Za-z$][A-Za-z0-9_$./()`'-]*( [A-Za-z0-9_$./()`'-]+)*")
_WORDS = {"true", "false", "null", "yes", "no", "on", "off", "y", "n", "nan", "inf", "infinity"}

_ABOUT = """\
Events of fal-consumer as CloudEvents 1.0 in binary mode: attributes are record headers that begin
with `ce_`, UTF-8 text; the value is the data. The record key is the request id; before there is
one, the submission id; for facts about neither, a hash. Reading is at least once: `ce_id` names the
event and is the same in every repetition. Names begin with FAL_CONSUMER_TOPIC_PREFIX, `fal.`
by default."""

_TOPICS = {
    Topic.COMPLETIONS: "Verified webhooks, byte for byte, and ends found by asking fal.",
    Topic.RESULTS: "One event for every end of a request or submission; of several the highest "
    "revision wins.",
    Topic.LIFECYCLE: "Every other fact about requests and submissions; key sets; replays.",
    Topic.COMMANDS: "What other services ask for: submit, track, cancel, refetch.",
    Topic.DEAD_LETTERS: "Records set aside: the original whole, and beside its own headers why.",
}

_REQUIRED = {
    "ce_specversion": "always 1.0",
    "ce_type": "the type and version of the event",
    "ce_id": "names the event, the same in every repetition",
    "ce_source": "the origin that the keys, the answer or the command came from",
    "ce_subject": "the record key again",
    "ce_time": "RFC 3339 in UTC; of a webhook, when it was received",
    "content-type": "of the value",
}

_OF_WEBHOOKS = {
    "ce_falsignature": "X-Fal-Webhook-Signature as received, 128 hex digits",
    "ce_faltimestamp": "X-Fal-Webhook-Timestamp as received, decimal text",
    "ce_faluserid": "X-Fal-Webhook-User-Id as received",
    "ce_falkey": "the public key that verified it, 32 bytes as base64url",
    "ce_falaccount": "`ours` or `unproven`, as the receiver saw it; a hint",
}

_OF_WEBHOOKS_AT_TIMES = {
    "ce_falkid": "fal's name of that key",
    "ce_faltoken": "the callback token as received; a secret of sorts, a hint",
    "ce_falsubmission": "the submission that a valid token names; a hint",
    "ce_falendpoint": "the endpoint that a valid token names; a hint",
}

_SUMMARIES = {
    EventType.WEBHOOK_COMPLETION: "A webhook of fal: the value is the signed body, untouched.",
    EventType.RECONCILED_COMPLETION: "The end of a request, found by asking fal: unsigned.",
    EventType.RESULT: "The outcome of a request, or of a submission that ended without one.",
    EventType.FACT: "One thing learned about a request or a submission.",
    EventType.COMMAND: "Something that another service asks for.",
}


def short_name(kind: EventType) -> str:
    """Return a type's name in this document and in its schema's file: `result.v1`."""
    return kind.value.removeprefix("fal-consumer.")


def document() -> dict[str, Any]:
    """Return the AsyncAPI document as a value."""
    needs = topic_needs(KafkaPlace(()), max_body_bytes=Settings().max_body_bytes)
    return {
        "asyncapi": VERSION,
        "info": {
            "title": "fal-consumer",
            "version": "1",
            "description": " ".join(_ABOUT.split()),
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "channels": {one.topic.value: _channel(one) for one in needs},
        "operations": dict(_operations()),
        "components": {
            "messages": {
                **{short_name(kind): _message(kind) for kind in EventType},
                "dead-letter": _dead_letter(),
            }
        },
    }


def _channel(needs: TopicNeeds) -> dict[str, Any]:
    retention_ms = round(needs.retention.total_seconds() * 1000)
    return {
        "address": needs.name,
        "description": _TOPICS[needs.topic],
        "messages": {
            name: {"$ref": f"#/components/messages/{name}"} for name in _messages_on(needs.topic)
        },
        "bindings": {
            "kafka": {
                "topic": needs.name,
                "partitions": PARTITIONS,
                "replicas": needs.replication,
                "topicConfiguration": {
                    "cleanup.policy": ["delete"],
                    "retention.ms": retention_ms,
                    "max.message.bytes": needs.max_message_bytes,
                },
                "bindingVersion": _BINDING,
            }
        },
    }


def _messages_on(topic: Topic) -> list[str]:
    if topic is Topic.DEAD_LETTERS:
        return ["dead-letter"]
    return [short_name(kind) for kind, home in HOME.items() if home is topic]


def _operations() -> Iterator[tuple[str, Any]]:
    for topic in Topic:
        is_ours = topic is not Topic.COMMANDS
        yield (
            f"{'publish' if is_ours else 'obey'}-{topic.value}",
            {
                "action": "send" if is_ours else "receive",
                "channel": {"$ref": f"#/channels/{topic.value}"},
            },
        )


def _message(kind: EventType) -> dict[str, Any]:
    required, at_times = dict(_REQUIRED), {f"ce_{name}": text for name, text in MARKS.items()}
    if kind is EventType.WEBHOOK_COMPLETION:
        required |= _OF_WEBHOOKS
        at_times = _OF_WEBHOOKS_AT_TIMES | at_times
    if kind is EventType.FACT:
        proof = "on key sets: a JWT over the set's hash, signed with a token secret"
        at_times = {f"ce_{PROOF_ATTRIBUTE}": proof} | at_times
    headers = _headers(required, at_times)
    headers["properties"]["ce_type"]["const"] = kind.value
    return {
        "name": kind.value,
        "summary": _SUMMARIES[kind],
        "contentType": "application/json",
        "headers": headers,
        "payload": {"$ref": f"./{short_name(kind)}.schema.json"},
        "bindings": _key("the request id; before there is one, the submission id; else a hash"),
    }


def _dead_letter() -> dict[str, Any]:
    every = {**_REQUIRED, **_OF_WEBHOOKS, **_OF_WEBHOOKS_AT_TIMES}
    every |= {f"ce_{name}": text for name, text in MARKS.items()} | dict(LETTER_HEADERS)
    always = {name: every.pop(name) for name in ("dlreason", "dlattempts", "dlorigin")}
    return {
        "name": "dead-letter",
        "summary": "A record set aside, whole. Its `ce_type`, if any, tells what the value was.",
        "headers": _headers(always, every, is_open=True),
        "bindings": _key("that of the record"),
    }


def _headers(
    required: Mapping[str, str], at_times: Mapping[str, str], *, is_open: bool = False
) -> dict[str, Any]:
    told = {**required, **at_times}
    return {
        "type": "object",
        "properties": {name: {"type": "string", "description": told[name]} for name in told},
        "required": list(required),
        "additionalProperties": is_open,
    }


def _key(description: str) -> dict[str, Any]:
    key = {"type": "string", "description": description}
    return {"kafka": {"key": key, "bindingVersion": _BINDING}}


# ---------------------------------------------------------------- writing it


def asyncapi_yaml() -> str:
    """Return the AsyncAPI document as text."""
    head = "# Generated by docs/generate.py; what it is made of stands in docs/asyncapi.py.\n"
    return head + "\n".join(yaml_lines(document())) + "\n"


def yaml_lines(value: Any, indent: str = "") -> Iterator[str]:
    """Yield a mapping or list as block YAML; texts that are not plain are quoted as in JSON."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _entry(f"{indent}{_scalar(key)}:", item, indent + "  ")
    else:
        for item in value:
            yield from _entry(f"{indent}-", item, indent + "  ")


def _entry(head: str, item: Any, indent: str) -> Iterator[str]:
    is_block = isinstance(item, (Mapping, Sequence)) and not isinstance(item, str) and bool(item)
    if is_block:
        yield head
        yield from yaml_lines(item, indent)
    else:
        yield f"{head} {_scalar(item)}"


def _scalar(value: Any) -> str:
    if isinstance(value, str) and _PLAIN.fullmatch(value) and value.lower() not in _WORDS:
        return value
    return json.dumps(value)
