"""The place that keys come from."""

import pytest

from tests.jwks.place import Place


@pytest.fixture
def place():
    return Place()
