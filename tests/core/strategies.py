"""What hypothesis draws from: any text, JSON, instants, facts, events; and facts by hand."""

import string
from datetime import UTC, datetime, timedelta

from hypothesis import strategies as st

from consumer.core.completion import Completion
from consumer.core.event import Event, EventType, event_id
from consumer.core.fact import Fact, FactName, Witness, new_fact
from consumer.core.result import Media, OutputMissing, Result

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
REQUEST_ID = "019f6af7-3088-7f03-b97d-84fec4a3ce12"
SIGNABLE = (FactName.SUCCEEDED, FactName.FAILED, FactName.CANCELLED, FactName.UNREADABLE)
ENDS = (FactName.SUCCEEDED, FactName.FAILED, FactName.CANCELLED)

any_char = st.characters(exclude_categories=())  # surrogates and NUL are drawn too
texts = st.one_of(st.text(any_char, max_size=12), st.sampled_from(["\0", "\ud800", "\udfff\ud800"]))
utf8_texts = st.text(max_size=12)
big_digits = st.integers(8000, 8400).map(lambda count: "7" * count)
instants = st.datetimes(timezones=st.just(UTC))
json_values = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.integers(10**60, 10**62),
        st.floats(allow_nan=False, allow_infinity=False),
        texts,
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(texts, inner, max_size=3)),
    max_leaves=6,
)
json_objects = st.dictionaries(texts, json_values, max_size=3)


def _near(now: datetime) -> st.SearchStrategy[datetime]:
    """Few instants, so that two facts often have the same."""
    return st.integers(0, 3).map(lambda step: now + timedelta(seconds=step))


_details = st.fixed_dictionaries(
    {},
    optional={
        "endpoint": st.sampled_from(["a/b", "a/c", "a/\ud800", "", 7]),
        "submission_id": texts,
        "position": st.one_of(st.integers(0, 3), st.just("two")),
        "has_callback": st.sampled_from([True, False, "yes"]),
        "start_by": st.sampled_from(
            ["2026-01-01T13:00:00Z", "2026-01-01T14:00:00+01:00", "soon", 5]
        ),
        "finish_by": st.sampled_from(["2026-01-02T00:00:00Z", "2026-01-03T00:00:00Z", None]),
        "tags": st.one_of(st.dictionaries(st.sampled_from("ab\0"), texts, max_size=2), st.just(3)),
        "command_id": st.sampled_from(["", "c1", "c2"]),
        "input_sha256": st.sampled_from(["", "aa", "bb"]),
        "group": st.sampled_from(["", "g1", "g2", None]),
        "supersedes": st.sampled_from(["", "k1", "k2", 3]),
        "number": st.sampled_from([1, 2, 0, -1, 2**63, "3", None]),
        "store_io": st.sampled_from([True, False, None]),
        "policy": st.sampled_from(["asked", "group", "superseded", "whim", ["asked"], None]),
        "answer": st.sampled_from(["OK", "CANCELLATION_REQUESTED", "\ud800", None]),
        "status": st.sampled_from(["IN_QUEUE", "IN_PROGRESS", 5]),
        "by": st.sampled_from(["", "r2"]),
        "reason": st.sampled_from(["", "timeout", "cut"]),
    },
)


@st.composite
def _unsigned_facts(draw: st.DrawFn) -> Fact:
    return new_fact(
        draw(st.sampled_from(FactName)),
        draw(st.sampled_from(Witness)),
        draw(_near(NOW)),
        request_id=REQUEST_ID,
        submission_id=draw(st.sampled_from(["", "sub_1", "sub_2"])),
        detail=draw(_details),
    )


@st.composite
def _webhook_facts(draw: st.DrawFn) -> Fact:
    name, account = draw(st.sampled_from(SIGNABLE)), draw(st.sampled_from(["github|1", "x|2"]))
    at = draw(_near(NOW))
    return Fact(
        name,
        Witness.WEBHOOK,
        at,
        event_id("webhook", name.value, account),
        REQUEST_ID,
        signed=True,
        account=account,
        counts=draw(st.booleans()),
    )


facts = st.one_of(_unsigned_facts(), _webhook_facts())

_extension_names = st.text(string.ascii_lowercase + string.digits, min_size=1, max_size=20).filter(
    lambda name: name not in {"specversion", "type", "id", "source", "subject", "time"}
)
events = st.builds(
    Event,
    type=st.sampled_from(EventType),
    id=utf8_texts,
    source=utf8_texts,
    subject=utf8_texts,
    time=instants,
    data=st.binary(max_size=30),
    extensions=st.dictionaries(_extension_names, utf8_texts, max_size=3),
    content_type=utf8_texts,
)
maybe_texts = st.one_of(st.none(), texts)
completions = st.builds(
    Completion,
    request_id=st.just(REQUEST_ID),
    end=st.sampled_from(ENDS),
    http_status=st.one_of(st.none(), st.integers(100, 599)),
    error=maybe_texts,
    error_type=maybe_texts,
    has_output=st.just(True),
    output=json_values,
    output_base64=st.none(),
    content_type=st.none(),
    output_missing=st.one_of(st.none(), st.sampled_from(OutputMissing).map(str)),
    billable_units=maybe_texts,
)
results = st.builds(
    Result,
    request_id=st.one_of(st.none(), st.just(REQUEST_ID)),
    submission_id=maybe_texts,
    command_id=maybe_texts,
    endpoint=maybe_texts,
    tags=st.dictionaries(texts, texts, max_size=2),
    revision=st.integers(1, 9),
    outcome=st.sampled_from(["succeeded", "failed", "cancelled", "lost"]),
    reason=maybe_texts,
    witness=st.sampled_from(Witness).map(str),
    http_status=st.one_of(st.none(), st.integers(100, 599)),
    error=maybe_texts,
    error_type=maybe_texts,
    output=json_values,
    output_missing=st.one_of(st.none(), st.sampled_from(OutputMissing).map(str)),
    billable_units=maybe_texts,
    media=st.lists(st.builds(Media, url=texts, content_type=maybe_texts), max_size=2),
    ended_at=st.just("2026-01-01T12:00:00.000000Z"),
)


def told(name, witness=Witness.STATUS, seconds=0, *, submission_id="", **detail) -> Fact:
    at = NOW + seconds * timedelta(seconds=1)
    return new_fact(
        FactName(name),
        witness,
        at,
        request_id=REQUEST_ID,
        submission_id=submission_id,
        detail=detail,
    )


def signed(name, *, counts=True, account="github|1", fact_id="w") -> Fact:
    return Fact(
        FactName(name),
        Witness.WEBHOOK,
        NOW,
        fact_id,
        REQUEST_ID,
        signed=True,
        account=account,
        counts=counts,
    )
