"""
What is known to be in the way of publishing, and the sentences that say so.

Fed by the publisher and its keeper, read by readiness. No I/O here.
"""

import asyncio
import time
from collections.abc import Mapping

from consumer.errors import ConfigError
from consumer.log.kafka.faults import describe_error
from consumer.log.kafka.overheard import Overheard
from consumer.log.kafka.place import KafkaLimits, KafkaPlace

_BLAME_S = 30.0
# For so long a topic that refused a record counts as refusing, unless it takes one before.
_REFUSED_S = 1.0
# For so long nothing more is sent to a topic that refused a record: each refusal ends a producer,
# and so costs the other topics too.
_HEARD_S = 15.0
# A reason that the library told its logger counts for so long.


class Trouble:
    """
    `down` says why no producer can be had, while none can.

    `refusing` holds, by full topic name, when a topic last took no records, and the sentence.
    """

    def __init__(self, place: KafkaPlace, limits: KafkaLimits) -> None:
        self._loop = asyncio.get_running_loop()
        self._deadline_s = limits.send_deadline.total_seconds()
        self._late_at: float | None = None
        self.whom = f"Kafka at {','.join(place.servers)}"
        self.heard = Overheard()
        self.down = ""
        self.refusing: dict[str, tuple[float, str]] = {}

    def went_down(self, exc: Exception, since: float) -> str:
        """Take note that no producer can be had; return why. `since`: when it was tried."""
        reason = self.heard.last_reason(since=since) or describe_error(exc)
        if isinstance(exc, ConfigError):
            reason = str(exc)
        self.down = f"{self.whom} does not answer: {reason}"
        return reason

    def blame(self, sentences: Mapping[str, str]) -> None:
        """Take note of topics that refuse records for a reason of the place."""
        now = self._loop.time()
        self.refusing |= {name: (now, sentence) for name, sentence in sentences.items()}

    def late(self) -> str:
        """Take note that a record was not acknowledged in time; return the sentence."""
        self._late_at = self._loop.time()
        return self._why_late()

    def taken(self, name: str) -> None:
        """Take note that a topic took a record."""
        self._late_at = None
        if self.refusing:
            self.refusing.pop(name, None)

    def maybe_refusal(self, name: str) -> str:
        """Return why a record for a topic should not even be sent now; or nothing."""
        at, sentence = self.refusing.get(name, (0.0, ""))
        return sentence if self._loop.time() - at < _REFUSED_S else ""

    def sentence(self, acknowledged_at: float) -> str:
        """
        Return what is in the way now; or nothing.

        `acknowledged_at` is when any record was last acknowledged, also one that nobody
        waited for any more.
        """
        if self.down:
            return self.down
        now = self._loop.time()
        for name, (at, sentence) in list(self.refusing.items()):
            if now - at < _BLAME_S:
                return sentence
            del self.refusing[name]
        if self._late_at is None or acknowledged_at > self._late_at - self._deadline_s:
            return ""
        return self._why_late()

    def _why_late(self) -> str:
        late = f"Kafka did not acknowledge within {self._deadline_s:g} s"
        reason = self.heard.last_reason(since=time.monotonic() - _HEARD_S)
        return f"{late}: {reason}" if reason else late
