"""The promises of `tests/conformance/log.py`, on every engine of the log."""

from datetime import UTC, datetime

import pytest

from consumer.log.embedded import EmbeddedLog, LogLimits
from consumer.testing.log import MemoryLog, MemoryStore
