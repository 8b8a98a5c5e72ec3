"""
Every recorded or documented answer of fal, and every change of one field of it.

An answer parses, or is SchemaDrift with its body; nothing else comes out, whatever field is
removed, null, of another type, renamed or added. Source of the examples: fal docs of
2026-10-07 and answers recorded in 2026.
"""

import json
from collections.abc import Iterator
from copy import deepcopy
from functools import partial
from typing import Any

import pytest
from multidict import CIMultiDict

from consumer.errors import FalRefused, FalUnavailable, SchemaDrift
from consumer.fal import outcomes, pages, wire
from consumer.fal.answers import (
    BillingEvent,
    Estimate,
    FalAnswer,
    ListedRequest,
    Model,
    Price,
    WebhookRanges,
)
from consumer.fal.call import Answer
from consumer.ports import StatusAnswer, SubmitRefused, Submitted, SubmitUnknown

JOB = "019f7085-1439-7320-9a28-939d54dfcee5"
URL = f"https://queue.fal.run/fal-ai/kling-video/requests/{JOB}"
URLS = {"response_url": URL, "status_url": f"{URL}/status", "cancel_url": f"{URL}/cancel"}
LOG = {"message": "step 1", "timestamp": "2026-10-07T12:00:00Z", "level": "INFO", "source": "USER"}
METADATA = {
    "display_name": "FLUX.1 [dev]",
    "category": "text-to-image",
    "description": "A model.",
    "status": "active",
    "tags": ["image"],
    "updated_at": "2026-01-01T00:00:00Z",
    "is_favorited": None,
    "thumbnail_url": "https://fal.media/files/x.png",
    "model_url": "https://fal.run/fal-ai/flux/dev",
    "date": "2026-01-01T00:00:00Z",
    "highlighted": False,
    "pinned": False,
    "license_type": "commercial",
    "group": {"key": "flux", "label": "FLUX"},
    "kind": "inference",
    "duration_estimate": 0.5,
}
EVENT = {
    "request_id": JOB,
    "endpoint_id": "fal-ai/flux/dev",
    "timestamp": "2026-10-07T12:00:00Z",
    "output_units": 2,
    "unit_price": 0.025,
    "percent_discount": None,
    "cost_subtotal": 0.05,
    "cost_discount": 0.0,
    "cost_total": 0.05,
    "cost_estimate_nano_usd": 50_000_000,
}
REQUEST = {
    "request_id": JOB,
    "endpoint_id": "fal-ai/flux/dev",
    "started_at": "2026-10-07T12:00:01Z",
    "sent_at": "2026-10-07T12:00:00Z",
    "ended_at": "2026-10-07T12:00:02.5Z",
    "status_code": 200,
    "duration": 1.5,
}
DETAIL = {
    "loc": ["body", "image_url"],
    "msg": "Failed to download the file.",
    "type": "file_download_error",
    "url": "https://docs.fal.ai/errors#file_download_error",
    "input": "https://v3b.fal.media/files/b/0aa43692/x.png",
}


def page(name, *rows):
    """One page of a list."""
    return {name: list(rows), "next_cursor": None, "has_more": False}


def _list(item, name):
    return partial(pages.read_answer, model=pages.Page[item], operation=name, name=name)


read_status = partial(wire.read_status, request_id=JOB)
read_result = partial(outcomes.read_result, request_id=JOB)
read_cancel = partial(outcomes.read_cancellation, request_id=JOB)
RUN = {"x-fal-request-id": JOB, "X-Fal-Billable-Units": "0", "Content-Type": "application/json"}

