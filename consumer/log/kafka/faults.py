"""
Whose fault an error from Kafka is, and what to do about it.

Pure: error classes in, a verdict or a sentence out. The sentence names the class, never
what was sent.
"""

from enum import StrEnum
from types import MappingProxyType

from aiokafka import errors

from consumer.core.text import printable

_MAX_FOREIGN_CHARS = 200


class Fault(StrEnum):
    """Whose fault it is, and so what comes next."""

    RECORD = "record"
    """Kafka will never take this record. True of a record only when it was refused alone."""
    PLACE = "place"
    """Kafka does not take records of this topic now. Also whatever is not known."""
    PRODUCER = "producer"
    """Kafka lost the thread of this producer. A fresh one may send the same record."""


class InvalidRecordError(errors.BrokerResponseError):  # type: ignore[misc]
    """The broker looked into the batch and found a record that it does not take."""

    # aiokafka 0.14 knows error codes up to 79, and takes what it does not know for code -1.
    # Source: Apache Kafka protocol, error codes: INVALID_RECORD.
    errno = 87
    message = "INVALID_RECORD"
    description = "This record has failed the validation on broker and hence will be rejected."


_OF_RECORDS = (
    errors.MessageSizeTooLargeError,
    errors.RecordListTooLargeError,
    errors.RecordTooLargeError,
    errors.InvalidTimestampError,
    errors.UnsupportedForMessageFormatError,
    errors.PolicyViolationError,
    InvalidRecordError,
)

_OF_PRODUCERS = (
    errors.OutOfOrderSequenceNumber,
    errors.DuplicateSequenceNumber,
    errors.InvalidProducerEpoch,
    errors.InvalidProducerIdMapping,
    errors.UnknownProducerId,
    errors.ProducerFenced,
    errors.ProducerClosed,
    errors.CorruptRecordException,  # damaged on the way: the same bytes may arrive whole
)

_GRANT = "`fal-consumer topics acls` prints the rights that it needs"
_ADVICE = MappingProxyType(
    {
        errors.TopicAuthorizationFailedError: f"this user may not write it; {_GRANT}",
        errors.ClusterAuthorizationFailedError: f"this user may not write here; {_GRANT}",
        errors.UnknownTopicOrPartitionError: "it is missing; `fal-consumer topics create` makes it",
        errors.InvalidTopicError: "Kafka takes no such name; look at FAL_CONSUMER_TOPIC_PREFIX",
        errors.NotEnoughReplicasError: "too few of its replicas are in sync; look for brokers down",
        errors.NotEnoughReplicasAfterAppendError: (
            "too few of its replicas are in sync; look for brokers down"
        ),
        errors.LeaderNotAvailableError: "a partition has no leader; look for brokers down",
        errors.NotLeaderForPartitionError: "a partition has no leader; look for brokers down",
        errors.KafkaStorageError: "a broker cannot write its disk",
        errors.AuthenticationFailedError: (
            "it does not know this user, or the password is another; "
            "look at FAL_CONSUMER_KAFKA_SASL_USERNAME and its password file"
        ),
        errors.SaslAuthenticationFailed: (
            "it does not know this user, or the password is another; "
            "look at FAL_CONSUMER_KAFKA_SASL_USERNAME and its password file"
        ),
        errors.UnsupportedSaslMechanismError: (
            "it does not offer FAL_CONSUMER_KAFKA_SASL_MECHANISM here"
        ),
        errors.IncompatibleBrokerVersion: "it is too old; Kafka 2.3 or newer is needed",
        errors.PolicyViolationError: "a policy of the cluster forbids it",
    }
)


def know_more_errors() -> None:
    """Let aiokafka tell INVALID_RECORD from an error it does not know."""
    errors.kafka_errors.setdefault(InvalidRecordError.errno, InvalidRecordError)


def fault_of(error: BaseException | type[BaseException]) -> Fault:
    """Return whose fault an error is, for any error."""
    kind = error if isinstance(error, type) else type(error)
    if issubclass(kind, _OF_RECORDS):
        return Fault.RECORD
    # The bare base class is how the client says that its own sending loop broke.
    if issubclass(kind, _OF_PRODUCERS) or kind is errors.KafkaError:
        return Fault.PRODUCER
    return Fault.PLACE


def name_of(error: BaseException | type[BaseException]) -> str:
    """Return the name Kafka's own documents give an error, as far as the client has it."""
    kind = error if isinstance(error, type) else type(error)
    return kind.__name__.removesuffix("Error")


def describe_error(error: BaseException | type[BaseException]) -> str:
    """Return what an error means, in words that tell what to do where that is known."""
    kind = error if isinstance(error, type) else type(error)
    for known, advice in _ADVICE.items():
        if issubclass(kind, known):
            return f"{name_of(kind)}: {advice}"
    if issubclass(kind, TimeoutError):
        return "no answer in time"
    if isinstance(error, OSError):
        return printable(error.strerror or name_of(error))[:_MAX_FOREIGN_CHARS]
    return name_of(kind)


def describe_refusal(topic: str, error: BaseException | type[BaseException]) -> str:
    """Return the sentence for a topic (its full name) that Kafka does not take records for."""
    return f"Kafka refuses writes to {topic}: {describe_error(error)}"
