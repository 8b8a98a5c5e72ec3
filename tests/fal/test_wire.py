"""What fal's recorded and documented answers mean."""

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.core.text import dump_json
from consumer.errors import FalRefused, FalUnavailable, SchemaDrift
from consumer.fal import wire
from consumer.fal.call import Answer
from consumer.ports import (
    QueueStatus,
    ResultAnswer,
    ResultKind,
    StatusAnswer,
    SubmitRefused,
    Submitted,
    SubmitUnknown,
)

JOB = "019f7085-1439-7320-9a28-939d54dfcee5"
BASE = f"https://queue.fal.run/fal-ai/kling-video/requests/{JOB}"

# Recorded in 2026: the status of a request whose model answered 422.
COMPLETED = (
    b'{"status":"COMPLETED","request_id":"019f7085-1439-7320-9a28-939d54dfcee5",'
    b'"response_url":"https://queue.fal.run/fal-ai/kling-video/requests/019f7085-1439-7320-9a28-939d54dfcee5",'
    b'"status_url":"https://queue.fal.run/fal-ai/kling-video/requests/019f7085-1439-7320-9a28-939d54dfcee5/status",'
    b'"cancel_url":"https://queue.fal.run/fal-ai/kling-video/requests/019f7085-1439-7320-9a28-939d54dfcee5/cancel",'
    b'"logs":null,"metrics":{"inference_time":7.581265926361084}}'
)
# Recorded in 2026: a result of 422.
INVALID = (
    b'{"detail":[{"loc":["body","image_url"],"msg":"Failed to download the file. Please check if '
    b'the URL is accessible and try again.","type":"file_download_error","url":"https://docs.fal.ai'
    b'/errors#file_download_error","input":"https://v3b.fal.media/files/b/0aa43692/a.png"}]}'
)
LOCKED = (
    b'{"detail":"User is locked. Reason: Exhausted balance. '
    b'Top up your balance at fal.ai/dashboard/billing."}'
)
NGINX = b"<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body></body></html>"
NOT_FOUND = b'{"status":"NOT_FOUND"}'
TOO_EARLY = dump_json(
    {
        "detail": "Request is still in progress",
        "request_id": JOB,
        "response_url": BASE,
        "status_url": f"{BASE}/status",
        "cancel_url": f"{BASE}/cancel",
    }
)
RAN = {"X-Fal-Billable-Units": "0", "x-fal-request-id": JOB}
JSON = {"Content-Type": "application/json"}


def answer(http_status: int, body: bytes = b"", **headers: str) -> Answer:
    """An answer with its headers in the case that the tests look them up in."""
    return Answer(
        http_status, {name.replace("_", "-"): text for name, text in headers.items()}, body
    )


def status_body(**fields: object) -> bytes:
    return dump_json({"status": "IN_QUEUE", "request_id": JOB, "logs": None, **fields})


# ---------------------------------------------------------------- status


@pytest.mark.parametrize("http_status", [200, 202])
@pytest.mark.parametrize(
    "body, expected",
    [
        (COMPLETED, StatusAnswer(QueueStatus.COMPLETED)),
        (status_body(queue_position=0), StatusAnswer(QueueStatus.IN_QUEUE, 0)),
        (status_body(), StatusAnswer(QueueStatus.IN_QUEUE)),
        (status_body(status="IN_PROGRESS", logs=[]), StatusAnswer(QueueStatus.IN_PROGRESS)),
        (status_body(status="IN_PROGRESS", later=[1]), StatusAnswer(QueueStatus.IN_PROGRESS)),
        (
            status_body(
                status="COMPLETED", error="Request timed out", error_type="request_timeout"
            ),
            StatusAnswer(
                QueueStatus.COMPLETED, error="Request timed out", error_type="request_timeout"
            ),
        ),
        (NOT_FOUND, StatusAnswer(QueueStatus.NOT_FOUND)),
    ],
)
def test_status_is_read_from_the_body(http_status, body, expected):
    """A status means the same under 200 and under 202."""
    assert expected == wire.parse_status(answer(http_status, body), JOB)


@pytest.mark.parametrize("http_status", [400, 404])
def test_status_words_count_under_a_refusing_code(http_status):
    """A whole status object is believed, although its code says something else."""
    expected = StatusAnswer(QueueStatus.COMPLETED)

    assert expected == wire.parse_status(answer(http_status, COMPLETED), JOB)


