"""
What was read from Kafka and not yet asked for: bounded, by place, places taking turns.

Plain values; nothing here knows of a client.
"""

from collections import OrderedDict, deque
from collections.abc import Collection, Sequence

from consumer.ports import Place, Record


class Buffer:
    """
    Records by place. Full by count or by bytes; then only places with nothing here may add.

    So the bounds are exceeded by one batch for each place at most, and a place that nobody
    asks for never keeps the others from being read.
    """

    def __init__(self, *, max_records: int, max_bytes: int) -> None:
        self._max_records = max_records
        self._max_bytes = max_bytes
        self._by_place: OrderedDict[Place, deque[Record]] = OrderedDict()
        self._count = 0
        self._bytes = 0

    def __len__(self) -> int:
        return self._count

    def has_room(self, place: Place) -> bool:
        """Return whether more of a place may be put here."""
        is_full = self._count >= self._max_records or self._bytes >= self._max_bytes
        return not is_full or place not in self._by_place

    def put(self, place: Place, records: Sequence[Record]) -> None:
        """Add what follows in one place."""
        if not records:
            return
        self._by_place.setdefault(place, deque()).extend(records)
        self._count += len(records)
        self._bytes += sum(len(record.value) for record in records)

    def take(self, max_records: int, without: Collection[Place] = ()) -> list[Record]:
        """Return the next records, per place in order, none of the places in `without`."""
        taken: list[Record] = []
        for place in list(self._by_place):
            if len(taken) >= max_records:
                break
            if place not in without:
                self._take_from(place, max_records - len(taken), taken)
        self._count -= len(taken)
        self._bytes -= sum(len(record.value) for record in taken)
        return taken

    def _take_from(self, place: Place, count: int, taken: list[Record]) -> None:
        waiting = self._by_place[place]
        taken.extend(waiting.popleft() for _ in range(min(count, len(waiting))))
        if waiting:
            self._by_place.move_to_end(place)  # the next poll begins with another one
        else:
            del self._by_place[place]

    def drop(self, place: Place) -> None:
        """Forget what is here of one place."""
        waiting = self._by_place.pop(place, ())
        self._count -= len(waiting)
        self._bytes -= sum(len(record.value) for record in waiting)

    def clear(self) -> None:
        """Forget everything."""
        self._by_place.clear()
        self._count = 0
        self._bytes = 0
