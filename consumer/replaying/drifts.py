"""Reading what is kept of answers of fal that drifted: what was expected, and what came."""

from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime

from consumer.core.drift import DriftNote, maybe_drift
from consumer.core.event import Topic
from consumer.core.replay import letter_of
from consumer.ports import Log
from consumer.replaying.spans import held


@dataclass(frozen=True, slots=True)
class FoundDrift:
    """
    One kept answer without its bytes. `id` is that of its dead letter, partition/offset, under
    which `dead-letters show` has the whole.
    """

    id: str
    at: datetime
    request_id: str
    size: int
    note: DriftNote


async def find_drifts(log: Log) -> list[FoundDrift]:
    """Return what is kept of drifted answers, oldest first. Raises LogUnavailable."""
    found = []
    async with aclosing(held(log, Topic.DEAD_LETTERS)) as records:
        async for record in records:
            note = maybe_drift(record.headers)
            if note is None:
                continue
            position, letter = record.position, letter_of(record.headers)
            found.append(
                FoundDrift(
                    f"{position.partition}/{position.offset}",
                    letter.set_aside_at or record.appended_at,
                    record.key,
                    len(record.value),
                    note,
                )
            )
    return sorted(found, key=lambda one: one.at)
