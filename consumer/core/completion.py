"""
Completions: what a webhook or our own asking tells about the end of a request.

A webhook completion is evidence: its value is the signed body byte for byte, and its
attributes hold the four headers and the key. A reconciled one is our own JSON in fal's
five fields, and has no signature attributes.
"""

import re
from base64 import b64encode
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from consumer.core.delivery import Delivery, SignedHeaders
from consumer.core.event import (
    FIXED_HEADERS,
    Event,
    EventType,
    NewRecord,
    Topic,
    decode,
    event_id,
    format_time,
)
from consumer.core.fact import FactName
from consumer.core.signature import VerifiedDelivery
from consumer.core.text import dump_json, parse_json
from consumer.core.token import Token
from consumer.errors import MalformedDelivery, UndecodableEvent

_STATUS_CODE = re.compile(r"status code:? ([0-9]{3})(?![0-9])")
# "Invalid status code: 422" (fal docs, 2025) and "Unexpected status code: 422" (seen in
# production code of 2026).
_WEBHOOK = EventType.WEBHOOK_COMPLETION.value
_CANCELLED_TYPE = "client_cancelled"
_CANCELLED_STATUS = 499
# Source: fal docs, "Request errors": client_cancelled is answered 499.


@dataclass(frozen=True, slots=True)
class Completion:
    """
    The end of a request as one witness tells it.

    `http_status` is the model's, where it can be known. `has_output` is false where the
    payload could not be carried and has to be asked for. `output` is any JSON value.
    """

    request_id: str
    end: FactName
    http_status: int | None = None
    error: str | None = None
    error_type: str | None = None
    has_output: bool = False
    output: Any = None
    output_base64: str | None = None
    content_type: str | None = None
    output_missing: str | None = None
    billable_units: str | None = None


def webhook_record(
    verified: VerifiedDelivery, *, source: str, token: Token | None, raw_token: str, ours: bool
) -> NewRecord:
    """
    Return the record of a verified delivery: its value is the signed body, byte for byte.

    `token` is what the path's token says when one of our secrets signed it, `raw_token`
    its text as received (or empty), `ours` whether the account is a configured one.
    Written in one step, for every delivery pays for it: `webhook_event` reads it again.
    """
    delivery, key = verified.delivery, verified.key
    signed = delivery.headers
    submission_id = token.submission_id if token else ""
    identity = event_id(
        _WEBHOOK, signed.request_id, signed.user_id, delivery.body_sha256, submission_id
    )
    request_id = signed.request_id.encode()
    headers = [
        *FIXED_HEADERS[EventType.WEBHOOK_COMPLETION],
        ("ce_id", identity.encode()),
        ("ce_source", source.encode()),
        ("ce_subject", request_id),
        ("ce_time", format_time(delivery.received_at).encode()),
        ("content-type", b"application/json"),
        ("ce_falsignature", signed.signature.encode()),
        ("ce_faltimestamp", signed.timestamp.encode()),
        ("ce_faluserid", signed.user_id.encode()),
        ("ce_falkey", key.text.encode()),
        ("ce_falkid", key.kid.encode()),
        ("ce_falaccount", b"ours" if ours else b"unproven"),
        ("ce_faltoken", raw_token.encode()),
        ("ce_falsubmission", submission_id.encode()),
        ("ce_falendpoint", token.endpoint.encode() if token else b""),
    ]
    kept = tuple([header for header in headers if header[1]])
    return NewRecord(Topic.COMPLETIONS, signed.request_id, delivery.body, kept)


def webhook_event(
    verified: VerifiedDelivery, *, source: str, token: Token | None, raw_token: str, ours: bool
) -> Event:
    """Return the event of a verified delivery, as whoever reads its `webhook_record` sees it."""
    record = webhook_record(verified, source=source, token=token, raw_token=raw_token, ours=ours)
    return decode(record.headers, record.value)


def delivery_from(event: Event) -> Delivery:
    """
    Return the delivery whose evidence a webhook completion carries, untrusted again.

    Raises UndecodableEvent when an attribute is missing or outside its grammar, and
    nothing else.
    """
    try:
        headers = SignedHeaders(
            event.subject,
            event.extensions["faluserid"],
            event.extensions["faltimestamp"],
            event.extensions["falsignature"],
        )
    except KeyError as exc:
        raise UndecodableEvent(f"ce_{exc.args[0]}", "missing") from exc
    except MalformedDelivery as exc:
        raise UndecodableEvent(exc.part, exc.problem) from exc
    return Delivery(headers, event.data, event.time)


def parse_webhook(body: bytes, request_id: str) -> Completion:
    """
    Return what a webhook body says about the request of its signed header.

    Accepts every combination that was recorded or documented: explicit null or absent
    `error`, null payload on OK and on ERROR, both wordings of the status code, unknown
    fields. Raises UndecodableEvent when it is no JSON object of that form or names
    another request id, and nothing else.
    """
    fields = webhook_fields(body, request_id)
    status, payload = fields["status"], fields.get("payload")
    error = _maybe_text(fields.get("error"))
    http_status = 200 if status == "OK" else _status_code(error)
    error_type = _error_type(payload)
    return Completion(
        request_id,
        _end(ok=status == "OK", http_status=http_status, error_type=error_type),
        http_status,
        error or (_maybe_text(fields.get("payload_error")) if status == "ERROR" else None),
        error_type,
        has_output=payload is not None,
        output=payload,
    )


