"""
What fal sends, before anybody trusts it: the four signed headers and their grammar.

The grammar is judged before any conversion, because the conversions of Python accept
more than fal sends (`int` takes `1_7` and non-ASCII digits, `bytes.fromhex` takes
spaces). Nothing here verifies anything; that is `signature`.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from hashlib import sha256

from consumer.errors import ExpiredTimestamp, MalformedDelivery

REQUEST_ID_HEADER = "X-Fal-Webhook-Request-Id"
USER_ID_HEADER = "X-Fal-Webhook-User-Id"
TIMESTAMP_HEADER = "X-Fal-Webhook-Timestamp"
SIGNATURE_HEADER = "X-Fal-Webhook-Signature"
# Source: fal docs, "Webhooks", section on verifying (captures up to 2026-09).

TIMESTAMP_TOLERANCE = timedelta(seconds=300)
# Source: fal docs, "Webhooks": reject beyond 300 s, either way. Smaller: clock skew loses
# genuine deliveries. Larger: a captured delivery can be replayed for longer.

_VISIBLE = (re.compile(r"[\x21-\x7e]{1,256}"), "1 to 256 visible ASCII characters")
_DIGITS = (re.compile(r"[0-9]{1,12}"), "1 to 12 decimal digits")
_HEX = (re.compile(r"[0-9A-Fa-f]{128}"), "128 hex digits")

_GRAMMAR = {
    "request_id": (REQUEST_ID_HEADER, *_VISIBLE),
    "user_id": (USER_ID_HEADER, *_VISIBLE),
    "timestamp": (TIMESTAMP_HEADER, *_DIGITS),
    "signature": (SIGNATURE_HEADER, *_HEX),
}
_WHOLE = re.compile("\n".join(rule[1].pattern for rule in _GRAMMAR.values()))
# All four at once, which genuine ones pass in one step: no line feed fits any of the patterns.
_FIELDS = {rule[0].lower().encode(): name for name, rule in _GRAMMAR.items()}


@dataclass(frozen=True, slots=True)
class SignedHeaders:
    """
    The four headers as text. `timestamp` is the very text that was signed.

    Raises MalformedDelivery when one is outside its grammar, and nothing else, so that a
    value of this type can always be converted.
    """

    request_id: str
    user_id: str
    timestamp: str
    signature: str

    def __post_init__(self) -> None:
        whole = f"{self.request_id}\n{self.user_id}\n{self.timestamp}\n{self.signature}"
        if _WHOLE.fullmatch(whole) is not None:
            return
        for name, (header, pattern, expected) in _GRAMMAR.items():
            value = getattr(self, name)
            if pattern.fullmatch(value) is None:
                raise MalformedDelivery(header, f"expected {expected}, got {len(value)} characters")


@dataclass(frozen=True)
class Delivery:
    """One HTTP POST from fal, untrusted. `body` is raw bytes, `received_at` aware UTC."""

    headers: SignedHeaders
    body: bytes = field(repr=False)
    received_at: datetime
    # What `body_sha256` found, kept in a list because the dataclass is frozen.
    _digest: list[str] = field(default_factory=list, repr=False, compare=False)

    @property
    def body_sha256(self) -> str:
        """
        Lower-case hex of the body's SHA-256. The first reading hashes; call it off the loop for
        large bodies.
        """
        if not self._digest:
            self._digest.append(sha256(self.body).hexdigest())
        return self._digest[0]


def read_headers(raw_headers: Iterable[tuple[bytes, bytes]]) -> SignedHeaders:
    """
    Return the four signed headers from raw (name, value) pairs, names in any case.

    Raises MalformedDelivery when one is missing, sent twice or outside its grammar,
    and nothing else.
    """
    found: dict[str, str] = {}
    for header, value in raw_headers:
        name = _FIELDS.get(header.lower())
        if name is None:
            continue
        if name in found:
            raise MalformedDelivery(_GRAMMAR[name][0], "sent twice")
        found[name] = value.decode("latin-1")  # never fails; the grammar refuses all but ASCII
    for name, rule in _GRAMMAR.items():
        if name not in found:
            raise MalformedDelivery(rule[0], "missing")
    return SignedHeaders(**found)


def check_timestamp(
    headers: SignedHeaders, *, now: datetime, tolerance: timedelta = TIMESTAMP_TOLERANCE
) -> None:
    """
    Accept a timestamp at most `tolerance` away from `now`, either way, the edge included.

    Raises ExpiredTimestamp, and nothing else: twelve digits always fit the arithmetic,
    which is done on Unix seconds because a `datetime` cannot hold the year 33658.
    """
    age_s = now.timestamp() - int(headers.timestamp)
    if abs(age_s) > tolerance.total_seconds():
        raise ExpiredTimestamp(round(age_s))
