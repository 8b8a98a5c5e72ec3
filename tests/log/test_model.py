"""The embedded log against a model of it: any sequence of appends, polls, commits, restarts."""

import asyncio
import tempfile
from collections import defaultdict
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from consumer.core.event import NewRecord, Topic
from consumer.log.embedded import EmbeddedLog, LogLimits
from consumer.log.files import LogFolder

TOPICS = (Topic.COMPLETIONS, Topic.COMMANDS)
START = datetime(2026, 1, 1, tzinfo=UTC)
LIMITS = LogLimits(own_groups=frozenset())
DAY = timedelta(days=1)

ACTIONS = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.sampled_from(TOPICS), st.integers(1, 30)),
        st.tuples(st.just("poll"), st.integers(1, 20)),
        st.tuples(st.just("commit")),
        st.tuples(st.just("reopen")),
        st.tuples(st.just("close_file")),
        st.tuples(st.just("trim"), st.integers(0, 40)),
    ),
    max_size=25,
)


class Model:
    """What the log should hold, and where its one group should stand."""

    def __init__(self) -> None:
        self.held: dict[tuple[Topic, int], dict[int, bytes]] = defaultdict(dict)
        self.next: dict[tuple[Topic, int], int] = defaultdict(int)
        self.read: dict[tuple[Topic, int], int] = {}
        self.committed: dict[tuple[Topic, int], int] = {}


class Run:
    """A log and its model, driven side by side."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.model = Model()
        self.days = 0
        self.stack = AsyncExitStack()

    async def open(self) -> None:
        self.log = await self.stack.enter_async_context(
            EmbeddedLog.open(self.folder, clock=lambda: START + DAY * self.days, limits=LIMITS)
        )
        self.subscription = await self.stack.enter_async_context(
            self.log.subscribe("group", TOPICS)
        )
        self.model.read = dict(self.model.committed)

    async def append(self, topic: Topic, count: int) -> None:
        values = [b"%d-%d" % (number, self.days) for number in range(count)]
        positions = await asyncio.gather(
            *(self.log.append(NewRecord(topic, "key", value, ())) for value in values)
        )
        for value, position in zip(values, positions, strict=True):
            place = (position.topic, position.partition)
            assert self.model.next[place] == position.offset
            self.model.next[place] += 1
            self.model.held[place][position.offset] = value

    async def poll(self, count: int) -> None:
        found = await self.subscription.poll(max_records=count, timeout=timedelta(0))
        assert len(found) <= count
        for one in found:
            place = (one.position.topic, one.position.partition)
            assert self.model.read.get(place, 0) <= one.position.offset
            # What was read ahead may have been trimmed since; what is held is equal.
            held = self.model.held[place].get(one.position.offset, one.value)
            assert held == one.value
            self.model.read[place] = one.position.offset + 1

    async def commit(self) -> None:
        await self.subscription.commit(self.model.read)
        self.model.committed = dict(self.model.read)
        assert self.model.committed == await self.log.committed("group")

    async def reopen(self) -> None:
        await self.stack.aclose()
        await self.open()

    async def close_file(self) -> None:
        listing = LogFolder(self.folder).list()
        LogFolder(self.folder).close_for_good(listing.current)
        await self.append(TOPICS[0], 1)

    async def trim(self, days: int) -> None:
        self.days += days
        before = await self.spans()
        removed = await self.log.trim(START + DAY * self.days)
        after = await self.spans()
        gone = 0
        for place, values in self.model.held.items():
            span = after.get(place, range(0))
            kept = {offset: value for offset, value in values.items() if offset in span}
            kept_for = LIMITS.kept_for(place[0])
            for offset in values.keys() - kept.keys():
                age = self.days - int(values[offset].split(b"-")[1])
                assert age * DAY > kept_for
            gone += len(values) - len(kept)
            self.model.held[place] = kept
        assert gone == removed
        assert sum(map(len, before.values())) - gone == sum(map(len, after.values()))

    async def spans(self) -> dict[tuple[Topic, int], range]:
        return await self.log.offsets(TOPICS)

    async def check(self) -> None:
        expected = {
            (*place, offset): value
            for place, values in self.model.held.items()
            for offset, value in values.items()
        }
        found = {
            (one.position.topic, one.position.partition, one.position.offset): one.value
            async for one in self.log.read(TOPICS)
        }
        assert expected == found


async def drive(actions, folder: Path) -> None:
    run = Run(folder)
    await run.open()
    async with run.stack:
        for name, *arguments in actions:
            await getattr(run, name)(*arguments)
        await run.check()
        await run.reopen()
        await run.check()


@given(ACTIONS)
@settings(max_examples=60, deadline=None)
def test_log_does_what_its_model_does(actions):
    """After any actions the log holds what the model holds, and its group stands as there."""
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(drive(actions, Path(folder)))
