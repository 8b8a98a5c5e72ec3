"""Completions: every form of body that was recorded or documented, and what is no completion."""

import json
from base64 import b64decode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.core.completion import (
    Completion,
    completion_of_answer,
    delivery_from,
    parse_reconciled,
    parse_webhook,
    reconciled_event,
    webhook_event,
)
from consumer.core.event import Event, EventType, decode, encode
from consumer.core.fact import FactName
from consumer.core.signature import verify
from consumer.core.text import dump_json
from consumer.core.token import Token
from consumer.errors import UndecodableEvent
from consumer.testing.deliveries import signed_delivery, webhook_body
from consumer.testing.keys import key_set
from tests.core.strategies import (
    NOW,
    REQUEST_ID,
    big_digits,
    completions,
    json_objects,
    json_values,
    texts,
)

NOT_SERIALIZABLE = (
    "Response payload is not JSON serializable. Either return a JSON serializable object "
    "or use the queue endpoint to retrieve the response."
)
MISSING = {"detail": [{"loc": ["body", "prompt"], "msg": "field required", "type": "missing"}]}
FLAT = {"detail": "Runner lost", "error_type": "runner_disconnected"}
CANCELLED = {"detail": "Client cancelled", "error_type": "client_cancelled"}


def _failed(http_status, error, error_type, output, end=FactName.FAILED):
    has_output = output is not None
    return Completion(REQUEST_ID, end, http_status, error, error_type, has_output, output)


def _ok(output):
    return Completion(
        REQUEST_ID, FactName.SUCCEEDED, 200, has_output=output is not None, output=output
    )


CASES = {
    "success": ({}, _ok(json.loads(webhook_body())["payload"])),
    "null payload, OK": ({"payload": None, "payload_error": NOT_SERIALIZABLE}, _ok(None)),
    "null payload, ERROR": (
        {
            "status": "ERROR",
            "error": "Invalid status code: 404",
            "payload": None,
            "payload_error": NOT_SERIALIZABLE,
        },
        _failed(404, "Invalid status code: 404", None, None),
    ),
    "wording of 2025": (
        {"status": "ERROR", "error": "Invalid status code: 422", "payload": MISSING},
        _failed(422, "Invalid status code: 422", "missing", MISSING),
    ),
    "wording of 2026": (
        {"status": "ERROR", "error": "Unexpected status code: 422", "payload": MISSING},
        _failed(422, "Unexpected status code: 422", "missing", MISSING),
    ),
    "wording without a colon": (
        {"status": "ERROR", "error": "status code 503", "payload": FLAT},
        _failed(503, "status code 503", "runner_disconnected", FLAT),
    ),
    "detail is text": (
        {"status": "ERROR", "error": "Invalid status code: 500", "payload": {"detail": "no"}},
        _failed(500, "Invalid status code: 500", None, {"detail": "no"}),
    ),
    "detail is empty": (
        {"status": "ERROR", "error": "x", "payload": {"detail": []}},
        _failed(None, "x", None, {"detail": []}),
    ),
    "detail holds text": (
        {"status": "ERROR", "error": "x", "payload": {"detail": ["no"]}},
        _failed(None, "x", None, {"detail": ["no"]}),
    ),
    "error null, payload_error tells": (
        {"status": "ERROR", "error": None, "payload": None, "payload_error": "lost"},
        _failed(None, "lost", None, None),
    ),
    "error is no text": (
        {"status": "ERROR", "error": {"code": 422}, "payload": [1]},
        _failed(None, None, None, [1]),
    ),
    "longer numbers are no status": (
        {"status": "ERROR", "error": "status code: 4990", "payload": None},
        _failed(None, "status code: 4990", None, None),
    ),
    "cancelled by status": (
        {"status": "ERROR", "error": "Invalid status code: 499", "payload": None},
        _failed(499, "Invalid status code: 499", None, None, FactName.CANCELLED),
    ),
    "cancelled by type": (
        {"status": "ERROR", "error": None, "payload": CANCELLED},
        _failed(None, None, "client_cancelled", CANCELLED, FactName.CANCELLED),
    ),
    "unknown fields": ({"attempt": 7, "payload": 0}, _ok(0)),
    "payload false": ({"payload": False}, _ok(False)),
}


@pytest.mark.parametrize("case", CASES)
def test_every_known_form_is_read(case):
    """Each recorded or documented form of a body says what it should."""
    fields, expected = CASES[case]

    assert parse_webhook(webhook_body(**fields), REQUEST_ID) == expected


