"""What a worker is given: a handler, and bounds."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

from consumer.core.event import Topic
from consumer.core.policy import Outcome
from consumer.ports import Record


class Handler(Protocol):
    """What one group does with a record. Twice must be harmless."""

    @property
    def name(self) -> str:
        """The group's name."""
        ...

    @property
    def topics(self) -> tuple[Topic, ...]: ...

    async def handle(self, record: Record, attempt: int) -> Outcome:
        """Return what becomes of the record; `attempt` counts from 1. Raises ConsumerError."""
        ...


@dataclass(frozen=True, slots=True)
class WorkerLimits:
    """
    What one worker takes in hand at most, and how long one attempt, a revoke and a stop last.

    `max_distance` bounds, in each place, the records from the low-water mark to the newest.
    """

    concurrency: int = 64
    max_in_hand: int = 1024
    max_in_hand_bytes: int = 64 * 1024 * 1024
    max_distance: int = 10_000
    handler_deadline: timedelta = timedelta(seconds=120)
    revoke_budget: timedelta = timedelta(seconds=10)
    stop_budget: timedelta = timedelta(seconds=15)
