"""
How much may be on its way to Kafka at once, over all senders of the process.

No I/O here; the event loop is the only user, so there is no lock. Lanes share one whole:
each has a part that the others leave alone, and none waits for ever.
"""

import asyncio
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(slots=True, eq=False)
class _Waiting:
    size: int
    ticket: int
    granted: asyncio.Future[None]


class Permits:
    """The whole: so many records and so many bytes."""

    def __init__(self, *, max_records: int, max_bytes: int) -> None:
        self.max_records = max_records
        self.max_bytes = max_bytes
        self.records = 0
        self.bytes = 0
        self.waiting = 0
        self._tickets = 0
        self._lanes: list[Lane] = []
        self.main = Lane(self, max_records, max_bytes)
        self._lanes.append(self.main)

    def lane(self, share: float) -> "Lane":
        """Return a new lane with this part of the whole (0 to 1), which the main lane gives up."""
        lane = Lane(self, max(int(self.max_records * share), 1), int(self.max_bytes * share))
        self.main.max_records -= lane.max_records
        self.main.max_bytes -= lane.max_bytes
        self._lanes.append(lane)
        return lane

    def has_room(self, size: int) -> bool:
        """Tell whether the whole has room. A record larger than the whole passes alone."""
        if not self.records:
            return True
        return self.records < self.max_records and self.bytes + size <= self.max_bytes

    def is_owed(self) -> bool:
        """Tell whether somebody waits for the whole to have room: then nobody may overtake."""
        return any(lane.has_room(head.size) for lane, head in self._heads())

    def next_ticket(self) -> int:
        """Return a number higher than all before it."""
        self._tickets += 1
        return self._tickets

    def grant(self) -> None:
        """Let in who waits and now has room, the longest waiting first."""
        while True:
            heads = [(head, lane) for lane, head in self._heads() if lane.has_room(head.size)]
            if not heads:
                return
            head, lane = min(heads, key=lambda found: found[0].ticket)
            if not self.has_room(head.size):
                return
            lane.let_in(head)

    def _heads(self) -> Iterator[tuple["Lane", _Waiting]]:
        for lane in self._lanes:
            if (head := lane.head()) is not None:
                yield lane, head


class Lane:
    """
    A part of the whole. What does not fit into the part passes when the lane is empty.

    So a record larger than a lane's part is sent alone in its lane.
    """

    __slots__ = ("_line", "_permits", "bytes", "max_bytes", "max_records", "records")

    def __init__(self, permits: Permits, max_records: int, max_bytes: int) -> None:
        self._permits = permits
        self._line: deque[_Waiting] = deque()
        self.max_records = max_records
        self.max_bytes = max_bytes
        self.records = 0
        self.bytes = 0

    def has_room(self, size: int) -> bool:
        """Tell whether the lane's own part has room."""
        if not self.records:
            return True
        return self.records < self.max_records and self.bytes + size <= self.max_bytes

    def maybe_take(self, size: int) -> bool:
        """Take room for one record of `size` bytes; False, and nothing taken, without."""
        whole = self._permits
        if whole.waiting and (self.head() is not None or whole.is_owed()):
            return False
        if not self.has_room(size) or not whole.has_room(size):
            return False
        self._count(1, size)
        return True

    async def take(self, size: int) -> None:
        """Take room for one record, when there is some. A cancelled wait takes nothing."""
        whole = self._permits
        waiting = _Waiting(size, whole.next_ticket(), asyncio.get_running_loop().create_future())
        self._line.append(waiting)
        whole.waiting += 1
        whole.grant()
        try:
            await waiting.granted
        except asyncio.CancelledError:
            if waiting.granted.cancelled():
                whole.grant()
            else:
                self.give_back(size)
            raise
        finally:
            whole.waiting -= 1

    def give_back(self, size: int) -> None:
        """Undo one taking of the same size."""
        self._count(-1, -size)
        if self._permits.waiting:
            self._permits.grant()

    def head(self) -> _Waiting | None:
        """Return who has waited longest; those who left are forgotten on the way."""
        while self._line and self._line[0].granted.done():
            self._line.popleft()
        return self._line[0] if self._line else None

    def let_in(self, waiting: _Waiting) -> None:
        """Take room for one that waited, and wake it."""
        self._count(1, waiting.size)
        waiting.granted.set_result(None)

    def _count(self, records: int, size: int) -> None:
        self.records += records
        self.bytes += size
        self._permits.records += records
        self._permits.bytes += size
