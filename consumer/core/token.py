"""
Signed tokens: the one in a callback URL, and the proof on a published key set.

Both are JWTs under the same secrets, told apart by their audience. HS256 only. Of the
secrets the first signs and all verify, so that a new one is added last everywhere and
then moved first. No expiry is set or judged: jobs may queue for hours, clocks differ.
"""

import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jwt

from consumer.core.endpoint import is_endpoint_id
from consumer.core.text import parse_json
from consumer.errors import BadToken

WEBHOOK_PATH = "/webhooks/fal"
# Where the receiver takes deliveries; a token is the one segment that may follow.
MIN_SECRET_BYTES = 32
# HS256 wants a key at least as long as its output (RFC 7518, 3.2).
MAX_TOKEN_CHARS = 2048
# Bounds the work on a path that a stranger sends; ours are below 400 characters.

_CALLBACK = "fal-consumer/callback"
_KEY_SET = "fal-consumer/keyset"
_OUR_HEADER = jwt.encode({}, b"." * MIN_SECRET_BYTES, algorithm="HS256").partition(".")[0]
# What stands in front of every token that `sign_token` writes.
_OUR_CLAIMS = frozenset({"aud", "end", "sub"})


@dataclass(frozen=True, slots=True)
class Token:
    """
    What a callback token says. `submission_id` is empty in tokens that serve any number of
    requests.
    """

    endpoint: str
    submission_id: str = ""


def sign_token(token: Token, secrets: Sequence[bytes]) -> str:
    """Return the token as URL-safe text, signed with the first secret."""
    claims = {"aud": _CALLBACK, "end": token.endpoint}
    if token.submission_id:
        claims["sub"] = token.submission_id
    return jwt.encode(claims, secrets[0], algorithm="HS256")


def callback_url(public_url: str, token: Token, secrets: Sequence[bytes]) -> str:
    """Return the address to give to fal: the receiver's public one, and the signed token."""
    return f"{public_url.rstrip('/')}{WEBHOOK_PATH}/{sign_token(token, secrets)}"


def parse_token(text: str, secrets: Sequence[bytes]) -> Token:
    """
    Return what a callback token says, when one of the secrets signed it.

    Raises BadToken, and nothing else.
    """
    claims = _maybe_our_claims(text, secrets) or _claims(text, secrets, _CALLBACK, ["aud", "end"])
    endpoint, submission_id = claims["end"], claims.get("sub", "")
    if not isinstance(endpoint, str) or not is_endpoint_id(endpoint):
        raise BadToken("names no endpoint id")
    if not isinstance(submission_id, str) or len(submission_id) > 256:
        raise BadToken("its submission id is unusable")
    return Token(endpoint, submission_id)


def sign_key_set(key_set_sha256: str, secrets: Sequence[bytes]) -> str:
    """Return the proof that a process which knows the secrets fetched this key set."""
    return jwt.encode({"aud": _KEY_SET, "set": key_set_sha256}, secrets[0], algorithm="HS256")


def is_key_set_proof(text: str, key_set_sha256: str, secrets: Sequence[bytes]) -> bool:
    """Tell whether `text` proves the key set with this SHA-256."""
    try:
        claims = _claims(text, secrets, _KEY_SET, ["aud", "set"])
    except BadToken:
        return False
    return bool(claims["set"] == key_set_sha256)


def _maybe_our_claims(text: str, secrets: Sequence[bytes]) -> dict[str, Any] | None:
    """
    Return the claims of a callback token in the very form in which we write them; None for all
    else, which PyJWT judges.

    The whole of HS256 for the hot path: 7 µs against PyJWT's 55, which is as much as verifying
    the delivery itself. What it accepts, PyJWT accepts with the same claims.
    Source: RFC 7515, A.1.
    """
    if len(text) > MAX_TOKEN_CHARS or not text.isascii():
        return None
    signed, _, signature = text.rpartition(".")
    header, _, payload = signed.partition(".")
    if header != _OUR_HEADER:
        return None
    given, message = signature.encode(), signed.encode()
    for secret in secrets:
        made = urlsafe_b64encode(hmac.digest(secret, message, "sha256")).rstrip(b"=")
        if hmac.compare_digest(made, given):
            return _maybe_plain_claims(payload)
    return None


def _maybe_plain_claims(payload: str) -> dict[str, Any] | None:
    try:
        claims = parse_json(urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    except ValueError:
        return None
    if not isinstance(claims, dict) or not _OUR_CLAIMS.issuperset(claims):
        return None
    is_ours = claims.get("aud") == _CALLBACK and "end" in claims
    return claims if is_ours and isinstance(claims.get("sub", ""), str) else None


def _claims(
    text: str, secrets: Sequence[bytes], audience: str, required: list[str]
) -> dict[str, Any]:
    if len(text) > MAX_TOKEN_CHARS:
        raise BadToken("too long")
    for secret in secrets:
        try:
            claims: dict[str, Any] = jwt.decode(
                text,
                secret,
                algorithms=["HS256"],
                audience=audience,
                options={
                    "require": required,
                    "verify_iat": False,
                    "verify_exp": False,
                    "verify_nbf": False,  # it would ask the clock
                },
            )
        except jwt.InvalidSignatureError:
            continue
        except (jwt.PyJWTError, ValueError, RecursionError) as exc:
            raise BadToken("not one of ours") from exc
        return claims
    raise BadToken("signed with none of our secrets")
