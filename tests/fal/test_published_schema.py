"""Our client before whatever the simulator's published schema allows: they never disagree."""

import json
from datetime import UTC
from types import UnionType
from typing import Annotated, Any, Literal, NotRequired, Union, get_args, get_origin, get_type_hints

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from multidict import CIMultiDict
from pydantic import TypeAdapter, ValidationError
from typing_extensions import is_typeddict

from consumer.errors import FalRefused, FalUnavailable
from consumer.fal import BillingEvent, Estimate, ListedRequest, Model, Price, Status, wire
from consumer.fal.answers import WebhookRanges
from consumer.fal.call import Answer
from consumer.fal.pages import Page, read_answer
from consumer.ports import (
    CancelAnswer,
    ResultAnswer,
    SubmitRefused,
    Submitted,
    SubmitUnknown,
)
from consumer.simulator import Operation
from consumer.simulator.calls import PLATFORM_CALLS, QUEUE_CALLS
from consumer.simulator.queue_bodies import StatusBody

REQUEST_ID = "019f7085-1439-7320-9a28-939d54dfcee5"
QUEUE = {
    Operation.SUBMIT: wire.parse_submit,
    Operation.STATUS: lambda answer: wire.read_status(answer, REQUEST_ID),
    Operation.RESULT: wire.parse_result,
    Operation.CANCEL: wire.parse_cancel,
}
PLATFORM = {
    Operation.META: (WebhookRanges, ""),
    Operation.MODELS: (Page[Model], "models"),
    Operation.PRICING: (Page[Price], "prices"),
    Operation.ESTIMATE: (Estimate, ""),
    Operation.LISTING: (Page[ListedRequest], "items"),
    Operation.BILLING: (Page[BillingEvent], "billing_events"),
}


def answers_of(calls, operations):
    """Return each operation with each code it is answered by, and the type of the body."""
    found = {
        (call.operation, status): kind
        for call in calls
        for status, kind in call.answers.items()
        if call.operation in operations
    }
    return [pytest.param(*key, kind, id="-".join(map(str, key))) for key, kind in found.items()]


# ---------------------------------------------------------------- bodies of a type

TEXTS = st.text(max_size=20)
VALUES = st.none() | st.booleans() | st.integers() | TEXTS
OBJECTS = st.dictionaries(TEXTS, VALUES | st.lists(VALUES, max_size=3), max_size=3)
INSTANTS = st.datetimes(timezones=st.just(UTC)).map(lambda at: at.isoformat())
PLAIN = {
    str: TEXTS,
    int: st.integers(),
    float: st.integers() | st.floats(allow_nan=False, allow_infinity=False),
    bool: st.booleans(),
    Any: VALUES | OBJECTS,
    type(None): st.none(),
    None: st.none(),
}


def bodies_of(kind):
    """Return what the published schema of this type allows."""
    if kind in PLAIN:
        return PLAIN[kind]
    if is_typeddict(kind):
        hints = get_type_hints(kind, include_extras=True)
        fields = {name: bodies_of(hint) for name, hint in hints.items()}
        needed = {name: fields[name] for name in kind.__required_keys__}
        optional = {name: fields[name] for name in kind.__optional_keys__}
        return st.fixed_dictionaries(needed, optional=optional)
    return MADE_OF_PARTS[get_origin(kind)](kind, *get_args(kind))


def annotated(kind, bare):
    """Return values of a type with further conditions."""
    adapter = TypeAdapter(kind)
    if adapter.json_schema().get("format") == "date-time":
        return INSTANTS

    def is_allowed(value):
        try:
            adapter.validate_python(value)
        except ValidationError:
            return False
        return True

    return bodies_of(bare).filter(is_allowed)


def one_of(_kind, *kinds):
    """Return bodies of any of these types."""
    return st.one_of(map(bodies_of, kinds))


MADE_OF_PARTS = {
    Literal: lambda _kind, *words: st.sampled_from(words),
    NotRequired: lambda _kind, part: bodies_of(part),
    Annotated: lambda kind, bare, *_conditions: annotated(kind, bare),
    Union: one_of,
    UnionType: one_of,
    list: lambda _kind, item: st.lists(bodies_of(item), max_size=3),
    dict: lambda _kind, _name, value: st.dictionaries(TEXTS, bodies_of(value), max_size=3),
}


def answer_of(status, body, **headers):
    """Return an answer of fal's about the request that was asked for."""
    if isinstance(body, dict) and "request_id" in body:
        body = body | {"request_id": REQUEST_ID}
    given = CIMultiDict({"x-fal-request-id": REQUEST_ID, "Content-Type": "application/json"})
    given.extend(headers)
    return Answer(status, given, json.dumps(body).encode())


# ---------------------------------------------------------------- the client


def kinds_of(operation, status):
    """Return the kinds of value that an answer of this code may become."""
    if operation is Operation.RESULT:
        return ResultAnswer
    if operation is Operation.SUBMIT:
        return Submitted, SubmitRefused, SubmitUnknown
    if status >= 429:
        return FalUnavailable
    if status == 401:
        return FalRefused
    return {Operation.STATUS: (Status, FalRefused), Operation.CANCEL: (CancelAnswer, FalRefused)}[
        operation
    ]


@pytest.mark.parametrize("operation, status, kind", answers_of(QUEUE_CALLS, QUEUE))
def test_every_published_answer_is_understood(operation, status, kind):
    """An answer of the queue that the schema allows is a value or a refusal, and never drift."""
    ran = {"X-Fal-Billable-Units": "1"} if operation is Operation.RESULT and status != 400 else {}

    @settings(max_examples=30, deadline=None)
    @given(bodies_of(kind))
    def judge(body):
        try:
            told = QUEUE[operation](answer_of(status, body, **ran))
        except (FalRefused, FalUnavailable) as exc:
            told = exc
        assert isinstance(told, kinds_of(operation, status))
        assert getattr(told, "drifts", ()) == ()

    judge()


@pytest.mark.parametrize("status", ["IN_QUEUE", "IN_PROGRESS", "COMPLETED"])
@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_a_published_status_says_the_same_to_the_client(status, data):
    """Whatever a status says reaches the caller as it was published."""
    body = data.draw(bodies_of(StatusBody)) | {"status": status, "request_id": REQUEST_ID}
    code = 200 if status == "COMPLETED" else 202

    told = wire.read_status(answer_of(code, body), REQUEST_ID)
    assert body == told.model_dump(mode="json", exclude_unset=True)


@pytest.mark.parametrize("operation, status, kind", answers_of(PLATFORM_CALLS, PLATFORM))
def test_every_published_answer_of_the_platform_is_understood(operation, status, kind):
    """A page, an estimate or a list is read whole; any other code is a refusal or a pause."""
    model, name = PLATFORM[operation]

    @settings(max_examples=30, deadline=None)
    @given(bodies_of(kind))
    def judge(body):
        answer = answer_of(status, body)
        if status == 200:
            told = read_answer(answer, model, operation.value, name)
            assert told.drifts == ()
            assert not name or len(told.items) == len(body[name])
        else:
            refused = FalUnavailable if status >= 429 else FalRefused
            with pytest.raises(refused):
                read_answer(answer, model, operation.value, name)

    judge()
