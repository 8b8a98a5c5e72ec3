"""Events as records: what is written can be read, what cannot be read is refused."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.core.event import (
    HOME,
    Event,
    EventType,
    NewRecord,
    Topic,
    decode,
    encode,
    event_id,
    format_time,
    parse_time,
    read_attributes,
)
from consumer.errors import EventError, UndecodableEvent, UnsupportedVersion
from tests.core.strategies import NOW, events, instants, texts

EVENT = Event(
    EventType.FACT, "id", "https://fal.run", "subject", NOW, b"{}", {"falkey": "k"}, "text/plain"
)


@given(events)
def test_what_is_encoded_is_decoded(event):
    """An event survives encoding and decoding whole."""
    record = encode(event)

    assert decode(record.headers, record.value) == event


def test_record_is_binary_mode_cloudevents():
    """Attributes are `ce_` headers in order, the value is the data, the key is the subject."""
    assert encode(EVENT) == NewRecord(
        Topic.LIFECYCLE,
        "subject",
        b"{}",
        (
            ("ce_specversion", b"1.0"),
            ("ce_type", b"fal-consumer.fact.v1"),
            ("ce_id", b"id"),
            ("ce_source", b"https://fal.run"),
            ("ce_subject", b"subject"),
            ("ce_time", b"2026-01-01T12:00:00.000000Z"),
            ("content-type", b"text/plain"),
            ("ce_falkey", b"k"),
        ),
    )


def test_every_type_has_a_home():
    """Each event type lives on one topic, and nothing lives on the dead letters."""
    assert set(HOME) == set(EventType)
    assert set(HOME.values()) == set(Topic) - {Topic.DEAD_LETTERS}


def test_size_counts_key_value_and_headers():
    """A record's size is its key, value and headers, and 16 bytes for each header."""
    assert NewRecord(Topic.RESULTS, "key", b"value", (("ab", b"c"), ("d", b""))).size == 44


def test_foreign_headers_are_left_out():
    """Headers that are no CloudEvents attributes are ignored, whatever their bytes."""
    headers = [("traceparent", b"\xff"), *encode(EVENT).headers, ("traceparent", b"")]

    assert decode(headers, b"{}") == EVENT


def test_content_type_may_be_absent():
    """A record without content type is read as JSON."""
    headers = [pair for pair in encode(EVENT).headers if pair[0] != "content-type"]

    assert decode(headers, b"{}").content_type == "application/json"


@pytest.mark.parametrize("name", ["specversion", "type", "id", "source", "subject", "time"])
def test_missing_attributes_are_named(name):
    """A record without a required attribute is refused by its name."""
    headers = [pair for pair in encode(EVENT).headers if pair[0] != f"ce_{name}"]

    with pytest.raises(UndecodableEvent) as refused:
        decode(headers, b"")

    assert str(refused.value) == f"ce_{name}: missing"


@pytest.mark.parametrize(
    "name, value, sentence",
    [
        ("ce_specversion", b"0.3", "ce_specversion: expected 1.0, got '0.3'"),
        ("ce_time", b"yesterday", "ce_time: not an RFC 3339 time"),
        ("ce_time", b"2026-01-01T00:00:00", "ce_time: not an RFC 3339 time"),
        ("ce_time", b"0001-01-01T00:00:00+14:00", "ce_time: not an RFC 3339 time"),
        ("ce_id", b"\xff", "ce_id: not UTF-8"),
        ("ce_id", b"\xed\xa0\x80", "ce_id: not UTF-8"),
    ],
)
def test_attributes_outside_their_form_are_refused(name, value, sentence):
    """An attribute that is not of its form is refused with the reason."""
    headers = [(key, value if key == name else old) for key, old in encode(EVENT).headers]

    with pytest.raises(UndecodableEvent) as refused:
        decode(headers, b"")

    assert str(refused.value) == sentence


def test_attributes_stand_once():
    """An attribute that is sent twice is refused, the content type too."""
    for name in ("ce_id", "content-type", "ce_content-type"):
        with pytest.raises(UndecodableEvent) as refused:
            read_attributes([*encode(EVENT).headers, (name, b"x")])
        assert str(refused.value) == f"{name}: sent twice"


def test_newer_types_are_unsupported():
    """An event of a newer type is told apart from an unreadable one, by its type."""
    headers = [
        (name, b"fal-consumer.fact.v2" if name == "ce_type" else value)
        for name, value in encode(EVENT).headers
    ]

    with pytest.raises(UnsupportedVersion) as refused:
        decode(headers, b"")

    assert str(refused.value) == "event type 'fal-consumer.fact.v2' is not known to this version"


@given(
    st.lists(
        st.tuples(
            st.sampled_from([name for name, _ in encode(EVENT).headers]),
            st.one_of(st.binary(max_size=9), texts.map(lambda t: t.encode("utf-8", "replace"))),
        ),
        max_size=9,
    ),
    st.booleans(),
)
def test_any_headers_are_an_event_or_an_event_error(pairs, is_near_valid):
    """Any headers are decoded or raise an EventError, and nothing else."""
    changed = dict(encode(EVENT).headers) | dict(pairs) if is_near_valid else None
    try:
        event = decode(changed.items() if changed else pairs, b"")
    except EventError:
        return
    record = encode(event)
    assert decode(record.headers, record.value) == event


# ---------------------------------------------------------------- ids and times


parts = st.lists(st.one_of(texts, st.binary(max_size=9)), max_size=4)


@given(parts, parts)
def test_ids_are_equal_for_equal_parts_only(one, other):
    """Equal parts give equal ids of 40 hex digits, and moving a border gives another."""
    raw = [
        [p.encode("utf-8", "surrogatepass") if isinstance(p, str) else p for p in ps]
        for ps in (one, other)
    ]

    assert (event_id(*one) == event_id(*other)) == (raw[0] == raw[1])
    assert len(bytes.fromhex(event_id(*one))) == 20


def test_ids_are_the_same_for_ever():
    """The id of given parts is fixed: what was written years ago is recognised."""
    assert event_id() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4"
    assert event_id("a", b"bc") != event_id("ab", b"c")
    assert event_id("a", "bc") == event_id(b"a", b"bc")


@given(instants, st.integers(-23, 23))
def test_times_survive_in_any_zone(instant, hours):
    """An instant written from any zone is read as the same instant in UTC."""
    try:
        local = instant.astimezone(timezone(timedelta(hours=hours)))
    except OverflowError:
        local = instant

    written = format_time(local)

    assert parse_time(written) == instant
    assert parse_time(written).tzinfo is UTC
    assert len(written) == len("2026-01-01T12:00:00.000000Z")


def test_first_year_is_written_with_four_digits():
    """A year before 1000 keeps its zeros, so that it can be read again."""
    assert format_time(datetime(1, 2, 3, tzinfo=UTC)) == "0001-02-03T00:00:00.000000Z"


@given(st.one_of(texts, st.from_regex(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T.{0,15}", fullmatch=True)))
def test_any_text_is_a_time_or_a_value_error(text):
    """Any text is an aware instant or raises ValueError, and nothing else."""
    try:
        assert parse_time(text).tzinfo is UTC
    except ValueError:
        return