EXAMPLES: dict[str, tuple[Any, int, Any, dict[str, str]]] = {
    "submit": (
        wire.parse_submit,
        200,
        {"request_id": JOB, "status": "IN_QUEUE", **URLS, "queue_position": 0, "logs": None},
        {},
    ),
    "status queued": (
        read_status,
        202,
        {"status": "IN_QUEUE", "request_id": JOB, "queue_position": 3, **URLS, "logs": None},
        {},
    ),
    "status running": (
        read_status,
        202,
        {"status": "IN_PROGRESS", "request_id": JOB, **URLS, "logs": [LOG], "metrics": {}},
        {},
    ),
    "status of a 422, recorded": (
        read_status,
        200,
        {
            "status": "COMPLETED",
            "request_id": JOB,
            **URLS,
            "logs": None,
            "metrics": {"inference_time": 7.581265926361084},
        },
        {},
    ),
    "status of a lost runner": (
        read_status,
        200,
        {
            "status": "COMPLETED",
            "request_id": JOB,
            "error": "Runner disconnected",
            "error_type": "runner_disconnected",
        },
        {},
    ),
    "status unknown": (read_status, 404, {"status": "NOT_FOUND"}, {}),
    "result 422, recorded": (read_result, 422, {"detail": [DETAIL]}, RUN),
    "result of a lost runner": (
        read_result,
        503,
        {"detail": "Runner disconnected", "error_type": "runner_disconnected"},
        {"X-Fal-Error-Type": "runner_disconnected"},
    ),
    "result without such a path": (read_result, 404, {"detail": "Path /x not found"}, RUN),
    "result too early": (
        read_result,
        400,
        {"detail": "Request is still in progress", "request_id": JOB, **URLS},
        {"x-fal-request-id": JOB},
    ),
    "cancel removed": (read_cancel, 200, {"status": "OK"}, {}),
    "cancel requested": (read_cancel, 202, {"status": "CANCELLATION_REQUESTED"}, {}),
    "cancel too late": (read_cancel, 400, {"status": "ALREADY_COMPLETED"}, {}),
    "cancel unknown": (read_cancel, 404, {"status": "NOT_FOUND"}, {}),
    "cancel of 2025": (read_cancel, 200, {"success": True}, {}),
    "models": (
        _list(Model, "models"),
        200,
        page("models", {"endpoint_id": "fal-ai/flux/dev", "metadata": METADATA}),
        {},
    ),
    "models with openapi": (
        _list(Model, "models"),
        200,
        page(
            "models",
            {"endpoint_id": "a/b", "openapi": {"openapi": "3.0.4", "paths": {}}},
            {"endpoint_id": "a/c", "openapi": {"error": {"code": "expansion_failed"}}},
        ),
        {},
    ),
    "pricing": (
        _list(Price, "prices"),
        200,
        page(
            "prices",
            {
                "endpoint_id": "fal-ai/flux/dev",
                "unit_price": 0.025,
                "unit": "image",
                "currency": "USD",
            },
        ),
        {},
    ),
    "estimate": (
        partial(pages.read_answer, model=Estimate, operation="estimate"),
        200,
        {"estimate_type": "unit_price", "total_cost": 1.25, "currency": "USD"},
        {},
    ),
    "listing": (_list(ListedRequest, "items"), 200, page("items", REQUEST), {}),
    "billing": (_list(BillingEvent, "billing_events"), 200, page("billing_events", EVENT), {}),
    "meta": (
        partial(pages.read_answer, model=WebhookRanges, operation="meta"),
        200,
        {"webhook_ip_ranges": ["34.123.59.101/32", "34.135.41.243/32"]},
        {},
    ),
}
REFUSALS = [
    (401, {"detail": "invalid key credentials"}),
    (401, {"detail": 'Cannot access application "a/b".'}),
    (403, {"detail": "User is locked. Reason: Exhausted balance. Top up your balance."}),
    (403, {"detail": "User is locked. Reason: Admin lock. Please contact support@fal.ai"}),
    (404, {"detail": 'Application "x" not found'}),
    (429, {"detail": "too many", "error_type": "concurrent_requests_limit"}),
    (400, {"error": {"type": "validation_error", "message": "Invalid request parameters"}}),
    (401, {"error": {"type": "authorization_error", "message": "Authentication required"}}),
    (404, {"error": {"type": "not_found", "message": "Resource not found", "request_id": "x"}}),
    (429, {"error": {"type": "rate_limited", "message": "Rate limit exceeded"}}),
    (500, {"error": {"type": "server_error", "message": "An unexpected error occurred"}}),
]
OTHER_VALUES = [None, True, 7, -1, 2.5, 10**400, "text", "", [], [1], {}, {"a": 1}]


def answer(http_status: int, body: Any, headers: dict[str, str]) -> Answer:
    """An answer of fal with this JSON."""
    return Answer(http_status, CIMultiDict(headers), json.dumps(body).encode())


