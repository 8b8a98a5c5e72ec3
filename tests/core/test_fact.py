"""Facts as values and as events."""

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.core.event import Event, EventType, decode, encode
from consumer.core.fact import OBSERVATIONS, FactName, Witness, fact_event, fact_from, new_fact
from consumer.core.text import dump_json, storable
from consumer.errors import UndecodableEvent
from tests.core.strategies import NOW, REQUEST_ID, json_objects, json_values, texts

BODY = {"fact": "running", "witness": "status", "at": "2026-01-01T12:00:00.000000Z"}


def carrying(data: bytes) -> Event:
    return Event(EventType.FACT, "id", "https://fal.run", "subject", NOW, data)


@given(
    st.sampled_from(FactName),
    st.sampled_from(Witness),
    st.sampled_from([("", ""), (REQUEST_ID, ""), ("", "sub_1"), (REQUEST_ID, "sub_1")]),
    json_objects,
)
def test_what_is_told_is_read(name, witness, ids, detail):
    """A fact survives its event, its detail with NUL and surrogates included."""
    fact = new_fact(name, witness, NOW, request_id=ids[0], submission_id=ids[1], detail=detail)
    event = fact_event(fact, "https://fal.run")
    record = encode(event)

    assert decode(record.headers, record.value) == event
    assert fact_from(event) == fact


@pytest.mark.parametrize(
    "ids, subject",
    [((REQUEST_ID, "sub_1"), REQUEST_ID), (("", "sub_1"), "sub_1"), (("", ""), None)],
)
def test_event_is_about_the_request_first(ids, subject):
    """A fact's event is about the request, else the submission, else its own hash."""
    fact = new_fact(FactName.RUNNING, Witness.STATUS, NOW, request_id=ids[0], submission_id=ids[1])

    assert fact_event(fact, "s").subject == (subject or fact.id)


@pytest.mark.parametrize("name", FactName)
def test_only_observations_are_learned_again(name):
    """A fact told twice has one id, but for observations, whose id holds their time."""
    first, later = (
        new_fact(name, Witness.STATUS, NOW + timedelta(seconds=s), request_id=REQUEST_ID)
        for s in (0, 1)
    )

    assert (first.id != later.id) == (name in OBSERVATIONS)


def test_other_parts_make_another_fact():
    """Name, witness, request and submission are all part of a fact's identity."""
    told = [
        new_fact(FactName.RUNNING, Witness.STATUS, NOW, request_id="r"),
        new_fact(FactName.LOST, Witness.STATUS, NOW, request_id="r"),
        new_fact(FactName.RUNNING, Witness.LISTING, NOW, request_id="r"),
        new_fact(FactName.RUNNING, Witness.STATUS, NOW, request_id="q"),
        new_fact(FactName.RUNNING, Witness.STATUS, NOW, request_id="r", submission_id="s"),
    ]

    assert len({fact.id for fact in told}) == len(told)


def test_unknown_fields_are_let_through():
    """A newer version may add fields: they do not make a fact unreadable."""
    fact = fact_from(carrying(dump_json(BODY | {"later": {"a": 1}})))

    assert fact == replace(new_fact(FactName.RUNNING, Witness.STATUS, NOW), id="id")


@pytest.mark.parametrize(
    "data, part",
    [
        (b"{", "data"),
        (b"[]", "data"),
        (dump_json(BODY | {"fact": "guessed"}), "fact"),
        (dump_json(BODY | {"witness": "rumour"}), "witness"),
        (dump_json(BODY | {"at": "soon"}), "data"),
        (dump_json(BODY | {"at": 5}), "at"),
        (dump_json(BODY | {"detail": []}), "detail"),
        (dump_json({"fact": "running"}), "witness"),
    ],
)
def test_what_is_no_fact_is_named(data, part):
    """A record that is no fact is refused by the part that is wrong."""
    with pytest.raises(UndecodableEvent) as refused:
        fact_from(carrying(data))

    assert refused.value.part == part


@given(texts, texts)
def test_ids_of_facts_can_be_stored(request_id, submission_id):
    """Whatever ids a fact names, they are text that every database takes."""
    body = BODY | {"request_id": request_id, "submission_id": submission_id}

    fact = fact_from(carrying(dump_json(body)))

    assert (fact.request_id, fact.submission_id) == (storable(request_id), storable(submission_id))


@given(st.sampled_from([*BODY, "detail", "request_id", "more"]), json_values)
def test_any_mutation_is_a_fact_or_undecodable(name, value):
    """A fact with any one field replaced is read or refused, and nothing else."""
    try:
        fact = fact_from(carrying(dump_json(BODY | {name: value})))
    except UndecodableEvent:
        return
    assert fact_from(fact_event(fact, "s")) == fact
