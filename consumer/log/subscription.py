"""
Following the embedded log on the loop: where a reader stands, and waiting for news.

`Cursor` is what a group's subscription and the reading without a group have in common.
Reads themselves happen in the reader's thread; nothing here touches a file.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from consumer.core.event import Topic
from consumer.log.groups import Offsets
from consumer.log.reader import Stretch, Wanted
from consumer.ports import Place, Record
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
        places: Mapping[Place, int],
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

    async def next(
        self, *, max_records: int, timeout: timedelta, without: Collection[Place] = ()
    ) -> list[Record]:
        """
        Return the next records, none of the places in `without`.

        Waits at most `timeout` for the first one. Raises LogUnavailable.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout.total_seconds()
        while True:
            news = self._source.news()
            taken = self._take(max_records, without)
            if not taken:
                await self._fill(max_records, without)
                taken = self._take(max_records, without)
            if taken:
                return taken
            left = deadline - loop.time()
            if left <= 0:
                return []
            await asyncio.wait({news}, timeout=min(left, _LOOK_EVERY_S))

    def _take(self, max_records: int, without: Collection[Place]) -> list[Record]:
        if not without:
            count = min(max_records, len(self._ready))
            return [self._ready.popleft() for _ in range(count)]
        taken: list[Record] = []
        kept: deque[Record] = deque()
        for record in self._ready:
            place = (record.position.topic, record.position.partition)
            is_wanted = place not in without and len(taken) < max_records
            (taken if is_wanted else kept).append(record)
        self._ready = kept
        return taken

    async def _fill(self, max_records: int, without: Collection[Place]) -> None:
        """Read on until something more is ready or the end is reached."""
        before = len(self._ready)
        while len(self._ready) == before:
            wanted = Wanted(self._topics, dict(self._places), max_records, self._key, without)
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
        commit: Callable[[Mapping[Place, int]], Awaitable[None]],
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

    async def poll(
        self, *, max_records: int, timeout: timedelta, without: Collection[Place] = ()
    ) -> Sequence[Record]:
        """See `consumer.ports.Subscription`. One poll at a time."""
        return await self._cursor.next(max_records=max_records, timeout=timeout, without=without)

    async def commit(self, offsets: Mapping[Place, int]) -> None:
        """See `consumer.ports.Subscription`."""
        await self._commit(offsets)
        for place, at in offsets.items():
            self._committed[place] = max(at, self._committed.get(place, 0))

    async def lag(self) -> int:
        """See `consumer.ports.Subscription`."""
        return await self._lag(self._committed)
