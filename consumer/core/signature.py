"""
The one place where a delivery becomes a fact about the world.

Law of this file: `VerifiedDelivery` is made by `verify` and by nothing else. The seal
below is not security against our own process; it makes a shortcut impossible to write
by accident.
"""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from nacl.bindings import crypto_sign_open
from nacl.exceptions import BadSignatureError

from consumer.core.delivery import (
    TIMESTAMP_TOLERANCE,
    Delivery,
    SignedHeaders,
    check_timestamp,
)
from consumer.core.keys import PublicKey
from consumer.errors import BadSignature, InvariantBroken

_SEAL = object()


@dataclass(frozen=True, slots=True)
class VerifiedDelivery:
    """A delivery and the key that verified it: sent by fal, for the account it names."""

    delivery: Delivery
    key: PublicKey
    seal: object = field(repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.seal is not _SEAL:
            raise InvariantBroken("only verify() makes a VerifiedDelivery")

    @property
    def request_id(self) -> str:
        """The request id of the signed header: the identity of the request."""
        return self.delivery.headers.request_id

    @property
    def account(self) -> str:
        """The user id at fal, from the signed header."""
        return self.delivery.headers.user_id


def signed_message(headers: SignedHeaders, body_sha256: str) -> bytes:
    """
    Return the exact bytes that fal signs for one delivery.

    Four lines joined by LF, no LF at the end: request id, user id, timestamp as sent,
    SHA-256 of the raw body as lower-case hex.
    Source: fal docs, "Webhooks", section on verifying; confirmed on recorded deliveries
    of 2026-07-16.
    """
    return f"{headers.request_id}\n{headers.user_id}\n{headers.timestamp}\n{body_sha256}".encode(
        "ascii"
    )


def verify(
    delivery: Delivery,
    keys: tuple[PublicKey, ...],
    *,
    now: datetime,
    tolerance: timedelta = TIMESTAMP_TOLERANCE,
) -> VerifiedDelivery:
    """
    Return the delivery with the first key that verifies its signature.

    Deliveries name no key, so every key is tried. `now` is when the delivery is judged:
    the clock for one that arrives, `ce_time` for evidence.
    Raises ExpiredTimestamp or BadSignature, and nothing else.
    """
    check_timestamp(delivery.headers, now=now, tolerance=tolerance)
    message = signed_message(delivery.headers, delivery.body_sha256)
    signed = bytes.fromhex(delivery.headers.signature) + message  # as libsodium wants it
    for key in keys:
        try:
            crypto_sign_open(signed, key.raw)
        except BadSignatureError:
            continue
        return VerifiedDelivery(delivery, key, _SEAL)
    raise BadSignature(len(keys))
