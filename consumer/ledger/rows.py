"""
Values of the projection to rows and back. No SQL here, and no decision.

Foreign text passes `core.text.storable` here and nowhere else in the ledger; whatever a
database could never take is refused here, before it troubles a transaction.
"""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from consumer.core.fact import Fact, FactName, Witness
from consumer.core.projection import DeadLetterEntry, Evidence, KeySetEntry, ResultEntry
from consumer.core.standing import ENDS, Request, State, Submission
from consumer.core.text import parse_json, storable, storable_json
from consumer.errors import UndecodableEvent

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
        **_keys(request),
    }


def _keys(held: Request | Submission) -> Row:
    series = held.series
    return {
        "group_key": held.group,
        "supersedes": series.key if series else "",
        "number": series.number if series else None,
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
        **_keys(submission),
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
