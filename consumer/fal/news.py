"""
What is new in a status, so that each state of a request is told once. Pure.
"""

from collections import Counter
from collections.abc import Sequence

from consumer.fal.answers import LogLine, Status

_MAX_LINES = 100_000
# Kinds of log line remembered for one request; beyond them the oldest may be told again.


class Told:
    """What of one request was told already."""

    def __init__(self) -> None:
        self._state: tuple[object, ...] | None = None
        self._lines: dict[int, int] = {}

    def news_of(self, status: Status) -> Status | None:
        """
        Return the status with only those log lines that were not told, None where nothing is new.

        It makes no difference whether fal repeats all lines each time or sends only new ones.
        """
        state = (status.status, status.queue_position, status.error, status.error_type)
        fresh = self._fresh(status.logs or [])
        if state == self._state and not fresh:
            return None
        self._state = state
        if status.logs is None:
            return status
        return status.model_copy(update={"logs": fresh})

    def _fresh(self, lines: Sequence[LogLine]) -> list[LogLine]:
        fresh = []
        seen = Counter[int]()
        for line in lines:
            name = hash((line.timestamp, line.source, line.level, line.message))
            seen[name] += 1
            if seen[name] > self._lines.get(name, 0):
                self._lines[name] = seen[name]
                fresh.append(line)
        while len(self._lines) > _MAX_LINES:
            del self._lines[next(iter(self._lines))]
        return fresh
