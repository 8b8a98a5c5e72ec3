"""The promises of `tests/conformance/log.py`, on every engine of the log."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest

from consumer.log.embedded import EmbeddedLog, LogLimits
from consumer.testing.log import MemoryLog, MemoryStore
from tests.conformance import log as suite


def now() -> datetime:
    return datetime.now(UTC)


@dataclass
class Memory:
    """The log in memory; its store survives."""

    folder: Path
    store: MemoryStore = field(default_factory=MemoryStore)

    def open(self):
        return MemoryLog.open(self.store, clock=now, max_record_bytes=suite.MAX_RECORD_BYTES)


@dataclass
class Embedded:
    """The embedded log; its folder survives."""

    folder: Path

    def open(self):
        limits = LogLimits(max_record_bytes=suite.MAX_RECORD_BYTES)
        return EmbeddedLog.open(self.folder / "log", clock=now, limits=limits)


@pytest.mark.parametrize("engine", [Memory, Embedded])
@pytest.mark.parametrize("promise", suite.PROMISES)
async def test_log(engine, promise, tmp_path):
    """Every promise holds on every engine."""
    await promise(engine(tmp_path))
