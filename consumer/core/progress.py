"""
How far a group has come in one partition, when records finish out of order.

Only the low-water mark may be committed: the offset before which every record is done.
"""

from collections import deque


class Progress:
    """The records of one partition that are in hand, in the order in which they were begun."""

    def __init__(self) -> None:
        self._begun: deque[int] = deque()
        self._done: set[int] = set()
        self._low_water: int | None = None

    def begin(self, offset: int) -> None:
        """Take a record in hand. Offsets rise; gaps are allowed."""
        if self._low_water is None:
            self._low_water = offset
        self._begun.append(offset)

    def finish(self, offset: int) -> None:
        """Mark a record as done: its effect, its parking or its dead letter is durable."""
        if self._low_water is None or offset < self._low_water:
            return  # finished before, or never begun
        self._done.add(offset)
        while self._begun and self._begun[0] in self._done:
            first = self._begun.popleft()
            self._done.discard(first)
            self._low_water = first + 1

    @property
    def low_water(self) -> int | None:
        """The next offset to read after a restart, or None before the first record."""
        return self._low_water

    @property
    def in_hand(self) -> int:
        """How many records were begun and are not below the low-water mark."""
        return len(self._begun)
