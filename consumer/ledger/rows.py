"""
Values to rows and back. No SQL here, and no decision.

Foreign text passes `core.text.storable` here and nowhere else in the ledger; whatever a
database could never take is refused here, before it troubles a transaction.
"""

import json
from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from consumer.core.event import Headers, NewRecord, Topic
from consumer.core.fact import Fact, FactName, Witness
from consumer.core.lifecycle import ENDS, Request, State, Submission
from consumer.core.projection import DeadLetterEntry, Evidence, KeySetEntry, ResultEntry
from consumer.core.text import dump_json, parse_json, storable, storable_json
from consumer.errors import UndecodableEvent
from consumer.ports import Claim, ClaimKind, Parked, Position, Record

Row = dict[str, Any]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_MAX_INTEGER = 2**63 - 1  # what a BIGINT holds


def micros(instant: datetime) -> int:
    """Return an aware instant as whole microseconds since 1970 in UTC."""
    return (instant - _EPOCH) // _MICROSECOND


def instant(stored: int) -> datetime:
    """Return the aware UTC instant of microseconds since 1970."""
    return _EPOCH + timedelta(microseconds=stored)


def kept(text: str) -> str:
    """Return foreign text as a database keeps it; the usual text passes quickly."""
    return text if text.isascii() and "\x00" not in text else storable(text)


# ---------------------------------------------------------------- the projection


def storable_fact(fact: Fact) -> tuple[Fact, str]:
    """
    Return the fact as every database can keep it, and its detail as JSON text.

    What is joined is what is kept, so that deriving a row again finds the same.
    Raises UndecodableEvent when its detail is no JSON that can be written.
    """
    try:
        text = storable_json(dict(fact.detail))
        detail = parse_json(text.encode("ascii")) if "\\u" in text else fact.detail
    except (ValueError, TypeError, RecursionError) as exc:
        raise UndecodableEvent("detail", "not JSON that can be kept") from exc
    texts: Row = {name: kept(getattr(fact, name)) for name in _FACT_TEXTS}
    if detail is fact.detail and all(texts[name] == getattr(fact, name) for name in _FACT_TEXTS):
        return fact, text
    return replace(fact, **texts, detail=detail), text


_FACT_TEXTS = ("id", "request_id", "submission_id", "account")


def fact_row(event_id: str, fact: Fact, detail: str) -> Row:
    """Return the row of a storable fact."""
    return {
        "id": fact.id,
        "event_id": kept(event_id),
        "request_id": fact.request_id,
        "submission_id": fact.submission_id,
        "name": fact.name.value,
        "witness": fact.witness.value,
        "at": micros(fact.at),
        "signed": fact.signed,
        "account": fact.account,
        "counts": fact.counts,
        "detail": detail,
    }


def fact_of(row: Any) -> Fact:
    """Return the fact of a row."""
    return Fact(
        FactName(row.name),
        Witness(row.witness),
        instant(row.at),
        row.id,
        row.request_id,
        row.submission_id,
        parse_json(row.detail.encode()),
        bool(row.signed),
        row.account,
        bool(row.counts),
    )


def request_row(request: Request) -> Row:
    """Return the row of a request: the whole value, and the columns that lists filter by."""
    result = request.result
    return {
        "request_id": request.request_id,
        "standing": request.model_dump_json(),
        "state": request.state.value,
        "endpoint": request.endpoint.value if request.endpoint else "",
        "submission_id": request.submission.value if request.submission else "",
        "is_open": request.is_open,
        "is_tracked": request.is_tracked,
        "has_conflict": request.has_conflict,
        "first_at": micros(request.first_at),
        "last_at": micros(request.last_at),
        "result_revision": result.revision if result else None,
        "result_outcome": result.outcome if result else None,
        "result_witness": result.witness if result else None,
        "billable_units": result.billable_units if result else None,
    }


def submission_row(submission: Submission) -> Row:
    """Return the row of a submission: the whole value, and the columns that lists need."""
    result = submission.result
    return {
        "submission_id": submission.submission_id,
        "standing": submission.model_dump_json(),
        "state": submission.state.value,
        "request_id": submission.request.value if submission.request else "",
        "endpoint": submission.endpoint,
        "command_id": submission.command_id,
        "first_at": micros(submission.first_at),
        "last_at": micros(submission.last_at),
        "result_revision": result.revision if result else None,
        "result_outcome": result.outcome if result else None,
    }


def delivery_row(evidence: Evidence) -> Row:
    """Return the row of a delivery, without its body."""
    names = ("id", "request_id", "user_id", "timestamp", "signature", "key", "kid", "source")
    row: Row = {name: kept(getattr(evidence, name)) for name in names}
    row |= {
        "received_at": micros(evidence.received_at),
        "body_sha256": evidence.body_sha256,
        "counts": evidence.counts,
    }
    return row


def body_row(evidence: Evidence) -> Row:
    """Return the row of a delivery's signed bytes, shared by its retries."""
    return {"sha256": evidence.body_sha256, "body": evidence.body}


def dead_letter_row(letter: DeadLetterEntry) -> Row:
    """Return the row of a dead letter."""
    names = ("id", "key", "reason", "origin")
    row: Row = {name: kept(getattr(letter, name)) for name in names}
    return row | {"at": micros(letter.at)}


def evidence_of(row: Any) -> Evidence:
    """Return the evidence of a delivery's row joined with its body."""
    return Evidence(
        row.id,
        row.request_id,
        row.user_id,
        row.timestamp,
        row.signature,
        row.key,
        row.kid,
        row.source,
        instant(row.received_at),
        row.body_sha256,
        bool(row.counts),
        bytes(row.body),
    )


def storable_result(result: ResultEntry) -> ResultEntry:
    """
    Return the result as every database can keep it.

    Raises UndecodableEvent when it names no subject, when its revision fits no column, or
    when the outcome it gives a request is no end.
    """
    published = result.published
    if not (result.request_id or result.submission_id):
        raise UndecodableEvent("request_id", "a result of neither a request nor a submission")
    if not 1 <= published.revision <= _MAX_INTEGER:
        raise UndecodableEvent("revision", "out of range")
    if result.request_id and published.outcome not in _OUTCOMES:
        raise UndecodableEvent("outcome", "not an end of a request")
    texts = ("outcome", "witness", "billable_units", "output_missing")
    told = {name: getattr(published, name) for name in texts}
    return replace(
        result,
        event_id=kept(result.event_id),
        request_id=kept(result.request_id),
        submission_id=kept(result.submission_id),
        published=published.model_copy(
            update={name: None if value is None else kept(value) for name, value in told.items()}
        ),
    )


_OUTCOMES = frozenset(state.value for state in State if state in ENDS)


def result_row(result: ResultEntry) -> Row:
    """Return the row of a storable result."""
    return {
        "subject": result.request_id or result.submission_id,
        "revision": result.published.revision,
        "event_id": result.event_id,
        "request_id": result.request_id,
        "submission_id": result.submission_id,
        "at": micros(result.at),
        "published": result.published.model_dump_json(),
        "value": result.value,
    }


def key_set_row(key_set: KeySetEntry) -> Row:
    """Return the row of a key set."""
    return {
        "url": kept(key_set.url),
        "sha256": kept(key_set.sha256),
        "fetched_at": micros(key_set.fetched_at),
        "document": key_set.document,
    }


def key_set_of(row: Any) -> KeySetEntry:
    """Return the key set of a row."""
    return KeySetEntry(row.sha256, row.url, instant(row.fetched_at), bytes(row.document))


# ---------------------------------------------------------------- operational


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