@pytest.mark.parametrize(
    "body",
    [
        status_body(status="FAILED"),
        status_body(status="NOT_FOUND"),
        status_body(status=1),
        status_body(status=None),
        b'{"request_id":"019f7085-1439-7320-9a28-939d54dfcee5"}',
        status_body(request_id="019f7085-1439-7320-9a28-000000000000"),
        b"[]",
        b'"IN_QUEUE"',
    ],
)
def test_changed_status_is_drift_with_its_body(body):
    """A missing, retyped or unknown field is SchemaDrift, which keeps the body and shows none."""
    with pytest.raises(SchemaDrift) as drift:
        wire.parse_status(answer(200, body), JOB)

    assert ("status", body) == (drift.value.operation, drift.value.body)
    assert "fal.run" not in str(drift.value)


@pytest.mark.parametrize(
    "changed, where, expected, came",
    [
        ({"queue_position": "3"}, "queue_position", "a whole number", "text of 1 characters"),
        ({"queue_position": -1}, "queue_position", "Input should be greater", "a number"),
        ({"queue_position": True}, "queue_position", "a whole number", "true or false"),
        ({"request_id": 7}, "request_id", "text", "a number"),
        ({"error": {"text": "x"}}, "error", "text", "an object"),
        ({"logs": [{"message": 1}, {"message": "b"}]}, "logs[0].message", "text", "a number"),
    ],
)
def test_a_changed_part_is_told_and_the_rest_is_used(changed, where, expected, came):
    """A retyped field that a status can do without is a drift beside it, with the body."""
    body = status_body(**changed)

    read = wire.read_status(answer(200, body), JOB)

    (drift,) = read.drifts
    assert (where, came, body) == (drift.where, drift.came, drift.body)
    assert drift.expected.startswith(expected)
    assert wire.status_answer(read).drifts == read.drifts


@pytest.mark.parametrize("body", [b"", b'{"status":"COMPL', NGINX, b"\xff"])
def test_broken_status_is_no_answer(body):
    """Nothing, half of it, or a page under 200 is FalUnavailable: the next try may be whole."""
    with pytest.raises(FalUnavailable):
        wire.parse_status(answer(200, body), JOB)


_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(), inner, max_size=2),
    max_leaves=4,
)


@given(
    field=st.sampled_from([*json.loads(COMPLETED), "error", "error_type", "queue_position"]),
    value=_JSON,
    is_missing=st.booleans(),
    http_status=st.sampled_from([200, 202, 400, 404, 429, 500]),
)
def test_one_changed_field_parses_or_is_an_error_of_ours(field, value, is_missing, http_status):
    """Whatever one field of a recorded status becomes, it is a status or an error of ours."""
    body = json.loads(COMPLETED) | {field: value}
    if is_missing:
        del body[field]

    try:
        read = wire.parse_status(answer(http_status, dump_json(body)), JOB)
    except (SchemaDrift, FalRefused, FalUnavailable):
        return
    assert isinstance(read, StatusAnswer)


@given(
    body=st.binary(max_size=64) | _JSON.map(dump_json),
    http_status=st.integers(200, 599),
    names=st.dictionaries(
        st.sampled_from(
            ["X-Fal-Billable-Units", "x-fal-request-id", "Retry-After", "Content-Type"]
        ),
        st.text(max_size=20),
    ),
)
def test_any_answer_is_a_value_or_an_error_of_ours(body, http_status, names):
    """No answer whatsoever makes another exception escape."""
    given_answer = Answer(http_status, names, body)

    for parse in (
        lambda: wire.parse_status(given_answer, JOB),
        lambda: wire.parse_result(given_answer),
        lambda: wire.parse_cancel(given_answer),
    ):
        with contextlib.suppress(SchemaDrift, FalRefused, FalUnavailable):
            parse()
    assert isinstance(wire.parse_submit(given_answer), (Submitted, SubmitRefused, SubmitUnknown))


# ---------------------------------------------------------------- result