def places(value: Any, where: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every field and every item within a value."""
    steps = value.items() if isinstance(value, dict) else enumerate(value)
    for name, inner in steps:
        yield (*where, name)
        if isinstance(inner, (dict, list)):
            yield from places(inner, (*where, name))


def changes(body: Any) -> Iterator[Any]:
    """The body with one thing changed: removed, retyped, renamed, added, in every place."""
    for *way, last in places(body):
        for change in ("remove", "rename", "add", *range(len(OTHER_VALUES))):
            changed = deepcopy(body)
            holder = changed
            for step in way:
                holder = holder[step]
            if isinstance(change, int):
                holder[last] = OTHER_VALUES[change]
            elif change == "remove":
                del holder[last]
            elif isinstance(holder, dict) and change == "rename":
                holder[f"{last}_new"] = holder.pop(last)
            elif isinstance(holder, dict):
                holder["a_field_of_the_future"] = {"x": [1]}
            yield changed
    yield from OTHER_VALUES


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_example_parses(name):
    """Each recorded or documented answer is read whole, with nothing left out."""
    judge, http_status, body, headers = EXAMPLES[name]

    read = judge(answer(http_status, body, headers))

    assert not isinstance(read, (SubmitRefused, SubmitUnknown))
    assert getattr(read, "drifts", ()) == ()


def verdict(judge, came: Answer) -> Any:
    """What becomes of an answer: its value, or the error of ours that it is."""
    try:
        return judge(came)
    except (FalRefused, FalUnavailable, SchemaDrift) as exc:
        return exc


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_change_of_one_field_parses_or_is_drift(name):
    """Whatever one field becomes, the answer is read or is SchemaDrift, which holds the body."""
    judge, http_status, body, headers = EXAMPLES[name]
    kinds = (FalAnswer, StatusAnswer, Submitted, SubmitUnknown, type(None), SchemaDrift)
    drifts = []
    for changed in changes(body):
        if http_status >= 400 and not isinstance(changed, dict):
            continue  # an error without a description: a refusal by its code alone
        came = answer(http_status, changed, headers)

        read = verdict(judge, came)

        assert isinstance(read, kinds), changed
        found = [read] if isinstance(read, SchemaDrift) else list(getattr(read, "drifts", ()))
        assert all(drift.body == came.body for drift in found)
        assert all(drift.expected and drift.came for drift in found)
        drifts += found
    assert drifts or name.startswith(("result", "submit"))


@pytest.mark.parametrize("name", [name for name in EXAMPLES if not name.endswith("unknown")])
def test_a_new_field_is_no_drift_and_is_kept(name):
    """A field that this version does not know passes, and stays where the answer has fields."""
    judge, http_status, body, headers = EXAMPLES[name]

    read = judge(answer(http_status, body | {"of_the_future": 1}, headers))

    assert getattr(read, "drifts", ()) == ()
    if isinstance(read, FalAnswer) and not name.startswith(("result", "cancel")):
        assert read.model_extra["of_the_future"] == 1


@pytest.mark.parametrize("name", [name for name in EXAMPLES if not name.startswith("submit")])
@pytest.mark.parametrize("http_status, body", REFUSALS)
def test_refusals_stay_refusals_whatever_changes_in_them(name, http_status, body):
    """Fal's and the platform's errors, and each change of them, are errors of ours or a result."""
    judge, *_ = EXAMPLES[name]
    for changed in (body, *changes(body)):
        read = verdict(judge, answer(http_status, changed, {}))

        is_told = name.startswith("result") or http_status in (400, 404, 429)
        assert isinstance(read, (FalRefused, FalUnavailable, SchemaDrift)) or is_told


@pytest.mark.parametrize("name", EXAMPLES)
@pytest.mark.parametrize(
    "body",
    [b"", b'{"status":', b"<html><body>Just a moment</body></html>", b"\xff\xfe", b"[" * 5000],
)
@pytest.mark.parametrize("http_status", [200, 202, 403, 502])
def test_what_is_no_json_is_told_as_what_came(name, body, http_status):
    """Empty and truncated bodies and pages are typed errors that say what came, not its text."""
    judge, *_ = EXAMPLES[name]
    came = Answer(http_status, CIMultiDict({"Content-Type": "text/html"}), body)

    read = verdict(judge, came)

    if isinstance(read, FalUnavailable):
        assert f"HTTP {http_status}" in read.came
    elif not isinstance(read, (FalRefused, SchemaDrift)):
        assert name.startswith(("result", "submit", "cancel")), read
    assert "moment" not in str(read)
