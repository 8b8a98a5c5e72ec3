"""Keys go to the partitions that other clients choose."""

from aiokafka.partitioner import DefaultPartitioner
from aiokafka.partitioner import murmur2 as slow_murmur2
from hypothesis import given
from hypothesis import strategies as st

from consumer.log.kafka.murmur import murmur2, partition_of


@given(st.binary(max_size=300))
def test_the_hash_is_that_of_the_client(key):
    """Any key hashes as in aiokafka, which hashes as Java does."""
    assert slow_murmur2(key) & 0xFFFFFFFF == murmur2(key)


@given(st.binary(min_size=1, max_size=80), st.integers(1, 200))
def test_the_partition_is_that_of_the_client(key, partitions):
    """Any key goes to the partition that aiokafka's own partitioner chooses."""
    every = list(range(partitions))

    assert DefaultPartitioner()(key, every, every) == partition_of(key, partitions)


def test_known_hashes():
    """Two values of the Java client, so that both of ours cannot be wrong together."""
    # Source: Apache Kafka, UtilsTest.testMurmur2: "21" and "foobar".
    assert -973932308 & 0xFFFFFFFF == murmur2(b"21")
    assert -790332482 & 0xFFFFFFFF == murmur2(b"foobar")