def webhook_fields(body: bytes, request_id: str) -> dict[str, Any]:
    """
    Return the fields of a webhook body, `status` among them, as fal wrote them.

    Raises UndecodableEvent as `parse_webhook` does, for the same bodies.
    """
    fields = _fields(body)
    if fields.get("request_id") != request_id:
        raise UndecodableEvent("request_id", "differs from the signed header")
    if fields.get("status") not in ("OK", "ERROR"):
        raise UndecodableEvent("status", 'expected "OK" or "ERROR"')
    return fields


def completion_of_answer(
    request_id: str, http_status: int, body: bytes, content_type: str
) -> Completion:
    """
    Return what fal's result answer says: the model's own status and body, replayed.

    A body that is not JSON travels as base64 beside its content type.
    """
    try:
        output, is_json = parse_json(body), True
        dump_json(output)
    except ValueError:
        output, is_json = None, False
    error_type = _error_type(output)
    ok = 200 <= http_status < 300
    return Completion(
        request_id,
        _end(ok=ok, http_status=http_status, error_type=error_type),
        http_status,
        None if ok else f"Unexpected status code: {http_status}",
        error_type,
        has_output=is_json,
        output=output,
        output_base64=None if is_json else b64encode(body).decode("ascii"),
        content_type=None if is_json else content_type or "application/octet-stream",
    )


def reconciled_event(completion: Completion, *, source: str, at: datetime) -> Event:
    """
    Return the event of a completion that we found by asking fal: unsigned, with the whole output.
    """
    is_ok = completion.end is FactName.SUCCEEDED
    body = {
        "request_id": completion.request_id,
        "gateway_request_id": None,
        "status": "OK" if is_ok else "ERROR",
        "payload": completion.output if completion.has_output else None,
        "error": completion.error,
        "outcome": completion.end.value,
        "http_status": completion.http_status,
        "error_type": completion.error_type,
        "has_output": completion.has_output,
        "output_base64": completion.output_base64,
        "content_type": completion.content_type,
        "output_missing": completion.output_missing,
        "billable_units": completion.billable_units,
    }
    data = dump_json(body)
    identity = event_id(
        EventType.RECONCILED_COMPLETION.value, completion.request_id, completion.end.value, data
    )
    return Event(EventType.RECONCILED_COMPLETION, identity, source, completion.request_id, at, data)


def parse_reconciled(event: Event) -> Completion:
    """
    Return the completion that a reconciled event carries.

    Raises UndecodableEvent, and nothing else.
    """
    fields = _fields(event.data)
    end = fields.get("outcome")
    if end not in _ENDS or fields.get("request_id") != event.subject:
        raise UndecodableEvent("outcome", "not the end of this record's request")
    http_status = fields.get("http_status")
    return Completion(
        event.subject,
        FactName(end),
        http_status if isinstance(http_status, int) else None,
        _maybe_text(fields.get("error")),
        _maybe_text(fields.get("error_type")),
        has_output=fields.get("has_output") is True,
        output=fields.get("payload"),
        output_base64=_maybe_text(fields.get("output_base64")),
        content_type=_maybe_text(fields.get("content_type")),
        output_missing=_maybe_text(fields.get("output_missing")),
        billable_units=_maybe_text(fields.get("billable_units")),
    )


_ENDS = ("succeeded", "failed", "cancelled")


def _fields(body: bytes) -> dict[str, Any]:
    try:
        fields = parse_json(body)
    except ValueError as exc:
        raise UndecodableEvent("data", "not JSON that can be read") from exc
    if not isinstance(fields, dict):
        raise UndecodableEvent("data", f"expected a JSON object, got {type(fields).__name__}")
    return fields


def _end(*, ok: bool, http_status: int | None, error_type: str | None) -> FactName:
    if ok:
        return FactName.SUCCEEDED
    if http_status == _CANCELLED_STATUS or error_type == _CANCELLED_TYPE:
        return FactName.CANCELLED
    return FactName.FAILED


def _status_code(error: str | None) -> int | None:
    found = _STATUS_CODE.search(error or "")
    return int(found[1]) if found else None


def _error_type(payload: Any) -> str | None:
    """
    Return the machine type of an error body of either kind: flat, or the first item of `detail`.
    """
    if not isinstance(payload, dict):
        return None
    flat = _maybe_text(payload.get("error_type"))
    detail = payload.get("detail")
    if flat is None and isinstance(detail, list) and detail and isinstance(detail[0], dict):
        return _maybe_text(detail[0].get("type"))
    return flat


def _maybe_text(value: Any) -> str | None:
    return value if isinstance(value, str) else None
