"""Deliveries made by hand: any body, any headers, signed in any way, right or wrong. Pure."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from consumer.simulator.deliveries import Delivery
from consumer.simulator.jobs import new_request_id
from consumer.simulator.keys import KeyRing, SigningKey


class Signature(StrEnum):
    """How a delivery made by hand is signed."""

    CURRENT = "current"  # by the signing key
    SPARE = "spare"  # by the published key that does not sign otherwise
    UNPUBLISHED = "unpublished"  # by a key in no set
    WRONG_BODY = "wrong_body"  # by the signing key, over another body
    NONE = "none"  # no signature header at all


@dataclass(frozen=True, kw_only=True, slots=True)
class LooseDelivery:
    """
    What to send once, without retries; `url` must be on loopback.

    Left out, `request_id` is the body's own or a new one, `user_id` the configured account,
    `timestamp` (unix seconds) now. `headers` replace the computed ones, case by case.
    """

    url: str
    body: bytes
    request_id: str | None = None
    user_id: str | None = None
    timestamp: int | None = None
    signature: Signature = Signature.CURRENT
    headers: Mapping[str, str] = field(default_factory=dict)

    def planned(self, keys: KeyRing, account: str, now: float) -> Delivery:
        """Return the delivery as the sender takes it."""
        by_signature = {
            Signature.SPARE: keys.published[1],
            Signature.UNPUBLISHED: SigningKey.random(),
        }
        return Delivery(
            kind="extra",
            request_id=self.request_id or _named_in(self.body) or new_request_id(now),
            user_id=account if self.user_id is None else self.user_id,
            body=self.body,
            key=by_signature.get(self.signature),
            signed_body=b"another body" if self.signature is Signature.WRONG_BODY else None,
            timestamp_offset_s=0 if self.timestamp is None else self.timestamp - int(now),
            is_retried=False,
        )

    def adjusted(self, signed: Mapping[str, str]) -> dict[str, str]:
        """Return the headers to send, given the computed ones."""
        headers = dict(signed)
        if self.signature is Signature.NONE:
            del headers["X-Fal-Webhook-Signature"]
        return headers | dict(self.headers)


def _named_in(body: bytes) -> str | None:
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError):
        return None
    named = fields.get("request_id") if isinstance(fields, dict) else None
    return named if isinstance(named, str) else None
