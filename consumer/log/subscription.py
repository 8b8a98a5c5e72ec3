"""
Following the embedded log on the loop: where a reader stands, and waiting for news.

`Cursor` is what a group's subscription and the reading without a group have in common.
Reads themselves happen in the reader's thread; nothing here touches a file.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from consumer.core.event import Topic
from consumer.log.groups import Offsets
from consumer.log.reader import Stretch, Wanted
from consumer.ports import Record
from consumer.telemetry import get_logger

_LOOK_EVERY_S = 0.15
"""How often a waiting reader looks for what other processes appended."""


@dataclass(frozen=True, slots=True)
class Source:
    """What a cursor needs: a read in the reader's thread, and the future of the next append."""

    fetch: Callable[[Wanted], Awaitable[list[Stretch]]]
    news: Callable[[], asyncio.Future[None]]


class Cursor:
    """
    A place in each partition of some topics, moving forward only.

    `gaps` counts records that were gone before they could be read here.
    """

    def __init__(
        self,
        source: Source,
        topics: Sequence[Topic],
        *,
        places: Mapping[tuple[Topic, int], int],
        key: str | None = None,
        group: str | None = None,
    ) -> None:
        self._source = source
        self._topics = tuple(dict.fromkeys(topics))
        self._places = dict(places)
        self._key = key
        self._group = group
        self._ready: deque[Record] = deque()
        self._log = get_logger()
        self.gaps = 0

    async def next(self, *, max_records: int, timeout: timedelta) -> list[Record]:
        """Return the next records, waiting at most `timeout` for one. Raises LogUnavailable."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout.total_seconds()
        while True:
            news = self._source.news()
            if not self._ready:
                await self._fill(max_records)
            if self._ready:
                count = min(max_records, len(self._ready))
                return [self._ready.popleft() for _ in range(count)]
            left = deadline - loop.time()
            if left <= 0:
                return []
            await asyncio.wait({news}, timeout=min(left, _LOOK_EVERY_S))

    async def _fill(self, max_records: int) -> None:
        """Read on until something is ready or the end is reached."""
        while not self._ready:
            wanted = Wanted(self._topics, dict(self._places), max_records, self._key)
            stretches = await self._source.fetch(wanted)
            if not stretches:
                return
            for stretch in stretches:
                self._absorb(stretch)

    def _absorb(self, stretch: Stretch) -> None:
        place = (stretch.topic, stretch.partition)
        at = self._places.get(place, 0)
        missing = max(0, stretch.first - at)
        if not stretch.records and self._key is None:
            missing = stretch.end - at
        if missing:
            self._note_gap(stretch, missing)
        self._ready.extend(r for r in stretch.records if r.position.offset >= at)
        self._places[place] = stretch.end

    def _note_gap(self, stretch: Stretch, missing: int) -> None:
        # Without a group nobody was promised anything: reading begins at what there is.
        if self._group is None:
            return
        self.gaps += missing
        self._log.warning(
            "log.gap",
            group=self._group,
            topic=stretch.topic.value,
            partition=stretch.partition,
            missing=missing,
        )


class EmbeddedSubscription:
    """A group's subscription, while its lock is held."""

    def __init__(
        self,
        cursor: Cursor,
        *,
        commit: Callable[[Mapping[tuple[Topic, int], int]], Awaitable[None]],
        lag: Callable[[Offsets], Awaitable[int]],
        committed: Offsets,
    ) -> None:
        self._cursor = cursor
        self._commit = commit
        self._lag = lag
        self._committed = committed

    @property
    def gaps(self) -> int:
        """How many records were trimmed, or damaged, before this group read them."""
        return self._cursor.gaps

    async def poll(self, *, max_records: int, timeout: timedelta) -> Sequence[Record]:
        """See `consumer.ports.Subscription`. One poll at a time."""
        return await self._cursor.next(max_records=max_records, timeout=timeout)

    async def commit(self, offsets: Mapping[tuple[Topic, int], int]) -> None:
        """See `consumer.ports.Subscription`."""
        await self._commit(offsets)
        for place, at in offsets.items():
            self._committed[place] = max(at, self._committed.get(place, 0))

    async def lag(self) -> int:
        """See `consumer.ports.Subscription`."""
        return await self._lag(self._committed)
