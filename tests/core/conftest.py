"""How hypothesis runs here, and the signer whose deliveries are judged."""

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import HealthCheck, settings

from consumer.testing.keys import Signer

settings.register_profile(
    "core",
    max_examples=60,
    deadline=None,  # two cores, shared: a slow example is no failure
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("core")


@pytest.fixture(scope="session")
def signer() -> Signer:
    """Return a signer with a fixed key, so that a failing example can be run again."""
    return Signer("kid-1", Ed25519PrivateKey.from_private_bytes(bytes(range(32))))
