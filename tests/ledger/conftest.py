"""A migrated ledger in a file of the test's own."""

from datetime import UTC, datetime

import pytest

from consumer.ledger import Ledger
from consumer.ledger.migration import migrate
from consumer.ports import Plan

T0 = datetime(2026, 10, 1, 12, tzinfo=UTC)


def no_plan(_request, _now):
    return Plan()


@pytest.fixture
async def path(tmp_path):
    """A migrated, empty SQLite ledger."""
    await migrate(tmp_path / "ledger.sqlite")
    return tmp_path / "ledger.sqlite"


@pytest.fixture
async def ledger(path):
    """An open ledger with no plans and a clock that stands."""
    async with Ledger.open(path, plan=no_plan, clock=lambda: T0) as opened:
        yield opened
