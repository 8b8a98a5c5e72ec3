"""
The part of the ledger in memory that is about keys: groups, series, allowances.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from datetime import datetime, timedelta

from consumer.core.standing import Request, Series, Submission, SubmissionState
from consumer.core.text import storable
from consumer.ports import Clock
from consumer.testing.ledger_rows import MemoryRows

_UNENDED = (SubmissionState.INTENDED, SubmissionState.SENDING, SubmissionState.UNKNOWN)


class MemoryKeys(ABC):
    """What a `MemoryLedger` answers about keys, from its rows."""

    _clock: Clock

    @abstractmethod
    def _called(self) -> MemoryRows:
        """Return the rows, where the ledger answers at all now."""

    async def unended(self, group: str) -> Sequence[Submission]:
        """As the port says."""
        found = [item for item in self._unended() if group and item.group == storable(group)]
        return sorted(found, key=lambda item: item.submission_id)

    async def outnumbered(
        self, place: Series, limit: int
    ) -> tuple[Sequence[Request], Sequence[Submission]]:
        """As the port says."""
        requests = [r for r in self._called().requests.values() if r.is_open]
        requests = [item for item in requests if _is_lower(item, place)]
        ours = [item for item in self._unended() if _is_lower(item, place)]
        requests.sort(key=lambda item: (-_number(item), item.request_id))
        ours.sort(key=lambda item: (-_number(item), item.submission_id))
        return requests[: max(limit, 0)], ours[: max(limit, 0)]

    async def outnumbering(self, place: Series) -> Request | None:
        """As the port says."""
        found = [
            item
            for item in self._called().requests.values()
            if item.series and item.series.key == place.key and item.series.number > place.number
        ]
        return min(found, key=lambda item: (-_number(item), item.request_id), default=None)

    async def knows_fact(self, fact_id: str) -> bool:
        """As the port says."""
        return storable(fact_id) in self._called().facts

    async def open_work(self, limit: int) -> int:
        """As the port says."""
        rows = self._called()
        found = sum(request.is_open and request.is_tracked for request in rows.requests.values())
        return min(found + len(self._unended()), limit)

    async def number_of(self, supersedes: str, subject: str) -> int:
        """As the port says."""
        rows, key, name = self._called(), storable(supersedes), storable(subject)
        held = rows.numbers.setdefault(key, {})
        told = {n: s.number for n, s in self._places() if s is not None and s.key == key}
        if name in held or name in told:
            return held.get(name) or told[name]
        held[name] = max((0, *held.values(), *told.values())) + 1
        return held[name]

    async def allow(self, name: str, limit: int, span: timedelta) -> bool:
        """As the port says."""
        rows, now = self._called(), self._clock()
        begun, used = rows.allowances.get(name, (now, 0))
        if not _is_running(begun, span, now):
            begun, used = now, 0
        if used >= limit:
            return False
        rows.allowances[name] = (begun, used + 1)
        return True

    async def reserve(self, key: str, fingerprint: str) -> str:
        """As the port says."""
        return self._called().keys.setdefault(storable(key), storable(fingerprint))

    def _places(self) -> list[tuple[str, Series | None]]:
        rows = self._called()
        ours = [(name, held.series) for name, held in rows.submissions.items()]
        return ours + [(name, held.series) for name, held in rows.requests.items()]

    def _unended(self) -> list[Submission]:
        rows = self._called().submissions.values()
        return [submission for submission in rows if submission.state in _UNENDED]


def _is_running(begun: datetime, span: timedelta, now: datetime) -> bool:
    return begun <= now < begun + span


def _is_lower(held: Request | Submission, place: Series) -> bool:
    series = held.series
    return series is not None and series.key == place.key and series.number < place.number


def _number(held: Request | Submission) -> int:
    return held.series.number if held.series else 0
