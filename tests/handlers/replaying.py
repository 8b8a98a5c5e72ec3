"""How the tests of replayed records put one back."""

from dataclasses import replace

from consumer.core.event import NewRecord
from consumer.core.replay import Replay, marked
from consumer.ports import Record
from consumer.testing.ledger import MemoryLedger
from tests.handlers.stage import Stage


async def replayed(stage: Stage, record: Record, *, handler: str = "") -> Record:
    """Put a copy of a record on its topic, as a replay does, and return it."""
    position = record.position
    of = f"{position.topic}/{position.partition}/{position.offset}"
    original = NewRecord(position.topic, record.key, record.value, record.headers)
    by = Replay("r1", "a test", stage.clock(), "tests")
    return await stage.put(marked(original, by, of=of, handler=handler))


def without_ledger(stage: Stage) -> Stage:
    """Return the next process, whose ledger was lost."""
    world = replace(stage.world)
    world.clock, world.log, world.fal = stage.clock, stage.log, stage.fal
    world.keys = stage.world.keys
    world.ledger = MemoryLedger(plan=world._plan, clock=stage.clock)
    return Stage(world)