def test_absent_error_is_null_error():
    """A body without `error`, as in the documentation's examples, is read like one with null."""
    body = json.dumps({"request_id": REQUEST_ID, "status": "OK", "payload": {"a": 1}}).encode()

    assert parse_webhook(body, REQUEST_ID) == _ok({"a": 1})


def test_recorded_body_is_a_success(samples):
    """The recorded body is a success with its whole output."""
    body = (samples / "delivery-a.body").read_bytes()

    assert parse_webhook(body, REQUEST_ID) == _ok(json.loads(body)["payload"])


@pytest.mark.parametrize(
    "body, sentence",
    [
        (b"", "data: not JSON that can be read"),
        (b"\xff", "data: not JSON that can be read"),
        (b"[" * 100_000, "data: not JSON that can be read"),
        (b'{"seed": ' + b"7" * 8192 + b"}", "data: not JSON that can be read"),
        (b'{"seed": NaN}', "data: not JSON that can be read"),
        (b"[]", "data: expected a JSON object, got list"),
        (b"null", "data: expected a JSON object, got NoneType"),
        (b"{}", "request_id: differs from the signed header"),
        (webhook_body("another"), "request_id: differs from the signed header"),
        (webhook_body(status="ok"), 'status: expected "OK" or "ERROR"'),
        (webhook_body(status=None), 'status: expected "OK" or "ERROR"'),
        (webhook_body(status=["OK"]), 'status: expected "OK" or "ERROR"'),
    ],
)
def test_other_bodies_are_undecodable(body, sentence):
    """A body that is no completion of the signed request is refused with the reason."""
    with pytest.raises(UndecodableEvent) as refused:
        parse_webhook(body, REQUEST_ID)

    assert str(refused.value) == sentence


@given(st.sampled_from(["error", "payload", "status", "payload_error", "more"]), json_values)
def test_any_mutation_is_a_completion_or_undecodable(name, value):
    """A body with any one field replaced is read or refused, and nothing else."""
    for status in ("OK", "ERROR"):
        body = json.dumps(json.loads(webhook_body(status=status)) | {name: value}).encode()
        try:
            completion = parse_webhook(body, REQUEST_ID)
        except UndecodableEvent:
            assert name == "status"
        else:
            assert parse_reconciled(reconciled_event(completion, source="s", at=NOW)) == completion


@given(st.one_of(st.binary(max_size=40), json_values.map(dump_json), big_digits.map(str.encode)))
def test_any_body_is_a_completion_or_undecodable(body):
    """Any bytes are read or raise UndecodableEvent, and nothing else."""
    with pytest.raises(UndecodableEvent):
        parse_webhook(body, REQUEST_ID)


# ---------------------------------------------------------------- webhook events


def _verified(signer, body):
    delivery = signed_delivery(signer, body, at=NOW)
    return verify(delivery, key_set(signer).keys, now=NOW)


def test_value_is_the_signed_body(signer):
    """A webhook event carries body, headers and key, so that it can be verified again."""
    verified = _verified(signer, b"\x00 no JSON")
    token = Token("a/b", "sub_1")

    event = webhook_event(verified, source="https://k", token=token, raw_token="t.t.t", ours=True)
    record = encode(event)
    again = delivery_from(decode(record.headers, record.value))

    assert again == verified.delivery
    assert verify(again, key_set(signer).keys, now=event.time).key == verified.key
    assert dict(event.extensions) == {
        "falsignature": again.headers.signature,
        "faltimestamp": again.headers.timestamp,
        "faluserid": "github|1",
        "falkey": verified.key.text,
        "falkid": "kid-1",
        "falaccount": "ours",
        "faltoken": "t.t.t",
        "falsubmission": "sub_1",
        "falendpoint": "a/b",
    }


def test_nothing_known_is_no_attribute(signer):
    """Without a token a webhook event has none of its attributes, and says unproven if it is."""
    event = webhook_event(
        _verified(signer, b""), source="https://k", token=None, raw_token="", ours=False
    )

    assert event.extensions["falaccount"] == "unproven"
    assert not {"faltoken", "falsubmission", "falendpoint"} & set(event.extensions)


def test_retries_share_an_id(signer):
    """A delivery signed again has the same id; another body or submission has another."""
    one, again = (
        webhook_event(_verified(signer, b"{}"), source="s", token=None, raw_token="", ours=ours)
        for ours in (True, False)
    )
    other = webhook_event(
        _verified(signer, b"{} "), source="s", token=None, raw_token="", ours=True
    )
    bound = webhook_event(
        _verified(signer, b"{}"), source="s", token=Token("a/b", "s"), raw_token="t", ours=True
    )

    assert one.id == again.id
    assert len({one.id, other.id, bound.id}) == 3


