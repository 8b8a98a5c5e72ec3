"""How large a record is for Kafka, and who judges."""

import asyncio
from datetime import timedelta

import pytest
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from hypothesis import given
from hypothesis import strategies as st

from consumer.core.event import NewRecord, Topic
from consumer.errors import LogUnavailable, RecordRefused
from consumer.log.kafka.place import KafkaLimits
from consumer.log.kafka.sizes import TopicSizes, alone_in_batch, size_in_memory

NAME = "fal.completions"
MIB = 1024 * 1024

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=200)
values = st.one_of(st.binary(max_size=300), st.integers(0, 40_000).map(bytes))
records = st.builds(
    NewRecord,
    st.just(Topic.COMPLETIONS),
    texts,
    values,
    st.lists(st.tuples(texts, values), max_size=140).map(tuple),
)


def record(size, key="key"):
    """Return a record that takes exactly so many bytes alone in a batch."""
    small = NewRecord(Topic.COMPLETIONS, key, b"", ())
    value = bytes(size - alone_in_batch(small) - 8)
    while alone_in_batch(made := NewRecord(Topic.COMPLETIONS, key, value, ())) < size:
        value += b"\0"
    assert size == alone_in_batch(made)
    return made


class Brokers:
    """Answers with a limit, or not at all, and counts how often it was asked."""

    def __init__(self, limit=None):
        self.limit = limit
        self.asked = 0

    async def max_message_bytes(self, names):
        self.asked += 1
        if self.limit is None:
            raise LogUnavailable("no answer")
        return {NAME: self.limit} if self.limit else {}


@given(records)
def test_the_size_is_that_of_the_encoding(made):
    """The bytes computed are those of the batch that the client really makes."""
    batch = DefaultRecordBatchBuilder(2, 0, 0, -1, -1, 0, MIB)
    batch.append(0, 1_700_000_000_000, made.key.encode(), made.value, list(made.headers))

    assert len(batch.build()) == alone_in_batch(made)


@given(records)
def test_the_quick_size_is_an_upper_bound(made):
    """Four times the quick size is never less than the encoding."""
    assert alone_in_batch(made) <= 4 * size_in_memory(made)


async def test_what_surely_fits_is_not_measured():
    """Small records pass without a look, large ones do not."""
    sizes = TopicSizes(KafkaLimits(), [NAME])

    assert sizes.may_pass(NAME, 10_000)
    assert not sizes.may_pass(NAME, 10 * MIB)


async def test_a_record_over_the_limit_is_refused_and_one_of_its_size_is_not():
    """The limit is met to the byte; the sentence names both numbers."""
    sizes, brokers = TopicSizes(KafkaLimits(), [NAME]), Brokers(5000)
    await sizes.read(brokers)

    await sizes.judge(NAME, record(5000), brokers)
    with pytest.raises(RecordRefused) as refused:
        await sizes.judge(NAME, record(5001), brokers)

    assert "5001 bytes, and the topic takes 5000 at most" == refused.value.problem


async def test_a_limit_raised_since_counts():
    """Before it refuses by an old limit, it asks again."""
    sizes, brokers = TopicSizes(KafkaLimits(), [NAME]), Brokers(5000)
    await sizes.read(brokers)
    sizes.expire()
    brokers.limit = 6000

    await sizes.judge(NAME, record(5500), brokers)

    assert 2 == brokers.asked


async def test_nothing_is_refused_by_an_old_limit_alone():
    """When the limit cannot be read again, the record is put off, not refused."""
    sizes, brokers = TopicSizes(KafkaLimits(), [NAME]), Brokers(5000)
    await sizes.read(brokers)
    sizes.expire()
    brokers.limit = None

    for reader in (brokers, None):
        with pytest.raises(LogUnavailable):
            await sizes.judge(NAME, record(5500), reader)


async def test_many_large_records_ask_once():
    """Records that look too large at the same moment share one question."""
    sizes, brokers = TopicSizes(KafkaLimits(), [NAME]), Brokers(5000)
    await sizes.read(brokers)
    sizes.expire()

    answers = await asyncio.gather(
        *(sizes.judge(NAME, record(5500), brokers) for _ in range(20)), return_exceptions=True
    )

    assert {RecordRefused} == {type(answer) for answer in answers}
    assert 2 == brokers.asked


async def test_an_unknown_limit_is_left_to_the_broker():
    """A topic whose limit we may not read takes what it takes."""
    sizes, brokers = TopicSizes(KafkaLimits(), [NAME]), Brokers(0)
    await sizes.read(brokers)

    await sizes.judge(NAME, record(5 * MIB), brokers)


async def test_what_is_larger_than_all_that_may_be_under_way_is_refused():
    """A record over the cap of bytes in flight would be repeated for ever: it is refused."""
    sizes = TopicSizes(KafkaLimits(max_bytes=MIB), [NAME])

    with pytest.raises(RecordRefused):
        await sizes.judge(NAME, record(MIB + 1), None)


@pytest.mark.parametrize("made", [("\ud800", ()), ("key", (("\ud800", b""),))])
async def test_what_is_not_text_is_refused(made):
    """A key or a header's name that no encoding can carry is the record's fault."""
    key, headers = made
    sizes = TopicSizes(KafkaLimits(), [NAME])

    with pytest.raises(RecordRefused):
        await sizes.judge(NAME, NewRecord(Topic.COMPLETIONS, key, b"", headers), None)


async def test_batches_fit_into_every_topic():
    """A batch is as large as the smallest topic takes, and never over our own limit."""
    sizes, brokers = TopicSizes(KafkaLimits(), [NAME]), Brokers(5000)
    assert MIB == sizes.batch_bytes

    await sizes.read(brokers)

    assert 5000 == sizes.batch_bytes


async def test_limits_are_read_again_when_they_are_old():
    """They are due at first, after their age, and after a broker judged otherwise."""
    sizes = TopicSizes(KafkaLimits(limits_max_age=timedelta(hours=1)), [NAME])
    assert sizes.is_due()

    await sizes.read(Brokers(5000))
    assert not sizes.is_due()

    sizes.expire()
    assert sizes.is_due()
    with pytest.raises(LogUnavailable):
        await sizes.read(Brokers(None))
    assert not sizes.is_due()
