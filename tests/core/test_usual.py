"""How long jobs usually take: what is learned, and when a request is first asked about."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.core.fact import Witness
from consumer.core.policy import Policies
from consumer.core.standing import End, Named, Request, State
from consumer.core.usual import MIN_SAMPLES, Usual, first_gap, learn
from tests.core.strategies import NOW

POLICIES = Policies()
SECOND = timedelta(seconds=1)
ENDPOINT = "fal-ai/flux/dev"


def request(endpoint=ENDPOINT, **fields) -> Request:
    named = Named(value=endpoint, authority=3, at=NOW) if endpoint else None
    fields = {"is_tracked": True, "has_callback": True, "endpoint": named} | fields
    return Request(request_id="r", first_at=NOW, last_at=NOW, **fields)


def ended(seconds, *, signed=True, **fields) -> Request:
    end = End(
        state=State.SUCCEEDED,
        witness=Witness.WEBHOOK if signed else Witness.RESULT,
        at=NOW + seconds * SECOND,
        signed=signed,
        counts=True,
        fact_id="f",
    )
    return request(ends=(end,), **fields)


def usual(early, late):
    return {ENDPOINT: Usual(early * SECOND, late * SECOND)}


def test_nine_of_ten_are_learned_by_endpoint():
    """For each endpoint with enough ends, what nine of ten take at least and at most is learned."""
    slow = [ended(100 * n, endpoint="a/b") for n in range(1, 11)]
    few = [ended(1, endpoint="a/few")] * (MIN_SAMPLES - 1)

    found = learn([*(ended(n) for n in range(1, 101)), *slow, *few])

    assert {
        ENDPOINT: Usual(11 * SECOND, 91 * SECOND),
        "a/b": Usual(200 * SECOND, 1000 * SECOND),
    } == found


@pytest.mark.parametrize(
    "useless",
    [
        ended(5, signed=False),  # found by asking: as late as the question
        ended(0),  # known by its webhook alone
        ended(5, has_callback=False),
        ended(5, endpoint=""),
        request(),
    ],
)
def test_what_says_nothing_of_the_time_is_left_out(useless):
    """Only a signed end of a request that we saw begin is learned from."""
    assert {} == learn([useless] * 50)


@pytest.mark.parametrize(
    "asked, known, seconds",
    [
        (request(), {}, 60),
        (request(endpoint=""), usual(1, 2), 60),
        (request(has_callback=False), usual(300, 600), 1),
        (request(), usual(10, 40), 50),
        (request(), usual(0.1, 0.2), 5),
        (request(), usual(60, 1800), 300),
        (request(keeps_payload=True), usual(60, 1600), 2000),
        (request(keeps_payload=True), usual(60, 360000), 3600),
    ],
)
def test_the_first_question_comes_when_the_webhook_should_have_come(asked, known, seconds):
    """A quarter after what is usual; sooner where the result might expire meanwhile."""
    assert seconds * SECOND == first_gap(asked, known, POLICIES)


@given(st.floats(0.001, 10**6), st.floats(0.001, 10**6), st.booleans())
def test_no_result_of_a_usual_job_expires_before_the_first_question(one, other, keeps_payload):
    """Whatever is learned: the wait has bounds, and an unstored result is asked for in time."""
    early, late = sorted((one, other))
    gap = first_gap(request(keeps_payload=keeps_payload), usual(early, late), POLICIES)

    assert POLICIES.min_first_check <= gap <= POLICIES.max_first_check
    if not keeps_payload:
        longest = max(early * SECOND + POLICIES.max_check_gap, POLICIES.min_first_check)
        assert gap <= longest + SECOND
