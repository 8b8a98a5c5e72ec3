"""The stage that sweeps play on."""

import pytest

from tests.handlers.stage import Stage


@pytest.fixture
def stage() -> Stage:
    """Return a fresh process on a fresh world."""
    return Stage()
