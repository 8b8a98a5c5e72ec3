"""Fixtures of the end-to-end tests."""

from functools import partial
from pathlib import Path

import pytest

from tests.end_to_end import stage


@pytest.fixture
def open_stage(tmp_path: Path):
    """Open a service and its simulator on a folder of this test."""
    return partial(stage.open_stage, tmp_path)
