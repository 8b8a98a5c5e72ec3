"""
How far this machine's clock is off, by the `Date` of answers that are fetched anyway.

A wrong clock refuses genuine deliveries and accepts old ones, and nothing else shows it.
"""

from datetime import datetime, timedelta

from consumer.ports import Clock
from consumer.telemetry import Logger

MAX_CLOCK_ERROR = timedelta(seconds=60)
# fal's tolerance is 300 s either way; a clock this far off has used a fifth of it.


class ClockCheck:
    """`error` is how far our clock is ahead, as last measured; `Date` counts whole seconds."""

    def __init__(self, clock: Clock, logger: Logger) -> None:
        self.error: timedelta | None = None
        self._clock = clock
        self._logger = logger

    def compare(self, server_time: datetime | None) -> None:
        """Take the other side's time as it answered just now; None changes nothing."""
        if server_time is None:
            return
        self.error = self._clock() - server_time
        if self._is_wrong(self.error):
            self._logger.error("clock.wrong", off_s=round(self.error.total_seconds()))

    def problems(self) -> list[str]:
        """Return the sentence for readiness, or nothing."""
        if self.error is None or not self._is_wrong(self.error):
            return []
        off_s = round(self.error.total_seconds())
        return [f"this machine's clock is {off_s} s ahead of the key server's"]

    def _is_wrong(self, error: timedelta) -> bool:
        return abs(error) > MAX_CLOCK_ERROR
