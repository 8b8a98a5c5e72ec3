"""A log in memory with records on it, and replays of them."""

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from consumer.core.command import command_event
from consumer.core.event import NewRecord, Topic, decode, encode
from consumer.core.fact import Fact, FactName, fact_from
from consumer.core.policy import DeadLetter
from consumer.core.replay import Replay
from consumer.errors import LogUnavailable
from consumer.ports import Position, Record
from consumer.replaying import Pace, Replayer
from consumer.setting_aside import dead_letter
from consumer.testing.log import MemoryLog

T0 = datetime(2026, 11, 23, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)
FAST = Pace(1_000_000, first_pause_s=0.001)
ID = "019f6af7-3088-7f03-b97d-84fec4a3ce12"


class StumblingLog(MemoryLog):
    """A log that does not take the copies with these numbers, which count every try from 1."""

    def __init__(self, **how) -> None:
        super().__init__(**how)
        self.stumbles: set[int] = set()
        self.tries = 0

    async def append(self, record: NewRecord) -> Position:
        """Take the record unless it is a copy that must not go through."""
        if "ce_falreplay" not in dict(record.headers):
            return await super().append(record)
        self.tries += 1
        if self.tries in self.stumbles:
            raise LogUnavailable("away")
        return await super().append(record)


@dataclass
class Stand:
    """A log whose clock is moved by hand, one second for each record."""

    max_record_bytes: int = 1 << 20
    now: datetime = T0
    log: StumblingLog = field(init=False)
    has_moved: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.log = StumblingLog(clock=lambda: self.now, max_record_bytes=self.max_record_bytes)

    async def put(self, key: str = "a", value: bytes = b"", **more) -> Record:
        """Append a record and let a second pass."""
        record = NewRecord(more.get("topic", Topic.RESULTS), key, value, more.get("headers", ()))
        position = await self.log.append(record)
        self.now += SECOND
        return next(r for r in self.log.records(position.topic) if r.position == position)

    async def command(self, number: int = 1) -> Record:
        """Append a command."""
        fields = {"command": "cancel", "command_id": f"c{number}", "subject": ID}
        record = encode(command_event(fields, source="tests", at=self.now))
        return await self.put(record.key, record.value, topic=record.topic, headers=record.headers)

    async def set_aside(self, record: Record, reason: str = "undecodable", attempt: int = 1):
        """Append the dead letter of a record, as a worker does."""
        outcome = DeadLetter(reason, "a sentence")
        letter = dead_letter(record, outcome, handler="commands", attempt=attempt)
        return await self.put(letter.key, letter.value, topic=letter.topic, headers=letter.headers)

    def replayer(self, number: int = 1, pace: Pace = FAST) -> Replayer:
        """Return a replayer of the nth replay, which sets `has_moved`."""
        by, shown = self.replay(number), lambda _tally: self.has_moved.set()
        return Replayer(self.log, by, clock=lambda: self.now, pace=pace, shown=shown)

    def replay(self, number: int = 1) -> Replay:
        """Return the nth replay."""
        return Replay(f"r{number}", "understood now", self.now, "tests")

    def values(self, topic: Topic = Topic.RESULTS) -> dict[str, list[bytes]]:
        """Return the values of the copies on a topic by key, in order."""
        found: dict[str, list[bytes]] = {}
        for record in self.copies(topic):
            found.setdefault(record.key, []).append(record.value)
        return found

    def copies(self, *topics: Topic) -> list[Record]:
        """Return the records that a replay put there."""
        places = self.log.store.places(topics or tuple(Topic))
        records = [r for place in places for r in self.log.store.records.get(place, ())]
        return [r for r in records if "ce_falreplay" in dict(r.headers)]

    def facts(self, name: FactName) -> list[Fact]:
        """Return the facts with a name, in order."""
        records = self.log.records(Topic.LIFECYCLE)
        facts = [fact_from(decode(r.headers, r.value)) for r in records]
        return [fact for fact in facts if fact.name is name]
