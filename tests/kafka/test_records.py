"""From Kafka's records to ours."""

from datetime import UTC, datetime

import pytest
from aiokafka.structs import ConsumerRecord
from hypothesis import given
from hypothesis import strategies as st

from consumer.core.event import Topic
from consumer.log.kafka.records import key_text, record_of


def message(key=b"key", value=b"value", headers=(), timestamp=0) -> ConsumerRecord:
    return ConsumerRecord("t.commands", 2, 7, timestamp, 0, key, value, None, 3, 5, headers)


def test_a_record_of_ours_comes_as_it_is():
    """Key, value, headers, position and time are those of Kafka's record."""
    found = record_of(
        Topic.COMMANDS,
        message("kéy".encode(), headers=(("a", b"\xff"), ("a", b"")), timestamp=1500),
    )

    assert ("kéy", b"value", (("a", b"\xff"), ("a", b""))) == (
        found.key,
        found.value,
        found.headers,
    )
    assert datetime(1970, 1, 1, 0, 0, 1, 500_000, tzinfo=UTC) == found.appended_at
    assert (Topic.COMMANDS, 2, 7) == (
        found.position.topic,
        found.position.partition,
        found.position.offset,
    )


def test_what_is_missing_is_empty():
    """No key, no value and headers without one come out empty."""
    found = record_of(Topic.COMMANDS, message(None, None, (("a", None),)))

    assert ("", b"", (("a", b""),)) == (found.key, found.value, found.headers)


@pytest.mark.parametrize("timestamp", [-1, 2**62, 10**18])
def test_an_odd_timestamp_is_1970(timestamp):
    """A time that is none, or beyond all dates, does not stop the reader."""
    assert 1970 == record_of(Topic.COMMANDS, message(timestamp=timestamp)).appended_at.year


@given(st.binary())
def test_any_key_is_text_that_a_log_takes(key):
    """Whatever bytes a key has, its text can be appended again."""
    key_text(key).encode()


def test_keys_that_are_no_text_stay_apart():
    """Different bytes are different keys."""
    assert (r"\xff", r"\xfe") == (key_text(b"\xff"), key_text(b"\xfe"))
