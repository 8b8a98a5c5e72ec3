"""
Claims and parked records to rows and back. No SQL here, and no decision.

What a claimer or a handler gave comes back byte for byte, so it rests in binary columns.
"""

import json
from base64 import b64decode, b64encode
from collections.abc import Mapping
from typing import Any

from consumer.core.event import Headers, NewRecord, Topic
from consumer.core.text import dump_json
from consumer.errors import UndecodableEvent
from consumer.ledger.rows import Row, instant, kept, micros
from consumer.ports import Claim, ClaimKind, Parked, Position, Record


def claim_row(claim: Claim) -> Row:
    """
    Return the row of a claim.

    Its detail rests as bytes: the claimer gets back exactly what it gave, NUL and lone
    surrogates included. Raises UndecodableEvent when that is no JSON.
    """
    return {
        "kind": claim.kind.value,
        "key": kept(claim.key),
        "revision": claim.revision,
        "fingerprint": kept(claim.fingerprint),
        "detail": detail_bytes(claim.detail),
        "claimed_at": micros(claim.claimed_at),
        "deadline_at": micros(claim.deadline_at),
        "is_published": claim.is_published,
        **event_columns(claim.event),
    }


def detail_bytes(detail: Mapping[str, Any]) -> bytes:
    """Return a claim's detail as JSON. Raises UndecodableEvent when it is none."""
    try:
        return dump_json(dict(detail))
    except (ValueError, TypeError) as exc:
        raise UndecodableEvent("detail", "not JSON that can be kept") from exc


def event_columns(event: NewRecord | None) -> Row:
    """Return the columns of a claim that hold its event, or nothing."""
    return {
        "event_topic": event.topic.value if event else None,
        "event_key": _packed(event.key) if event else None,
        "event_value": event.value if event else None,
        "event_headers": _packed_headers(event.headers) if event else None,
    }


def claim_of(row: Any) -> Claim:
    """Return the claim of a row."""
    event = None
    if row.event_topic is not None:
        event = NewRecord(
            Topic(row.event_topic),
            _unpacked(row.event_key),
            bytes(row.event_value),
            _unpacked_headers(row.event_headers),
        )
    return Claim(
        ClaimKind(row.kind),
        row.key,
        row.revision,
        row.fingerprint,
        json.loads(row.detail),
        instant(row.claimed_at),
        instant(row.deadline_at),
        event,
        bool(row.is_published),
    )


def parked_row(parked: Parked) -> Row:
    """Return the row of a parked record; the record comes back byte for byte."""
    position = parked.record.position
    return {
        "id": kept(parked.id),
        "handler_group": kept(parked.group),
        "topic": position.topic.value,
        "partition": position.partition,
        "offset": position.offset,
        "record_key": _packed(parked.record.key),
        "value": parked.record.value,
        "headers": _packed_headers(parked.record.headers),
        "appended_at": micros(parked.record.appended_at),
        "attempt": parked.attempt,
        "reason": kept(parked.reason),
        "parked_at": micros(parked.parked_at),
        "due_at": micros(parked.due_at),
    }


def parked_of(row: Any) -> Parked:
    """Return the parked record of a row."""
    record = Record(
        Position(Topic(row.topic), row.partition, row.offset),
        _unpacked(row.record_key),
        bytes(row.value),
        _unpacked_headers(row.headers),
        instant(row.appended_at),
    )
    return Parked(
        row.id,
        row.handler_group,
        record,
        row.attempt,
        row.reason,
        instant(row.parked_at),
        instant(row.due_at),
    )


def _packed(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _unpacked(stored: bytes) -> str:
    return bytes(stored).decode("utf-8", "surrogatepass")


def _packed_headers(headers: Headers) -> bytes:
    return dump_json([[name, b64encode(value).decode("ascii")] for name, value in headers])


def _unpacked_headers(stored: bytes) -> Headers:
    return tuple((name, b64decode(value)) for name, value in json.loads(stored))
