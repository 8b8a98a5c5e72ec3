"""
How records lie in a row: several of them, one after another, in one block of bytes.

A block is what one transaction brought to one topic, so that a commit and a poll each
move many records with one SQLite call. Pure; nothing here knows of SQLite or of offsets.

For each record, little endian: u32 key length, u32 number of headers, u32 value length;
for each header u32 name length, u32 value length; then key, names and values in turn,
and the record's value. Texts are UTF-8.
"""

from collections.abc import Iterator
from functools import lru_cache
from itertools import pairwise
from struct import Struct, error
from zlib import crc32

from consumer.core.event import Headers, NewRecord

_FIXED = Struct("<III")


@lru_cache(maxsize=256)
def _lengths(count: int) -> Struct:
    return Struct(f"<{count}I")


def pack_head(record: NewRecord) -> bytes:
    """
    Return everything of a record that stands before its value.

    Raises UnicodeEncodeError when the key or a header's name holds a lone surrogate.
    """
    key = record.key.encode()
    lengths = [len(key), len(record.headers), len(record.value)]
    parts = [b"", key]
    for name, value in record.headers:
        raw = name.encode()
        lengths += (len(raw), len(value))
        parts += (raw, value)
    parts[0] = _lengths(len(lengths)).pack(*lengths)
    return b"".join(parts)


def checksum(block: bytes) -> int:
    """Return the CRC-32 that is stored beside a block: SQLite has none over its pages."""
    return crc32(block)


def unpack(block: bytes) -> Iterator[tuple[str, Headers, bytes]]:
    """
    Give key, headers and value of each record of a block, in order.

    Raises ValueError when the block is not one of ours.
    """
    at = 0
    try:
        while at < len(block):
            at, record = _unpack_one(block, at)
            yield record
    except error as exc:
        raise ValueError("block ends early") from exc
    if at != len(block):
        raise ValueError("block ends early")


def _unpack_one(block: bytes, at: int) -> tuple[int, tuple[str, Headers, bytes]]:
    key_length, count, value_length = _FIXED.unpack_from(block, at)
    at += _FIXED.size
    texts = _lengths(2 * count)
    lengths = texts.unpack_from(block, at)
    at += texts.size
    ends = [at, at + key_length]
    for length in lengths:
        ends.append(ends[-1] + length)
    ends.append(ends[-1] + value_length)
    key, *texts_and_values, value = [block[start:end] for start, end in pairwise(ends)]
    names = [raw.decode() for raw in texts_and_values[::2]]
    headers = tuple(zip(names, texts_and_values[1::2], strict=True))
    return ends[-1], (key.decode(), headers, value)
