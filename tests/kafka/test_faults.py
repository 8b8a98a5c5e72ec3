"""Whose fault an error from Kafka is."""

import inspect

import pytest
from aiokafka import errors
from hypothesis import given
from hypothesis import strategies as st

from consumer.log.kafka.faults import (
    Fault,
    InvalidRecordError,
    describe_error,
    describe_refusal,
    fault_of,
    know_more_errors,
)

EVERY = sorted(
    {
        found
        for _, found in inspect.getmembers(errors, inspect.isclass)
        if issubclass(found, Exception) and found.__module__ == errors.__name__
    },
    key=lambda found: found.__name__,
)


def test_faults_of_records_are_these_and_no_others():
    """A record is blamed for its size, its time, its form and policies, and for nothing else."""
    blamed = {found.__name__ for found in EVERY if fault_of(found) is Fault.RECORD}

    assert {
        "InvalidTimestampError",
        "MessageSizeTooLargeError",
        "PolicyViolationError",
        "RecordListTooLargeError",
        "RecordTooLargeError",
        "UnsupportedForMessageFormatError",
    } == blamed
    assert Fault.RECORD is fault_of(InvalidRecordError)


def test_faults_of_producers_are_these_and_no_others():
    """A fresh producer helps where the brokers lost the thread of the old one."""
    blamed = {found.__name__ for found in EVERY if fault_of(found) is Fault.PRODUCER}

    assert {
        "CorruptRecordException",
        "DuplicateSequenceNumber",
        "InvalidProducerEpoch",
        "InvalidProducerIdMapping",
        "KafkaError",
        "OutOfOrderSequenceNumber",
        "ProducerClosed",
        "ProducerFenced",
        "UnknownProducerId",
    } == blamed


@pytest.mark.parametrize(
    "found",
    [
        errors.TopicAuthorizationFailedError,
        errors.ClusterAuthorizationFailedError,
        errors.UnknownTopicOrPartitionError,
        errors.NotEnoughReplicasError,
        errors.NotEnoughReplicasAfterAppendError,
        errors.LeaderNotAvailableError,
        errors.RequestTimedOutError,
        errors.KafkaTimeoutError,
        errors.KafkaConnectionError,
        errors.UnknownError,
        OSError,
        TimeoutError,
        KeyError,
    ],
)
def test_the_rest_is_the_places_fault(found):
    """Rights, topics, replicas, connections, and what nobody knows are the place's fault."""
    assert Fault.PLACE is fault_of(found)


@given(st.sampled_from(EVERY), st.text(max_size=40))
def test_every_error_has_a_verdict_and_a_sentence(found, text):
    """Each error of the library, with any text, has a verdict; its text is not repeated."""
    secret = f"secret-{text}"
    error = found.__new__(found)
    error.args = (secret,)

    assert fault_of(error) in Fault
    assert fault_of(error) is fault_of(found)
    assert secret not in describe_error(error)
    assert describe_refusal("fal.completions", error).startswith(
        "Kafka refuses writes to fal.completions: "
    )


def test_the_sentence_says_what_to_do():
    """A missing right is told with the command that prints the rights."""
    assert (
        "Kafka refuses writes to fal.results: TopicAuthorizationFailed: this user may not write"
        " it; `fal-consumer topics acls` prints the rights that it needs"
    ) == describe_refusal("fal.results", errors.TopicAuthorizationFailedError("fal.results"))


def test_what_the_system_says_is_one_bounded_printable_line():
    """An error of the operating system is told in its words, without control characters."""
    error = OSError(111, "refused\x1b[31m\n" + 500 * "x")

    said = describe_error(error)

    assert said.startswith("refused\\x1b[31m\\nxxx")
    assert said.isprintable()
    assert 200 == len(said)


def test_an_invalid_record_is_told_from_an_unknown_error():
    """The broker's word for an invalid record reaches us as what it is."""
    know_more_errors()

    assert InvalidRecordError is errors.for_code(87)
    assert errors.UnknownError is errors.for_code(12345)
