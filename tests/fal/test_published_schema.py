"""Our client before whatever the simulator's published schema allows: they never disagree."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from multidict import CIMultiDict
from pydantic import TypeAdapter

from consumer.errors import FalRefused, FalUnavailable
from consumer.fal import wire
from consumer.fal.call import Answer
from consumer.ports import (
    CancelAnswer,
    QueueStatus,
    ResultAnswer,
    StatusAnswer,
    SubmitRefused,
    Submitted,
    SubmitUnknown,
)
from consumer.simulator import Operation
from consumer.simulator.calls import QUEUE_CALLS
from consumer.simulator.queue_bodies import ModelErrorsBody, StatusBody

REQUEST_ID = "019f7085-1439-7320-9a28-939d54dfcee5"
PARSERS = {
    Operation.SUBMIT: wire.parse_submit,
    Operation.STATUS: lambda answer: wire.parse_status(answer, REQUEST_ID),
    Operation.RESULT: wire.parse_result,
    Operation.CANCEL: wire.parse_cancel,
}
ANSWERS = sorted(
    {
        (call.operation, status): kind
        for call in QUEUE_CALLS
        for status, kind in call.answers.items()
        if call.operation in PARSERS
    }.items(),
    key=str,
)

VALUES = st.none() | st.booleans() | st.integers() | st.text(max_size=20)
OBJECTS = st.dictionaries(st.text(max_size=20), VALUES | st.lists(VALUES), max_size=5)
# `Any` is a type that hypothesis has no values for.
MODEL_ERRORS = st.fixed_dictionaries(
    {
        "detail": st.lists(
            st.fixed_dictionaries(
                {
                    "loc": st.lists(st.text(max_size=20) | st.integers()),
                    "msg": st.text(max_size=20),
                    "type": st.text(max_size=20),
                },
                optional={"url": st.text(max_size=20), "ctx": OBJECTS, "input": VALUES},
            )
        )
    }
)


def conforming(kind):
    """Return bodies of this type, and no others."""
    adapter = TypeAdapter(kind)
    strategy = {Any: OBJECTS, ModelErrorsBody: MODEL_ERRORS}

    def is_allowed(body):
        try:
            adapter.validate_json(json.dumps(body, allow_nan=False))
        except ValueError:  # pydantic's too
            return False
        return True

    bodies = strategy[kind] if kind in strategy else st.from_type(kind)
    return bodies.filter(is_allowed).map(about_the_request)


def about_the_request(body):
    """Let an answer be about the request that was asked for."""
    if isinstance(body, dict) and "request_id" in body:
        return body | {"request_id": REQUEST_ID}
    return body


def judged(operation, status, body):
    """Return what our client makes of an answer: a value, or one of its two refusals."""
    headers = CIMultiDict({"x-fal-request-id": REQUEST_ID, "Content-Type": "application/json"})
    if operation is Operation.RESULT and body.get("detail") != wire.NOT_READY_DETAIL:
        headers["X-Fal-Billable-Units"] = "1"
    try:
        return PARSERS[operation](Answer(status, headers, json.dumps(body).encode()))
    except (FalRefused, FalUnavailable) as exc:
        return exc


def expected_of(operation, status):
    """Return the kinds of value that this code may become."""
    if status in (429, 500, 503, 504) and operation in (Operation.STATUS, Operation.CANCEL):
        return FalUnavailable
    if status == 401 and operation is not Operation.SUBMIT:
        return FalRefused if operation is not Operation.RESULT else ResultAnswer
    return {
        Operation.SUBMIT: (Submitted, SubmitRefused, SubmitUnknown),
        Operation.STATUS: (StatusAnswer, FalRefused),
        Operation.RESULT: ResultAnswer,
        Operation.CANCEL: (CancelAnswer, FalRefused),
    }[operation]


@pytest.mark.parametrize(
    "operation, status, kind",
    [(operation, status, kind) for (operation, status), kind in ANSWERS],
    ids=lambda value: str(value) if isinstance(value, (Operation, int)) else "body",
)
def test_every_published_answer_is_understood(operation, status, kind):
    """An answer that the schema allows is a value or a refusal, and never schema drift."""

    @settings(max_examples=40)
    @given(conforming(kind))
    def judge(body):
        assert isinstance(judged(operation, status, body), expected_of(operation, status))

    judge()


@pytest.mark.parametrize("status", ["IN_QUEUE", "IN_PROGRESS", "COMPLETED"])
@given(data=st.data())
def test_a_published_status_says_the_same_to_the_client(status, data):
    """Word, position and error reach the caller as they were published."""
    body = data.draw(conforming(StatusBody)) | {"status": status}

    told = judged(Operation.STATUS, 200 if status == "COMPLETED" else 202, body)
    is_queued, is_completed = status == "IN_QUEUE", status == "COMPLETED"
    assert told == StatusAnswer(
        QueueStatus(status),
        queue_position=body.get("queue_position") if is_queued else None,
        error=body.get("error") if is_completed else None,
        error_type=body.get("error_type") if is_completed else None,
    )
