"""
Signed tokens: the one in a callback URL, and the proof on a published key set.

Both are JWTs under the same secrets, told apart by their audience. HS256 only. Of the
secrets the first signs and all verify, so that a new one is added last everywhere and
then moved first. No expiry is set or judged: jobs may queue for hours, clocks differ.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jwt

from consumer.core.endpoint import is_endpoint_id
from consumer.errors import BadToken

WEBHOOK_PATH = "/webhooks/fal"
# Where the receiver takes deliveries; a token is the one segment that may follow.
MIN_SECRET_BYTES = 32
# HS256 wants a key at least as long as its output (RFC 7518, 3.2).
MAX_TOKEN_CHARS = 2048
# Bounds the work on a path that a stranger sends; ours are below 400 characters.

_CALLBACK = "fal-consumer/callback"
_KEY_SET = "fal-consumer/keyset"


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
    claims = _claims(text, secrets, _CALLBACK, ["aud", "end"])
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
