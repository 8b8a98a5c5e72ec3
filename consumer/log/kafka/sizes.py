"""
How large a record is for Kafka, and how large it may be: judged before it is sent.

A record that a broker refuses for its size takes its whole batch with it, and stops its
producer. So the limit of each topic is asked for, and asked again before a record is
refused: nothing is refused by a limit that may have been raised since.
"""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Protocol

from consumer.core.event import NewRecord
from consumer.errors import LogUnavailable, RecordRefused
from consumer.log.kafka.place import KafkaLimits

_BATCH_OVERHEAD = 61
# A batch of format version 2 before its first record, its offset and length included. The
# broker compares the whole with max.message.bytes. Source: Apache Kafka, message format.
_RECORD_OVERHEAD = 3
# Attributes, timestamp delta and offset delta of the first record of a batch: a byte each.
_SLACK = 128
_SLACK_OF_HEADER = 16
_MAX_UTF8_BYTES = 4
# So a record is never larger in a batch than this many times its size in memory.
_FRESH = timedelta(seconds=30)
# A limit read so lately counts for a refusal.
_RETRY_GAP = timedelta(seconds=30)
# Between two tries to read limits that nobody waits for.


def alone_in_batch(record: NewRecord) -> int:
    """
    Return the bytes of a batch that holds this record alone: what its topic's limit is for.

    Raises UnicodeEncodeError for a key or a header's name that is not UTF-8 text.
    """
    size = _RECORD_OVERHEAD + _with_length(len(record.key.encode()))
    size += _with_length(len(record.value)) + _varint(len(record.headers))
    for name, value in record.headers:
        size += _with_length(len(name.encode())) + _with_length(len(value))
    return _BATCH_OVERHEAD + _with_length(size)


def size_in_memory(record: NewRecord) -> int:
    """Return roughly what a record costs in memory on its way, quickly."""
    size = len(record.key) + len(record.value) + _SLACK
    for name, value in record.headers:
        size += len(name) + len(value) + _SLACK_OF_HEADER
    return size


def _with_length(size: int) -> int:
    return _varint(size) + size


def _varint(number: int) -> int:
    """Return the bytes of a number, zigzag and seven bits in each: never negative here."""
    return max((number << 1).bit_length() + 6, 7) // 7


class LimitReader(Protocol):
    """What can ask the brokers."""

    async def max_message_bytes(self, names: Sequence[str]) -> Mapping[str, int]:
        """Return the limits that this user may read, by topic. Raises LogUnavailable."""
        ...


class TopicSizes:
    """
    What each topic takes at most, as the brokers said last.

    A topic whose limit this user may not read has none here: the broker judges.
    """

    def __init__(self, limits: KafkaLimits, names: Sequence[str]) -> None:
        self._limits = limits
        self._names = tuple(names)
        self._max_bytes: Mapping[str, int] = {}
        self._read_at: float | None = None
        self._tried_at: float | None = None
        self._reading = asyncio.Lock()

    @property
    def batch_bytes(self) -> int:
        """How large a batch may be so that every topic takes it."""
        return min([self._limits.max_batch_bytes, *self._max_bytes.values()])

    def expire(self) -> None:
        """Hold what is known for old: a broker just judged otherwise."""
        self._read_at = self._tried_at = None

    def is_due(self) -> bool:
        """Tell whether the limits should be read again."""
        if _is_younger(self._tried_at, _RETRY_GAP):
            return False
        return not _is_younger(self._read_at, self._limits.limits_max_age)

    def may_pass(self, name: str, size: int) -> bool:
        """Tell whether a record of this `size_in_memory` surely fits, without measuring it."""
        limit = self._max_bytes.get(name, self._limits.max_batch_bytes)
        return size * _MAX_UTF8_BYTES <= limit

    async def judge(self, name: str, record: NewRecord, reader: LimitReader | None) -> None:
        """
        Return when the record may be sent to the topic `name`, as far as can be known.

        Raises RecordRefused when it is too large by a limit that was read just now, and
        LogUnavailable when that limit cannot be read.
        """
        try:
            size = alone_in_batch(record)
        except UnicodeEncodeError as exc:
            raise RecordRefused(name, "its key or a header's name is not UTF-8 text") from exc
        if size > self._limits.max_bytes:
            problem = f"{size} bytes, more than the {self._limits.max_bytes} sent at once"
            raise RecordRefused(name, problem)
        limit = self._max_bytes.get(name)
        if limit is None or size <= limit:
            return
        limit = await self._fresh_limit(name, reader)
        if limit is not None and size > limit:
            raise RecordRefused(name, f"{size} bytes, and the topic takes {limit} at most")

    async def read(self, reader: LimitReader) -> None:
        """Ask the brokers for every limit. Raises LogUnavailable, and keeps what was known."""
        async with self._reading:
            await self._read(reader)

    async def _fresh_limit(self, name: str, reader: LimitReader | None) -> int | None:
        async with self._reading:
            if not _is_younger(self._read_at, _FRESH):
                if reader is None:
                    raise LogUnavailable("Kafka cannot be asked how large a record may be")
                await self._read(reader)
            return self._max_bytes.get(name)

    async def _read(self, reader: LimitReader) -> None:
        self._tried_at = asyncio.get_running_loop().time()
        self._max_bytes = await reader.max_message_bytes(self._names)
        self._read_at = asyncio.get_running_loop().time()


def _is_younger(at: float | None, age: timedelta) -> bool:
    if at is None:
        return False
    return asyncio.get_running_loop().time() - at < age.total_seconds()
