"""
What aiokafka says to its own logger and to nobody else: why a server does not take us, and
what a broker answered to a send that is tried again.

A handler on the library's logger keeps the last of it, in our words, and keeps the lines
themselves out of our standard error.
"""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager

from aiokafka.errors import KafkaError
from aiokafka.structs import TopicPartition

from consumer.core.text import printable
from consumer.log.kafka.faults import describe_error, describe_refusal

_LOGGER = "aiokafka"
_MAX_CHARS = 200


class Overheard(logging.Handler):
    """Keeps the last reason that was heard, and when."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._reason = ""
        self._heard_at = 0.0

    def last_reason(self, *, since: float) -> str:
        """Return the last reason heard since then (monotonic), as a sentence; or nothing."""
        return self._reason if self._heard_at >= since else ""

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the reason that a line of the library gives, if it gives one."""
        arguments = record.args if isinstance(record.args, tuple) else ()
        error = next((one for one in arguments if _is_error(one)), None)
        place = next((one for one in arguments if isinstance(one, TopicPartition)), None)
        if isinstance(error, (BaseException, type)):
            reason = describe_refusal(place.topic, error) if place else describe_error(error)
        elif place is not None and isinstance(arguments[-1], str):
            said = printable(arguments[-1])[:_MAX_CHARS]
            reason = f"Kafka refuses writes to {place.topic}: {said}"
        else:
            return
        self._reason = reason
        self._heard_at = time.monotonic()


def _is_error(value: object) -> bool:
    if isinstance(value, type):
        return issubclass(value, KafkaError)
    return isinstance(value, (KafkaError, OSError))


@contextmanager
def overheard() -> Iterator[Overheard]:
    """Listen to the library while the context lasts."""
    logger = logging.getLogger(_LOGGER)
    handler = Overheard()
    logger.addHandler(handler)
    try:
        yield handler
    finally:
        logger.removeHandler(handler)
