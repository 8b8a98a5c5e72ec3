"""The promises of `tests/conformance/log.py`, on every engine of the log."""

from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest

from consumer.log.embedded import EmbeddedLog, LogLimits
from consumer.testing.log import MemoryLog, MemoryStore
from tests.conformance import log as suite
from tests.kafka.stage import Stage

HEADROOM = 1000
"""For the key, the headers and Kafka's framing of the largest record."""


def now() -> datetime:
    return datetime.now(UTC)


@dataclass
class Memory:
    """The log in memory; its store survives."""

    folder: Path
    store: MemoryStore = field(default_factory=MemoryStore)
    shares_groups = False

    def open(self):
        return MemoryLog.open(self.store, clock=now, max_record_bytes=suite.MAX_RECORD_BYTES)


@dataclass
class Embedded:
    """The embedded log; its folder survives."""

    folder: Path
    shares_groups = False

    def open(self):
        limits = LogLimits(max_record_bytes=suite.MAX_RECORD_BYTES)
        return EmbeddedLog.open(self.folder / "log", clock=now, limits=limits)


@dataclass
class OnKafka:
    """Topics of a real Kafka; they survive."""

    stage: Stage
    shares_groups = True

    @asynccontextmanager
    async def open(self):
        await self.stage.make_topics(max_message_bytes=suite.MAX_RECORD_BYTES)
        async with self.stage.open() as log:
            yield log


@pytest.mark.parametrize("engine", [Memory, Embedded])
@pytest.mark.parametrize("promise", suite.PROMISES + suite.ALONE)
async def test_log(engine, promise, tmp_path):
    """Every promise holds on every engine."""
    await promise(engine(tmp_path))


@pytest.mark.parametrize("promise", suite.PROMISES + suite.SHARED)
async def test_log_on_kafka(promise, kafka, topic_prefix):
    """Every promise holds on Kafka too, and those of shared groups."""
    await promise(OnKafka(Stage(kafka.servers, topic_prefix)))
