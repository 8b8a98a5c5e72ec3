"""What fal's answers to a cancel and to a submit mean, and how long it asks us to wait."""

import pytest

from consumer.core.text import dump_json
from consumer.errors import FalRefused
from consumer.fal import wire
from consumer.fal.call import Answer
from consumer.ports import CancelAnswer, SubmitRefused, Submitted, SubmitUnknown

JOB = "019f7085-1439-7320-9a28-939d54dfcee5"
INVALID = b'{"detail":[{"loc":["body","image_url"],"msg":"x","type":"file_download_error"}]}'
LOCKED = b'{"detail":"User is locked. Reason: Exhausted balance."}'
NGINX = b"<html><head><title>502 Bad Gateway</title></head></html>"
NOT_FOUND = b'{"status":"NOT_FOUND"}'


def answer(http_status: int, body: bytes = b"") -> Answer:
    """An answer without headers."""
    return Answer(http_status, {}, body)


# ---------------------------------------------------------------- cancel


@pytest.mark.parametrize(
    "http_status, body, expected",
    [
        (200, b'{"status":"OK"}', CancelAnswer.REMOVED),
        (202, b'{"status":"CANCELLATION_REQUESTED"}', CancelAnswer.REQUESTED),
        (400, b'{"status":"ALREADY_COMPLETED"}', CancelAnswer.ALREADY_COMPLETED),
        (404, NOT_FOUND, CancelAnswer.NOT_FOUND),
        (200, b'{"success":true}', CancelAnswer.REQUESTED),
        (200, b'{"success":false}', CancelAnswer.REQUESTED),
        (204, b"", CancelAnswer.REQUESTED),
        (202, b'{"status":"LATER"}', CancelAnswer.REQUESTED),
        (200, b"\xff", CancelAnswer.REQUESTED),
    ],
)
def test_cancel_answers(http_status, body, expected):
    """Each documented answer has its meaning; any other 2xx is no more than accepted."""
    assert expected is wire.parse_cancel(answer(http_status, body))


@pytest.mark.parametrize("http_status", [400, 401, 403, 404, 405])
def test_other_cancel_refusals_are_refused(http_status):
    """A 4xx without one of the words is FalRefused."""
    with pytest.raises(FalRefused):
        wire.parse_cancel(answer(http_status, b'{"status":"OK"}'))


# ---------------------------------------------------------------- submit


@pytest.mark.parametrize("http_status", [200, 201, 202])
def test_submit_answer_gives_the_id(http_status):
    """Any 2xx with a UUID is a job; all its other fields are optional."""
    for body in ({"request_id": JOB}, {"request_id": JOB.upper(), "status": "IN_QUEUE", "x": 1}):
        assert Submitted(JOB) == wire.parse_submit(answer(http_status, dump_json(body)))


@pytest.mark.parametrize(
    "http_status, body, expected",
    [
        (401, b'{"detail":"invalid key credentials"}', SubmitRefused(401, "unauthorized")),
        (403, LOCKED, SubmitRefused(403, "locked")),
        (403, NGINX, SubmitRefused(403, "forbidden")),
        (404, b'{"detail":"Application not found"}', SubmitRefused(404, "not_found")),
        (422, INVALID, SubmitRefused(422, "http_422")),
        (
            429,
            b'{"detail":"x","error_type":"concurrent_requests_limit"}',
            SubmitRefused(429, "concurrent_requests_limit"),
        ),
        (408, b"", SubmitUnknown("http_408")),
        (499, b"", SubmitUnknown("http_499")),
        (307, b"", SubmitUnknown("http_307")),
        (500, b'{"detail":"Internal Server Error"}', SubmitUnknown("http_500")),
        (502, NGINX, SubmitUnknown("http_502")),
        (200, b"", SubmitUnknown("unreadable_id")),
        (200, b"{}", SubmitUnknown("unreadable_id")),
        (200, b'{"request_id":null}', SubmitUnknown("unreadable_id")),
        (200, b'{"request_id":"../etc"}', SubmitUnknown("unreadable_id")),
    ],
)
def test_submit_without_an_id(http_status, body, expected):
    """Only fal's own 4xx is a certain no; everything else may have left a job behind."""
    assert expected == wire.parse_submit(answer(http_status, body))


@pytest.mark.parametrize("word", ["Key abc:def", "https://x", "a" * 65, "", 'a"b', 7])
def test_a_refusal_shows_no_text_outside_the_words_of_fal(word):
    """An error type that is no plain word is not repeated."""
    body = dump_json({"error_type": word})

    assert SubmitRefused(400, "http_400") == wire.parse_submit(answer(400, body))


@pytest.mark.parametrize(
    "headers, expected",
    [
        ({"Retry-After": "7"}, 7.0),
        ({"Retry-After": "0.5"}, 0.5),
        ({"x-ratelimit-reset": "30"}, 30.0),
        ({"x-ratelimit-reset": "1790000000"}, None),
        ({"Retry-After": "99999999"}, 3600.0),
        ({"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"}, None),
        ({"Retry-After": "-1"}, None),
        ({"Retry-After": "inf"}, None),
        ({}, None),
    ],
)
def test_retry_after_is_seconds_up_to_an_hour(headers, expected):
    """What fal asks for is kept when it is a number, bounded by an hour."""
    assert expected == wire.retry_after_s(headers)
