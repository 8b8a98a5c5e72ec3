"""What the account's listing tells, and when a listed request is an unknown submission's."""

from datetime import timedelta
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.core.listing import Listed, end_of_listed, is_news, matches
from consumer.core.standing import End, Named, Request, State, Submission
from consumer.core.text import dump_json
from tests.core.strategies import NOW

ENDPOINT = "fal-ai/flux/dev"
MINUTE = timedelta(minutes=1)


def listed(request_id="r1", prompt="apple", **fields) -> Listed:
    fields = {"sent_at": NOW, "ended_at": NOW, "status_code": 200} | fields
    value = None if prompt is None else {"prompt": prompt}
    return Listed(request_id, fields.pop("endpoint", ENDPOINT), input=value, **fields)


def unknown(name="s1", prompt="apple", **fields) -> Submission:
    hashed = sha256(dump_json([ENDPOINT, {"prompt": prompt}])).hexdigest()
    fields = {"first_at": NOW, "last_at": NOW, "input_sha256": hashed} | fields
    return Submission(submission_id=name, **fields)


def request(**fields) -> Request:
    return Request(request_id="r1", first_at=NOW, last_at=NOW, **fields)


NAMED = {"endpoint": Named(value=ENDPOINT, authority=1, at=NOW)}
END = End(state=State.FAILED, witness="result", at=NOW, signed=False, counts=True, fact_id="f")


@pytest.mark.parametrize(
    "item, held, expected",
    [
        (listed(), None, True),
        (listed(), request(), True),
        (listed(), request(**NAMED), True),
        (listed(ended_at=None), request(**NAMED), False),
        (listed(), request(**NAMED, listed_end_at=NOW), False),
        (listed(), request(**NAMED, ends=(END,)), False),
        (listed(), request(ends=(END,)), True),
    ],
)
def test_news_is_what_the_ledger_does_not_know(item, held, expected):
    """News: a request nobody registered, an endpoint nobody named, an end nobody heard of."""
    assert expected == is_news(item, held)


@pytest.mark.parametrize(
    "item, end",
    [
        (None, None),
        (listed(ended_at=None), None),
        (listed(status_code=None), None),
        (listed(status_code=200), "succeeded"),
        (listed(status_code=299), "succeeded"),
        (listed(status_code=422), "failed"),
        (listed(status_code=500), "failed"),
        (listed(status_code=499), "cancelled"),
    ],
)
def test_the_status_code_alone_tells_the_end(item, end):
    """Where only the listing is left, its status code gives the end; the output has expired."""
    found = end_of_listed(item)

    assert (end, "expired" if end else None) == (
        found.end.value if found else None,
        found.output_missing if found else None,
    )


@pytest.mark.parametrize(
    "submissions, items, claimed, expected",
    [
        ([unknown()], [listed()], set(), [("s1", "r1")]),
        ([unknown()], [listed(), listed("r2", "pear")], set(), [("s1", "r1")]),
        ([unknown(), unknown("s2")], [listed()], set(), []),
        ([unknown()], [listed(), listed("r2")], set(), []),
        ([unknown()], [listed(), listed("r2")], {"r2"}, [("s1", "r1")]),
        ([unknown()], [listed(), listed("R1")], set(), [("s1", "r1")]),
        ([unknown()], [listed()], {"r1"}, []),
        ([unknown()], [listed(prompt=None)], set(), []),
        ([unknown()], [listed(endpoint="fal-ai/other")], set(), []),
        ([unknown()], [listed(sent_at=NOW - 6 * MINUTE)], set(), []),
        ([unknown()], [listed(sent_at=NOW - 4 * MINUTE)], set(), [("s1", "r1")]),
        ([unknown()], [listed(sent_at=None)], set(), [("s1", "r1")]),
        ([unknown(input_sha256="")], [listed()], set(), []),
        ([unknown()], [Listed("r1", ENDPOINT, NOW, NOW, 200, float("nan"))], set(), []),
    ],
)
def test_a_match_is_one_unknown_and_one_unclaimed_request(submissions, items, claimed, expected):
    """Two of either kind with one input, and nobody can say which is which."""
    found = matches(submissions, items, claimed)

    assert expected == [(one.submission_id, item.request_id.lower()) for one, item in found]


@given(
    st.lists(st.sampled_from("ab"), max_size=4),
    st.lists(st.sampled_from("ab"), max_size=4),
    st.sets(st.integers(0, 3)),
)
def test_no_request_and_no_submission_is_matched_twice(wanted, found, claimed):
    """Whatever is listed, each is in one match at most, and never one that belongs to somebody."""
    submissions = [unknown(f"s{n}", prompt) for n, prompt in enumerate(wanted)]
    items = [listed(f"r{n}", prompt) for n, prompt in enumerate(found)]
    pairs = matches(submissions, items, {f"r{n}" for n in claimed})

    assert len({one.submission_id for one, _ in pairs}) == len(pairs)
    assert len({item.request_id for _, item in pairs}) == len(pairs)
    assert not {item.request_id for _, item in pairs} & {f"r{n}" for n in claimed}
