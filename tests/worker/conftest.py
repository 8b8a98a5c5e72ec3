"""The bench that a worker is tried on."""

import pytest

from tests.worker.bench import Bench


@pytest.fixture
def bench() -> Bench:
    return Bench()
