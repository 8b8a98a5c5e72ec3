"""What the library says to its logger alone."""

import logging
import time

import pytest
from aiokafka.errors import NotEnoughReplicasError, SaslAuthenticationFailed
from aiokafka.structs import TopicPartition

from consumer.log.kafka.faults import describe_error, describe_refusal
from consumer.log.kafka.overheard import overheard

LIBRARY = logging.getLogger("aiokafka.some.part")
PLACE = TopicPartition("fal.completions", 3)


@pytest.fixture
def heard():
    with overheard() as handler:
        yield handler


@pytest.mark.parametrize(
    "line, said",
    [
        (
            ("%s, retrying. Error: %s", PLACE, NotEnoughReplicasError),
            describe_refusal("fal.completions", NotEnoughReplicasError),
        ),
        (
            ("%s, retrying. Error: %s", PLACE, "Broker's own\nwords"),
            "Kafka refuses writes to fal.completions: Broker's own\\nwords",
        ),
        (
            ('Unable connect to "%s:%s": %s', "host", 9092, OSError(111, "Connect call failed")),
            "Connect call failed",
        ),
        (
            ('Unable connect to "%s:%s": %s', "host", 9092, SaslAuthenticationFailed("secret")),
            describe_error(SaslAuthenticationFailed),
        ),
        (("Topic %s is not authorized for this client", "fal.completions"), ""),
        (("Nothing with arguments",), ""),
    ],
)
def test_reasons_become_sentences(heard, line, said):
    """A line that names an error is kept as a sentence of ours, others are not."""
    LIBRARY.warning(*line)

    assert said == heard.last_reason(since=0)


def test_old_reasons_do_not_count(heard):
    """A reason heard before the time asked for is none."""
    LIBRARY.warning("%s", OSError(111, "refused"))

    assert "" == heard.last_reason(since=time.monotonic() + 1)


def test_the_librarys_lines_stay_out_of_standard_error(heard, capfd):
    """Nothing that the library logs is printed while somebody listens."""
    LIBRARY.error("Unable connect")

    assert ("", "") == tuple(capfd.readouterr())
