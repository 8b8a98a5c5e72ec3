"""
From Kafka's records to ours. Pure, and never raises: what others wrote must not stop a reader.

What is no record of ours (no key, no value, an odd timestamp) comes out as one all the
same, so that whoever handles it can set it aside.
"""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from consumer.core.event import Headers, Topic
from consumer.ports import Position, Record

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def record_of(topic: Topic, message: Any) -> Record:
    r"""
    Return the record of an aiokafka `ConsumerRecord`.

    A missing key, value or header value is empty; bytes of a key that are no UTF-8 stand in
    it as `\xff`; a timestamp that is none or beyond all dates is 1970.
    """
    return Record(
        Position(topic, message.partition, message.offset),
        key_text(message.key),
        message.value or b"",
        _headers(message.headers),
        _instant(message.timestamp),
    )


def key_text(key: bytes | None) -> str:
    """Return the text of a key: different keys stay different."""
    return (key or b"").decode("utf-8", "backslashreplace")


def _headers(headers: Iterable[tuple[str, bytes | None]]) -> Headers:
    return tuple((name, value or b"") for name, value in headers)


def _instant(timestamp_ms: int) -> datetime:
    if timestamp_ms < 0:
        return _EPOCH
    try:
        return _EPOCH + timedelta(milliseconds=timestamp_ms)
    except OverflowError:
        return _EPOCH
