"""The key set on disk: replaced whole, believed only when it can be."""

from datetime import UTC, datetime, timedelta

import pytest

from consumer.jwks.store import maybe_load_key_set, save_key_set
from consumer.testing.keys import Signer, key_set

NOW = datetime(2026, 7, 16, tzinfo=UTC)
URL = "https://keys.example/jwks.json"


@pytest.fixture
def held():
    return key_set(Signer(), url=URL, fetched_at=NOW)


def test_what_is_saved_is_loaded(tmp_path, held):
    """A saved set comes back equal, and leaves no other file behind."""
    path = tmp_path / "keys.json"

    save_key_set(path, key_set(Signer("older"), url=URL, fetched_at=NOW))
    save_key_set(path, held)

    assert held == maybe_load_key_set(path, urls=[URL], now=NOW)
    assert [path] == list(tmp_path.iterdir())


def test_a_failed_save_leaves_the_old_file(tmp_path, held):
    """When the file cannot be replaced nothing is left half written."""
    path = tmp_path / "keys.json"
    path.mkdir()

    with pytest.raises(OSError, match="directory"):
        save_key_set(path, held)

    assert [path] == list(tmp_path.iterdir())


def test_another_address_or_a_future_time_is_no_set(tmp_path, held):
    """A set is believed only from a configured address, and only from the past."""
    path = tmp_path / "keys.json"
    save_key_set(path, held)

    assert maybe_load_key_set(path, urls=["https://other.example"], now=NOW) is None
    assert maybe_load_key_set(path, urls=[URL], now=NOW - timedelta(minutes=1)) is None
    assert maybe_load_key_set(tmp_path / "absent", urls=[URL], now=NOW) is None
