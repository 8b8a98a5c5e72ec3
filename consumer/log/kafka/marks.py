"""
What a member commits, and what it knows of it: never back, and only for places it holds.

Offsets that the group had committed before are learnt once for each assignment.
"""

import asyncio
from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any

from aiokafka import TopicPartition
from aiokafka.errors import (
    IllegalGenerationError,
    RebalanceInProgressError,
    UnknownMemberIdError,
)

from consumer.errors import LogUnavailable
from consumer.log.kafka.clients import commit_once, committed_of, faults_as_ours


class Marks:
    """The committed offsets of what one client is assigned. Every answer has a deadline."""

    def __init__(self, consumer: Any, *, answer: timedelta) -> None:
        self._consumer = consumer
        self._answer_s = answer.total_seconds()
        self._committed: dict[TopicPartition, int] = {}
        self._topic_ids: Mapping[str, str] = {}
        self._lock = asyncio.Lock()
        self._epoch = 0

    async def learn(self, topic_ids: Mapping[str, str]) -> list[TopicPartition]:
        """
        Learn what is committed in all places now held, whose topics have these ids.

        Return those whose commit is of an earlier topic of that name, deleted since: nothing is
        committed there. Raises LogUnavailable.
        """
        with faults_as_ours("looking for what is committed"):
            async with asyncio.timeout(self._answer_s):
                self._topic_ids = topic_ids
                found = await committed_of(self._consumer, list(self._consumer.assignment()))
        stale = [place for place, (_, held_id) in found.items() if self._is_other(place, held_id)]
        self._committed = {place: 0 if place in stale else at for place, (at, _) in found.items()}
        return stale

    def _is_other(self, place: TopicPartition, held_id: str) -> bool:
        known = self._topic_ids.get(place.topic, "")
        return bool(known and held_id and known != held_id)

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
                higher = {
                    place: at
                    for place, at in offsets.items()
                    if at > self._committed.get(place, at)
                }
                if not higher or epoch != self._epoch:
                    return
                await self._store(higher)
                if epoch == self._epoch:
                    self._committed |= higher

    async def _store(self, offsets: Mapping[TopicPartition, int]) -> None:
        try:
            # The id tells whoever comes next which topic the offset is of.
            await commit_once(
                self._consumer,
                {
                    place: (at, self._topic_ids.get(place.topic, ""))
                    for place, at in offsets.items()
                },
            )
        except (UnknownMemberIdError, IllegalGenerationError, RebalanceInProgressError) as exc:
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
        found = await committed_of(self._consumer, list(places))
        return {
            place: 0 if self._is_other(place, held_id) else at
            for place, (at, held_id) in found.items()
        }
