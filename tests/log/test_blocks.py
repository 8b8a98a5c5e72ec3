"""How records lie in a block."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.core.event import NewRecord, Topic
from consumer.log.blocks import checksum, pack_head, unpack

TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
HEADERS = st.lists(st.tuples(TEXTS, st.binary()), max_size=5).map(tuple)
RECORDS = st.builds(NewRecord, st.just(Topic.RESULTS), TEXTS, st.binary(), HEADERS)


def block_of(records) -> bytes:
    return b"".join(pack_head(record) + record.value for record in records)


@given(st.lists(RECORDS, max_size=5))
def test_unpack_reverses_pack(records):
    """Whatever is packed comes back, in order, with repeated and empty names."""
    expected = [(record.key, record.headers, record.value) for record in records]

    assert expected == list(unpack(block_of(records)))


@given(RECORDS, st.data())
def test_shortened_block_is_refused(record, data):
    """A block that ends early is a ValueError, and nothing else."""
    block = block_of([record])
    length = data.draw(st.integers(1, len(block) - 1))

    with pytest.raises(ValueError):
        list(unpack(block[:length]))


def test_checksum_tells_one_bit():
    """A block with one bit changed has another checksum."""
    assert checksum(b"\x00" * 100) != checksum(b"\x00" * 99 + b"\x01")
