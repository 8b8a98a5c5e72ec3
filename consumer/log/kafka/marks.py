"""
What a member commits, and what it knows of it: never back, and only for places it holds.

Offsets that the group had committed before are learnt once for each assignment.
"""

import asyncio
from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any

from aiokafka import TopicPartition
from aiokafka.errors import CommitFailedError, IllegalStateError

from consumer.errors import LogUnavailable
from consumer.log.kafka.clients import faults_as_ours, position_of


class Marks:
    """The committed offsets of what one client is assigned. Every answer has a deadline."""

    def __init__(self, consumer: Any, *, answer: timedelta) -> None:
        self._consumer = consumer
        self._answer_s = answer.total_seconds()
        self._committed: dict[TopicPartition, int] = {}
        self._lock = asyncio.Lock()
        self._epoch = 0

    def forget(self) -> None:
        """Forget what was known: the places go elsewhere."""
        self._epoch += 1
        self._committed = {}

    async def commit(self, offsets: Mapping[TopicPartition, int]) -> None:
        """
        Store next offsets, where they are held and higher than what stands.

        Raises LogUnavailable, also while the group decides anew who holds what.
        """
        with faults_as_ours("committing"):
            # One at a time: one that is sent again must not come after a later one.
            async with asyncio.timeout(self._answer_s), self._lock:
                epoch = self._epoch
                await self._learn()
                higher = {place: at for place, at in offsets.items() if at > self._known(place, at)}
                if not higher or epoch != self._epoch:
                    return
                await self._store(higher)
                if epoch == self._epoch:
                    self._committed |= higher

    def _known(self, place: TopicPartition, default: int) -> int:
        """Return what is committed in a place; the default where nothing is held."""
        known = self._committed.get(place, default)
        position = position_of(self._consumer, place)
        # Reading stands before what was committed: the topic was made anew, and counts from 0.
        return 0 if position is not None and position < known <= default else known

    async def _store(self, offsets: Mapping[TopicPartition, int]) -> None:
        try:
            await self._consumer.commit(dict(offsets))
        except (CommitFailedError, IllegalStateError) as exc:
            raise LogUnavailable("committing: the group is deciding anew") from exc

    async def lag(self) -> int:
        """Return how many records stand after the committed ones. Raises LogUnavailable."""
        with faults_as_ours("measuring the lag"):
            async with asyncio.timeout(self._answer_s):
                held = list(self._consumer.assignment())
                if not held:
                    return 0
                await self._learn()
                oldest = await self._consumer.beginning_offsets(held)
                ends = await self._consumer.end_offsets(held)
        return sum(
            max(0, ends[place] - max(oldest[place], self._committed.get(place, 0)))
            for place in held
        )

    async def _learn(self) -> None:
        """Ask once what the group has committed in each place that is held."""
        epoch = self._epoch
        unknown = self._consumer.assignment() - self._committed.keys()
        found = await self._ask(unknown)
        if epoch == self._epoch:
            self._committed = found | self._committed

    async def _ask(self, places: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        asked = list(places)
        answers = await asyncio.gather(*(self._consumer.committed(one) for one in asked))
        return {one: at or 0 for one, at in zip(asked, answers, strict=True)}
