"""
The simulator's Ed25519 keys: how a delivery is signed and how the key set is published.

Keys are random at every start, never derived from a seed, so that nobody can sign
in the simulator's name. Pure apart from the operating system's randomness.
"""

import base64
import hashlib
import json
import secrets
from collections.abc import Iterable
from typing import Self

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey


class SigningKey:
    """One Ed25519 key pair with the key id under which its public half is published."""

    def __init__(self, private: Ed25519PrivateKey, kid: str) -> None:
        self.kid = kid
        self._private = private

    @classmethod
    def random(cls, kid: str | None = None) -> Self:
        """Return a fresh key; without `kid` it gets a random one of 43 characters, as fal's are."""
        return cls(Ed25519PrivateKey.generate(), kid or secrets.token_urlsafe(32))

    @property
    def public_bytes(self) -> bytes:
        """The 32 raw bytes of the public key."""
        return self._private.public_key().public_bytes_raw()

    def jwk(self) -> dict[str, str]:
        """
        Return the public key as fal publishes it: `x` keeps its padding, `alg` is absent.

        Source: fal's key set document at rest.fal.ai, recorded 2026-07-16.
        """
        x = base64.urlsafe_b64encode(self.public_bytes).decode()
        return {"kty": "OKP", "crv": "Ed25519", "kid": self.kid, "x": x, "use": "sig"}

    def sign_headers(
        self, request_id: str, user_id: str, timestamp: int, body: bytes
    ) -> dict[str, str]:
        """
        Return the four webhook headers for one attempt; `timestamp` is in unix seconds.

        The signature covers request id, user id, timestamp and the lower-case hex
        SHA-256 of the body, joined by single line feeds without a trailing one.

        Source: fal docs, Webhooks, on verifying (read 2026-10-07).
        """
        digest = hashlib.sha256(body).hexdigest()
        message = "\n".join((request_id, user_id, str(timestamp), digest)).encode()
        return {
            "X-Fal-Webhook-Request-Id": request_id,
            "X-Fal-Webhook-User-Id": user_id,
            "X-Fal-Webhook-Timestamp": str(timestamp),
            "X-Fal-Webhook-Signature": self._private.sign(message).hex(),
        }


def jwks_document(keys: Iterable[SigningKey]) -> bytes:
    """Return the key set document of these keys, in their order, as one line of JSON."""
    document = {"keys": [key.jwk() for key in keys]}
    return json.dumps(document, separators=(",", ":")).encode()


class KeyRing:
    """
    The keys in use: two are published, the first of them signs, as seen at fal.

    Source: fal's key set and seven recorded deliveries, 2026-07-16.
    """

    def __init__(self) -> None:
        self._signing = SigningKey.random()
        self._spare = SigningKey.random()
        self._next: SigningKey | None = None

    @property
    def signing(self) -> SigningKey:
        """The key that signs the next attempt."""
        return self._signing

    @property
    def published(self) -> tuple[SigningKey, ...]:
        """The keys of the set, in the order of the document."""
        if self._next is None:
            return (self._signing, self._spare)
        return (self._signing, self._spare, self._next)

    def publish_next(self) -> SigningKey:
        """Publish a new key that does not sign yet; the next `rotate` makes it the signer."""
        if self._next is None:
            self._next = SigningKey.random()
        return self._next

    def rotate(self) -> SigningKey:
        """Let a new key sign (the one published ahead, if any); the old one leaves the set."""
        self._signing = self._next or SigningKey.random()
        self._next = None
        return self._signing
