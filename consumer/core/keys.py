"""
fal's public keys: from the bytes of a JWKS document to points that verify.

Only `kty`, `crv`, `x` and `kid` reach PyJWT: handed the whole entry it drops a key with
`alg: "Ed25519"`, keeps symmetric keys, and makes private-key objects of entries with `d`.
"""

import json
import re
from base64 import urlsafe_b64encode
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from typing import Any

from jwt import PyJWKSet
from jwt.exceptions import PyJWTError
from nacl.bindings import crypto_core_ed25519_is_valid_point

from consumer.errors import BadKeySet

_KID = re.compile(r"[\x20-\x7e]{0,256}")
# It travels in every event; recorded ones have 43 characters.

MAX_KEYS = 16
# fal published two keys in July 2026. A set far larger is a mistake or an attack: each key
# costs one verification per forged delivery.


@dataclass(frozen=True, slots=True)
class PublicKey:
    """
    One Ed25519 public key, made by `public_key`.

    `kid` is fal's name for it, or empty; `raw` has 32 bytes; `text` is the key as base64url
    without padding (43 characters), as events carry it: made once per key set and not per
    delivery, for that is the hot path.
    """

    kid: str
    raw: bytes
    text: str = field(repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class KeySet:
    """The keys of one document, with the document, its address and its fetch time (aware UTC)."""

    keys: tuple[PublicKey, ...]
    document: bytes = field(repr=False)
    url: str
    fetched_at: datetime

    @property
    def sha256(self) -> str:
        """Lower-case hex of the document's SHA-256: the key set's identity."""
        return sha256(self.document).hexdigest()


def public_key(raw: bytes, kid: str = "") -> PublicKey:
    """
    Return the key of 32 raw bytes.

    Raises BadKeySet when they are no point that libsodium calls valid (small order,
    outside the main subgroup, non-canonical): under such a key, anybody can sign.
    """
    if len(raw) != 32 or not crypto_core_ed25519_is_valid_point(raw):
        raise BadKeySet("not a valid Ed25519 point")
    text = urlsafe_b64encode(raw).rstrip(b"=").decode("ascii")
    return PublicKey(kid, raw, text)


def parse_keys(document: bytes) -> tuple[PublicKey, ...]:
    """
    Return the usable keys of a JWKS document, in its order, each point once.

    Usable: kty OKP, crv Ed25519, `use` absent or "sig", a valid point; base64url padding
    is tolerated, for fal pads (recorded 2026-07-16; RFC 8037 forbids it).
    Raises BadKeySet when the document is no JSON object with a list of keys, holds no
    usable key, or more than 16; and nothing else.
    """
    entries = _entries(document)
    keys: dict[bytes, PublicKey] = {}
    for entry in entries:
        key = _maybe_key(entry)
        if key is not None:
            keys.setdefault(key.raw, key)
    if not keys:
        raise BadKeySet("no usable Ed25519 key")
    if len(keys) > MAX_KEYS:
        raise BadKeySet(f"more than {MAX_KEYS} keys")
    return tuple(keys.values())


def _entries(document: bytes) -> list[Any]:
    try:
        parsed = json.loads(document)
    except (ValueError, RecursionError) as exc:
        raise BadKeySet("not JSON") from exc
    entries = parsed.get("keys") if isinstance(parsed, dict) else None
    if not isinstance(entries, list):
        raise BadKeySet('not a JSON object with a list "keys"')
    return entries


def _maybe_key(entry: Any) -> PublicKey | None:
    if not isinstance(entry, dict) or entry.get("use") not in (None, "sig"):
        return None
    x, kid = entry.get("x"), entry.get("kid")
    if entry.get("kty") != "OKP" or entry.get("crv") != "Ed25519" or not isinstance(x, str):
        return None
    kid = kid if isinstance(kid, str) and _KID.fullmatch(kid) else ""
    shown = {"kty": "OKP", "crv": "Ed25519", "x": x.rstrip("="), "kid": kid}
    try:
        parsed = PyJWKSet.from_dict({"keys": [shown]}).keys[0].key
        return public_key(parsed.public_bytes_raw(), kid)
    except (PyJWTError, BadKeySet, ValueError, IndexError, AttributeError):
        return None
