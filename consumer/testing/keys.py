"""
Keys for tests: a signer that does what fal does, and a `Keys` that does what it is told.
"""

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from consumer.core.delivery import (
    REQUEST_ID_HEADER,
    SIGNATURE_HEADER,
    TIMESTAMP_HEADER,
    USER_ID_HEADER,
    SignedHeaders,
)
from consumer.core.keys import KeySet, parse_keys
from consumer.core.signature import signed_message
from consumer.errors import KeysUnavailable

_URL = "https://keys.example/.well-known/jwks.json"


@dataclass(frozen=True)
class Signer:
    """Signs deliveries as fal does, with a key of its own."""

    kid: str = "test-key"
    private: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate, repr=False)

    @property
    def jwk(self) -> dict[str, str]:
        """The public key as an entry of a JWKS document, `x` padded as fal pads it."""
        raw = self.private.public_key().public_bytes_raw()
        x = base64.urlsafe_b64encode(raw).decode("ascii")
        return {"kty": "OKP", "crv": "Ed25519", "kid": self.kid, "x": x, "use": "sig"}

    def headers(
        self, request_id: str, body: bytes, *, at: datetime, account: str = "github|1"
    ) -> dict[str, str]:
        """Return the four headers of a delivery signed at `at`."""
        timestamp = str(int(at.timestamp()))
        unsigned = SignedHeaders(request_id, account, timestamp, "0" * 128)
        message = signed_message(unsigned, sha256(body).hexdigest())
        return {
            REQUEST_ID_HEADER: request_id,
            USER_ID_HEADER: account,
            TIMESTAMP_HEADER: timestamp,
            SIGNATURE_HEADER: self.private.sign(message).hex(),
        }


def key_document(*signers: Signer) -> bytes:
    """Return the JWKS document of the signers."""
    return json.dumps({"keys": [signer.jwk for signer in signers]}).encode("ascii")


def key_set(*signers: Signer, url: str = _URL, fetched_at: datetime | None = None) -> KeySet:
    """Return the signers' key set, as if fetched at `fetched_at`."""
    document = key_document(*signers)
    at = fetched_at or datetime(2026, 1, 1, tzinfo=UTC)
    return KeySet(parse_keys(document), document, url, at)


class FakeKeys:
    """
    `Keys` and `TrustedKeys` in memory. `fetches` counts what would have been asked of fal.

    `published` is what the next refetch finds; `held` what is judged with, None for
    KeysUnavailable.
    """

    def __init__(self, *signers: Signer) -> None:
        self.held: KeySet | None = key_set(*signers) if signers else None
        self.published = self.held
        self.fetches = 0
        self._fetched: list[KeySet] = [self.held] if self.held else []

    def publish(self, *signers: Signer) -> None:
        """Let the next refetch find the keys of these signers."""
        self.published = key_set(*signers)

    def hold(self, document: bytes) -> None:
        """Hold, and find published, the keys of a JWKS document."""
        keys = parse_keys(document)
        self.held = self.published = KeySet(keys, document, _URL, datetime(2026, 1, 1, tzinfo=UTC))
        self._fetched.append(self.held)

    async def current(self) -> KeySet:
        """Return what is held. Raises KeysUnavailable when nothing is."""
        if self.held is None:
            raise KeysUnavailable("no key set")
        return self.held

    async def refetched(self, tried: KeySet) -> KeySet:
        """Return what is published now; `tried` itself when that is no news."""
        if self.held is tried:
            await self.refetch()
        return await self.current()

    async def sets(self) -> Sequence[KeySet]:
        """Return every set that was held, newest first."""
        return list(reversed(self._fetched))

    async def refetch(self) -> None:
        """Hold what is published."""
        self.fetches += 1
        if self.published is not None and self.published is not self.held:
            self.held = self.published
            self._fetched.append(self.published)
