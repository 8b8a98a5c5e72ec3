"""
What one worker has in hand: chains of records by key, and how far each place has come.

A place that is taken away takes its records along: a chain goes on with the others, and
what was left of these neither commits nor counts any more. Nothing here does I/O.
"""

import asyncio
from collections import deque
from collections.abc import Collection, Iterable, Mapping

from consumer.core.progress import Progress
from consumer.ports import Place, Record
from consumer.working.terms import WorkerLimits


class Held:
    """One record in hand, for the time that its place is held."""

    __slots__ = ("is_running", "place", "progress", "record", "scope")

    def __init__(self, record: Record, place: Place, progress: Progress) -> None:
        self.record = record
        self.place = place
        self.progress: Progress | None = progress
        self.scope: asyncio.Timeout | None = None
        self.is_running = False

    @property
    def is_dropped(self) -> bool:
        """Whether the record's place was taken away."""
        return self.progress is None


class Hand:
    """
    The records in hand, by key in order and by place in order.

    `moved` is set whenever a record ended; each waiter looks first, clears it, and waits.
    """

    def __init__(self, limits: WorkerLimits) -> None:
        self._limits = limits
        self._chains: dict[str, deque[Held]] = {}
        self._progress: dict[Place, Progress] = {}
        self._committed: dict[Place, int] = {}
        self._count = 0
        self._bytes = 0
        self.moved = asyncio.Event()

    # ------------------------------------------------------------ bounds

    def __len__(self) -> int:
        return self._count

    @property
    def room(self) -> int:
        """How many records may be taken before the hand is full; 0 when it is full by bytes."""
        if self._bytes >= self._limits.max_in_hand_bytes:
            return 0
        return max(0, self._limits.max_in_hand - self._count)

    def places_too_far(self) -> frozenset[Place]:
        """Return the places whose newest record is too far from their low-water mark."""
        most = self._limits.max_distance
        return frozenset(place for place, one in self._progress.items() if one.in_hand >= most)

    def count_of(self, places: Collection[Place]) -> int:
        """Return how many records of these places are not done."""
        return sum(1 for held in self._all() if held.place in places and not held.is_dropped)

    # ------------------------------------------------------------ records

    def take(self, record: Record) -> bool:
        """Take a record in hand; return whether its key needs somebody to begin its chain."""
        place = (record.position.topic, record.position.partition)
        progress = self._progress.setdefault(place, Progress())
        progress.begin(record.position.offset)
        self._count += 1
        self._bytes += len(record.value)
        held = Held(record, place, progress)
        chain = self._chains.get(record.key)
        if chain is not None:
            chain.append(held)
            return False
        self._chains[record.key] = deque([held])
        return True

    def next_of(self, key: str) -> Held | None:
        """Return the next record of a key's chain; None ends the chain."""
        chain = self._chains[key]
        while chain and chain[0].is_dropped:
            chain.popleft()
        if chain:
            return chain[0]
        del self._chains[key]
        return None

    def finish(self, held: Held) -> bool:
        """Count a record as done; False when its place was taken away meanwhile."""
        if held.progress is None:
            return False
        held.progress.finish(held.record.position.offset)
        self._put_down(held)
        return True

    def _put_down(self, held: Held) -> None:
        held.progress = None
        self._count -= 1
        self._bytes -= len(held.record.value)
        self.moved.set()

    # ------------------------------------------------------------ places

    def drop(self, places: Collection[Place]) -> list[Held]:
        """
        Forget everything about these places; return what of it is being handled right now.

        Handling that goes on is told to end; its record comes again, to whoever holds the
        place then.
        """
        running: list[Held] = []
        for held in [one for one in self._all() if one.place in places]:
            if not held.is_dropped:
                self._put_down(held)
            if held.is_running:
                running.append(held)
                _interrupt(held)
        for place in places:
            self._progress.pop(place, None)
            self._committed.pop(place, None)
        return running

    def places(self) -> frozenset[Place]:
        """Return every place of which something was taken."""
        return frozenset(self._progress)

    def marks(self) -> dict[Place, int]:
        """Return the low-water marks that rose since they were last noted as committed."""
        return {
            place: progress.low_water
            for place, progress in self._progress.items()
            if progress.low_water is not None and progress.low_water != self._committed.get(place)
        }

    def note_committed(self, marks: Mapping[Place, int]) -> None:
        """Note marks as committed, where the place is still held."""
        held = {place: at for place, at in marks.items() if place in self._progress}
        self._committed.update(held)

    def _all(self) -> Iterable[Held]:
        return (held for chain in self._chains.values() for held in chain)


def _interrupt(held: Held) -> None:
    if held.scope is not None and not held.scope.expired():
        held.scope.reschedule(asyncio.get_running_loop().time())