@pytest.mark.parametrize("name", ["faluserid", "faltimestamp", "falsignature"])
def test_missing_evidence_is_named(signer, name):
    """A webhook event without a header, or with one outside its grammar, is no evidence."""
    event = webhook_event(_verified(signer, b"{}"), source="s", token=None, raw_token="", ours=True)
    bad = {"missing": dict(event.extensions), "é": dict(event.extensions) | {name: "é"}}
    del bad["missing"][name]

    for extensions in bad.values():
        with pytest.raises(UndecodableEvent):
            delivery_from(
                Event(event.type, event.id, "s", event.subject, event.time, b"{}", extensions)
            )


# ---------------------------------------------------------------- asked of fal


@pytest.mark.parametrize(
    "http_status, body, expected",
    [
        (200, b'{"a":1}', _ok({"a": 1})),
        (200, b"null", Completion(REQUEST_ID, FactName.SUCCEEDED, 200, has_output=True)),
        (422, dump_json(MISSING), _failed(422, "Unexpected status code: 422", "missing", MISSING)),
        (299, b"0", Completion(REQUEST_ID, FactName.SUCCEEDED, 299, has_output=True, output=0)),
        (300, b"0", _failed(300, "Unexpected status code: 300", None, 0)),
        (199, b"0", _failed(199, "Unexpected status code: 199", None, 0)),
        (
            503,
            dump_json(FLAT),
            _failed(503, "Unexpected status code: 503", "runner_disconnected", FLAT),
        ),
        (
            499,
            b"{}",
            _failed(499, "Unexpected status code: 499", None, {}, FactName.CANCELLED),
        ),
    ],
)
def test_answer_tells_the_end(http_status, body, expected):
    """Fal's result answer is the model's own status and body."""
    assert completion_of_answer(REQUEST_ID, http_status, body, "application/json") == expected


@pytest.mark.parametrize("body", [b"\x89PNG", b"", b"NaN", b"1e999", b"[" * 100_000])
@pytest.mark.parametrize("content_type", ["image/png", ""])
def test_answer_that_is_no_json_travels_as_base64(body, content_type):
    """A body that JSON cannot carry is kept byte for byte, beside its type."""
    completion = completion_of_answer(REQUEST_ID, 200, body, content_type)

    assert b64decode(completion.output_base64) == body
    assert completion.content_type == (content_type or "application/octet-stream")
    assert (completion.has_output, completion.output) == (False, None)


@given(st.integers(100, 599), st.one_of(st.binary(max_size=30), json_values.map(dump_json)))
def test_any_answer_survives_its_event(http_status, body):
    """Whatever fal answers can be told and read again."""
    completion = completion_of_answer(REQUEST_ID, http_status, body, "text/plain")

    event = reconciled_event(completion, source="s", at=NOW)

    assert parse_reconciled(event) == completion


@given(completions)
def test_what_is_reconciled_is_read(completion):
    """A reconciled completion survives its event."""
    event = reconciled_event(completion, source="s", at=NOW)
    record = encode(event)

    assert decode(record.headers, record.value) == event
    assert parse_reconciled(event) == completion


def test_reconciled_ids_tell_outcomes_apart():
    """A reconciled event's id is of its data, and never that of a webhook."""
    events = [
        reconciled_event(Completion(REQUEST_ID, end), source="s", at=NOW)
        for end in (FactName.SUCCEEDED, FactName.FAILED, FactName.FAILED)
    ]

    assert events[0].id != events[1].id
    assert events[1] == events[2]


@given(st.sampled_from(["outcome", "request_id", "http_status", "error", "payload"]), json_values)
def test_any_reconciled_mutation_is_read_or_undecodable(name, value):
    """A reconciled completion with any one field replaced is read or refused."""
    data = {"request_id": REQUEST_ID, "outcome": "failed", "http_status": 500} | {name: value}
    event = Event(EventType.RECONCILED_COMPLETION, "i", "s", REQUEST_ID, NOW, dump_json(data))
    try:
        completion = parse_reconciled(event)
    except UndecodableEvent:
        assert name in ("outcome", "request_id")
    else:
        assert completion.request_id == REQUEST_ID


@given(json_objects, texts)
def test_other_records_are_not_reconciled(fields, outcome):
    """A record without an end of its own request is refused."""
    data = dump_json(fields | {"outcome": outcome})
    for value in (data, b"{", b"[]", dump_json({"outcome": "lost", "request_id": REQUEST_ID})):
        with pytest.raises(UndecodableEvent):
            parse_reconciled(
                Event(EventType.RECONCILED_COMPLETION, "i", "s", REQUEST_ID, NOW, value)
            )
