"""A fresh stand for each test."""

import pytest

from tests.replaying.stand import Stand


@pytest.fixture
def stand() -> Stand:
    return Stand()