@pytest.mark.parametrize(
    "http_status, body, headers",
    [
        (200, b'{"images":[]}', {}),
        (200, b"\x89PNG", RAN),
        (200, b"", RAN),
        (204, b"", RAN),
        (422, INVALID, {}),
        (422, INVALID, RAN),
        (404, b'{"detail":"Path /x not found"}', RAN),
        (404, b'{"detail":"Path /x not found"}', {}),
        (404, NOT_FOUND, RAN),
        (401, b'{"detail":"partner"}', RAN),
        (403, b'{"detail":"locked out by the partner"}', RAN),
        (429, b'{"detail":"partner"}', RAN),
        (500, b'{"detail":"boom"}', {"x-fal-request-id": JOB}),
        (500, b"Internal Server Error", {"x-fal-request-id": JOB}),
        (503, b'{"detail":"x","error_type":"runner_disconnected"}', {"X-Fal-Error-Type": "x"}),
        (504, b'{"detail":"x"}', {"X-Fal-Request-Timeout-Type": "user"}),
        (499, b'{"detail":"Request was cancelled","error_type":"client_cancelled"}', {}),
    ],
)
def test_what_the_model_answered_is_ready(http_status, body, headers):
    """A replayed answer is READY with its own status and bytes, whatever they are."""
    read = wire.parse_result(Answer(http_status, headers | JSON, body))

    expected = ResultAnswer(
        ResultKind.READY,
        http_status=http_status,
        body=body,
        content_type="application/json",
        billable_units=headers.get("X-Fal-Billable-Units"),
    )
    assert expected == read


@pytest.mark.parametrize(
    "http_status, body",
    [
        *[(code, TOO_EARLY) for code in (200, 202, 400, 422, 500)],
        (400, status_body(status="IN_PROGRESS")),
        (202, status_body()),
    ],
)
def test_early_result_is_not_ready(http_status, body):
    """Fal's text for a result read too early means that under any code."""
    expected = ResultAnswer(ResultKind.NOT_READY)

    assert expected == wire.parse_result(answer(http_status, body))


def test_output_that_looks_like_a_status_is_ready():
    """A model may answer 200 with the words of a status; that is its output."""
    for word in (b'{"status":"IN_PROGRESS"}', NOT_FOUND):
        assert ResultKind.READY is wire.parse_result(answer(200, word)).kind


def test_exact_not_found_is_not_found():
    """Only fal's exact body says that an id or its result is not known."""
    expected = ResultAnswer(ResultKind.NOT_FOUND)

    assert expected == wire.parse_result(answer(404, NOT_FOUND))


@pytest.mark.parametrize(
    "http_status, body, reason",
    [
        (401, b'{"detail":"invalid key credentials"}', "unauthorized"),
        (401, b"Authorization token=abc is invalid.", "unauthorized"),
        (403, LOCKED, "locked"),
        (404, b'{"detail":"Application \\"a/b\\" not found"}', "not_found"),
        (404, b"nothing here", "not_found"),
        (405, b'{"detail":"Method Not Allowed"}', "http_405"),
        (302, b"", "http_302"),
    ],
)
def test_refusals_carry_a_word_and_no_text_of_fal(http_status, body, reason):
    """What fal refuses is FalRefused with a word of ours: its own text may quote the key."""
    with pytest.raises(FalRefused) as refused:
        wire.parse_result(answer(http_status, body))

    assert (http_status, reason) == (refused.value.http_status, refused.value.reason)


@pytest.mark.parametrize(
    "http_status, body, headers",
    [
        (429, b'{"detail":"Rate limit exceeded"}', {}),
        (500, b'{"detail":"Internal Server Error"}', {}),
        (502, NGINX, {}),
        (503, b"", {}),
        (200, b"", {}),
        (200, NGINX, {"Content-Type": "text/html"}),
        (403, b"<!DOCTYPE html><title>Just a moment...</title>", {}),
        (407, b"", {}),
        (408, b"", {}),
    ],
)
def test_answers_of_others_are_no_answer(http_status, body, headers):
    """Pages of proxies, limits and empty answers are FalUnavailable, never a model's failure."""
    with pytest.raises(FalUnavailable):
        wire.parse_result(Answer(http_status, headers, body))


@pytest.mark.parametrize(
    "text, expected",
    [("1.5", "1.5"), ("0", "0"), (" 12 ", "12"), ("1e-05", "1e-05")]
    + [(text, None) for text in ("", "-1", "NaN", "1,5", "1" * 40, "one", "0x1", "\u0661")],
)
def test_billable_units_are_a_decimal_number_or_none(text, expected):
    """The header's text is kept as it is when it is a number, and dropped otherwise."""
    read = wire.parse_result(Answer(200, {"X-Fal-Billable-Units": text}, b"{}"))

    assert expected == read.billable_units
