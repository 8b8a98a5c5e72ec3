"""
Whether reading goes on: positions against ends, place by place.

A member of a group may believe that it reads while nothing comes any more, which only the
distance to the end shows. Pure: the caller asks Kafka and the clock.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from consumer.ports import Place


@dataclass(frozen=True, slots=True)
class Standing:
    """
    Where reading stands: position (None before there is one) and end of each place that is
    wanted now. `is_assigned` is false while the group decides who reads what.
    """

    is_assigned: bool
    positions: Mapping[Place, int | None]
    ends: Mapping[Place, int]


class Watch:
    """Looks at one standing after another, and says when nothing moves any more."""

    def __init__(self, *, stall_s: float, assignment_s: float) -> None:
        self._stall_s = stall_s
        self._assignment_s = assignment_s
        self._seen: dict[Place, tuple[int | None, float]] = {}
        self._unassigned_since: float | None = None

    def look(self, standing: Standing, now: float) -> str | None:
        """Return a sentence once reading has stalled; `now` is in seconds and only rises."""
        if not standing.is_assigned:
            self._seen.clear()
            return self._look_at_group(now)
        self._unassigned_since = None
        behind = {
            place: position
            for place, position in standing.positions.items()
            if position is None or position < standing.ends.get(place, 0)
        }
        before, self._seen = self._seen, {}
        for place, position in behind.items():
            known = before.get(place)
            since = known[1] if known is not None and known[0] == position else now
            self._seen[place] = (position, since)
            if now - since >= self._stall_s:
                return _sentence(place, position, standing.ends.get(place, 0), now - since)
        return None

    def _look_at_group(self, now: float) -> str | None:
        if self._unassigned_since is None:
            self._unassigned_since = now
        waited = now - self._unassigned_since
        if waited < self._assignment_s:
            return None
        return f"reading stalled: no assignment for {waited:.0f} s"


def _sentence(place: Place, position: int | None, end: int, waited_s: float) -> str:
    topic, partition = place
    at = "no position" if position is None else f"at {position}"
    return (
        f"reading stalled: {topic.value}/{partition} {at} for {waited_s:.0f} s, "
        f"though it ends at {end}"
    )
