"""What each event adds to the ledger, from the event alone."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.core.completion import Completion, reconciled_event, webhook_event
from consumer.core.event import Event, EventType, event_id
from consumer.core.fact import Fact, FactName, Witness, fact_event, new_fact
from consumer.core.projection import (
    Entry,
    Evidence,
    Judgement,
    KeySetEntry,
    ResultEntry,
    entry_of,
    entry_of_webhook,
)
from consumer.core.result import Correlation, bare_result, published_of, result_event
from consumer.core.signature import verify
from consumer.core.text import storable_json
from consumer.core.token import Token
from consumer.errors import UndecodableEvent
from consumer.testing.deliveries import signed_delivery, webhook_body
from consumer.testing.keys import key_set
from tests.core.strategies import NOW, REQUEST_ID, json_values

COUNTS = Judgement(counts=True)


def webhook_of(signer, body: bytes) -> Event:
    delivery = signed_delivery(signer, body, at=NOW)
    verified = verify(delivery, key_set(signer).keys, now=NOW)
    return webhook_event(verified, source="https://k", token=None, raw_token="", ours=True)


def test_webhook_adds_evidence_and_its_end(signer):
    """A webhook adds the whole evidence and one signed fact."""
    event = webhook_of(signer, webhook_body())
    headers = signer.headers(REQUEST_ID, webhook_body(), at=NOW)
    _, account, timestamp, signature = headers.values()

    entry = entry_of_webhook(event, COUNTS)

    assert entry == Entry(
        event.id,
        (
            Fact(
                FactName.SUCCEEDED,
                Witness.WEBHOOK,
                NOW,
                event.id,
                REQUEST_ID,
                detail={"http_status": 200},
                signed=True,
                account=account,
            ),
        ),
        Evidence(
            id=event_id("delivery", REQUEST_ID, timestamp, signature),
            request_id=REQUEST_ID,
            user_id=account,
            timestamp=timestamp,
            signature=signature,
            key=event.extensions["falkey"],
            kid="kid-1",
            source="https://k",
            received_at=NOW,
            body_sha256=signed_delivery(signer, webhook_body(), at=NOW).body_sha256,
            counts=True,
            body=webhook_body(),
        ),
    )


def test_unproven_webhook_adds_what_does_not_count(signer):
    """A webhook that does not count is evidence, and its fact does not count; no token does."""
    judgement = Judgement(counts=False, token=Token("a/b", "sub_1"))

    entry = entry_of_webhook(webhook_of(signer, webhook_body()), judgement)

    assert [(fact.name, fact.counts) for fact in entry.facts] == [(FactName.SUCCEEDED, False)]
    assert not entry.evidence.counts


def test_token_adds_what_it_names(signer):
    """A token that counts tells which endpoint and submission the request belongs to."""
    event = webhook_of(signer, webhook_body())

    entry = entry_of_webhook(event, Judgement(counts=True, token=Token("a/b", "sub_1")))

    assert entry.facts[1:] == (
        Fact(
            FactName.TRACKED,
            Witness.TOKEN,
            NOW,
            event_id("token", REQUEST_ID, "a/b", "sub_1"),
            REQUEST_ID,
            "sub_1",
            {"endpoint": "a/b", "has_callback": True},
        ),
    )


@pytest.mark.parametrize(
    "body, detail",
    [
        (b"\x00", {"part": "data", "problem": "not JSON that can be read"}),
        (
            webhook_body("another"),
            {"part": "request_id", "problem": "differs from the signed header"},
        ),
    ],
    ids=["no JSON", "another request"],
)
def test_unreadable_webhook_adds_no_end(signer, body, detail):
    """A body that nobody can read, or of another request, is kept and tells no end."""
    entry = entry_of_webhook(webhook_of(signer, body), COUNTS)

    assert [(fact.name, fact.detail) for fact in entry.facts] == [(FactName.UNREADABLE, detail)]
    assert entry.evidence.body == body


def test_webhook_without_evidence_is_undecodable(signer):
    """A webhook event that lacks its headers adds nothing."""
    with pytest.raises(UndecodableEvent):
        entry_of_webhook(replace(webhook_of(signer, b"{}"), extensions={}), COUNTS)


@pytest.mark.parametrize("missing, witness", [(None, Witness.RESULT), ("expired", Witness.STATUS)])
def test_reconciled_completion_adds_an_unsigned_end(missing, witness):
    """A completion found by asking adds its end; of an expired result, the status told it."""
    completion = Completion(
        REQUEST_ID, FactName.FAILED, 422, "e", None, output_missing=missing, billable_units="1"
    )
    event = reconciled_event(completion, source="s", at=NOW)

    assert entry_of(event) == Entry(
        event.id,
        (
            Fact(
                FactName.FAILED,
                witness,
                NOW,
                event.id,
                REQUEST_ID,
                detail={"http_status": 422, "error": "e", "billable_units": "1"},
            ),
        ),
    )


@pytest.mark.parametrize("request_id", ["", REQUEST_ID])
def test_result_adds_what_was_published(request_id):
    """A result event adds its revision and its value, whole."""
    correlation = Correlation(submission_id="sub_1")
    result = bare_result(
        "lost", correlation, request_id=request_id, reason="x", witness="sweep", ended_at=NOW
    )
    event = result_event(result, source="s", at=NOW)

    assert entry_of(event) == Entry(
        event.id,
        result=ResultEntry(event.id, request_id, "sub_1", published_of(result), NOW, event.data),
    )


def test_fact_adds_itself():
    """A fact event adds its fact."""
    fact = new_fact(FactName.RUNNING, Witness.STATUS, NOW, request_id=REQUEST_ID)

    assert entry_of(fact_event(fact, "s")) == Entry(fact.id, (fact,))


def test_command_adds_nothing():
    """A command adds nothing: what it causes is told by facts."""
    assert entry_of(Event(EventType.COMMAND, "c1", "s", "sub_1", NOW, b"junk")) == Entry("c1")


KEY_SET = {
    "sha256": "aa",
    "url": "https://k/jwks",
    "fetched_at": "2026-01-01T12:00:00.000000Z",
    "document": '{"keys": []}',
}


def told_key_set(detail) -> Event:
    return fact_event(new_fact(FactName.KEY_SET_FETCHED, Witness.RECEIVER, NOW, detail=detail), "s")


def test_key_set_adds_its_document():
    """A fetched key set adds its document with address and fetch time, and no fact."""
    event = told_key_set(KEY_SET)

    assert entry_of(event) == Entry(
        event.id, key_set=KeySetEntry("aa", "https://k/jwks", NOW, b'{"keys": []}')
    )


@pytest.mark.parametrize(
    "change",
    [{"fetched_at": "soon"}, {"fetched_at": None}, {"document": "\ud800"}],
    ids=["no time", "null", "surrogate"],
)
def test_what_is_no_key_set_is_undecodable(change):
    """A key set fact outside its form is refused, as one that lacks a part is."""
    without = {key: value for key, value in KEY_SET.items() if key != "document"}
    for detail in (KEY_SET | change, without):
        with pytest.raises(UndecodableEvent) as refused:
            entry_of(told_key_set(detail))
        assert str(refused.value) == "detail: not a key set"


@given(st.sampled_from(EventType), st.binary(max_size=20))
def test_any_record_is_an_entry_or_undecodable(kind, data):
    """An event of any type with any data adds something or raises UndecodableEvent."""
    try:
        assert entry_of(Event(kind, "i", "s", "r", NOW, data)).event_id == "i"
    except UndecodableEvent:
        return


@given(st.sampled_from(["error", "payload", "payload_error"]), json_values)
def test_what_a_webhook_adds_can_be_stored(signer, name, value):
    """Whatever a body tells, the detail of its fact is text that every database takes."""
    event = webhook_of(signer, webhook_body(status="ERROR", **{name: value}))

    (fact,) = entry_of_webhook(event, COUNTS).facts

    assert "\\u0000" not in storable_json(dict(fact.detail)).replace("\\\\u0000", "")
