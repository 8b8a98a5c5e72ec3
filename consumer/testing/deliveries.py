"""
Deliveries for tests: genuine ones, and near-valid ones that differ in one field.

Random bytes never get past the grammar; what finds mistakes is a genuine delivery with one
part replaced. Each mutation names the HTTP status that a receiver answers it with.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from consumer.core.delivery import (
    REQUEST_ID_HEADER,
    SIGNATURE_HEADER,
    TIMESTAMP_HEADER,
    TIMESTAMP_TOLERANCE,
    USER_ID_HEADER,
    Delivery,
    read_headers,
)
from consumer.testing.keys import Signer

REQUEST_ID = "019f6af7-3088-7f03-b97d-84fec4a3ce12"

_ID_MUTATIONS = (
    ("empty", b"", 400),
    ("another", b"another", 401),
    ("padded", b" padded", 400),
    ("tabbed", b"a\tb", 400),
    ("with a NUL", b"a\0b", 400),
    ("not ASCII", "é".encode(), 400),
    ("a surrogate in bytes", "\ud800".encode("utf-8", "surrogatepass"), 400),
    ("of 256 characters", b"a" * 256, 401),
    ("of 257 characters", b"a" * 257, 400),
    ("of 8 KB of digits", b"7" * 8192, 400),
)
_TIMESTAMP_MUTATIONS = (
    ("empty", b"", 400),
    ("padded", b" 1784206014", 400),
    ("signed plus", b"+1784206014", 400),
    ("negative", b"-1784206014", 400),
    ("underscored", b"1_7", 400),
    ("a fraction", b"1784206014.0", 400),
    ("hexadecimal", b"0x6a58d2be", 400),
    ("in Arabic digits", "١٧٨٤٢٠٦٠١٤".encode(), 400),
    ("superscript", b"\xb2\xb3", 400),
    ("the epoch", b"0", 401),
    ("in the year 11476", b"299999999999", 401),
    ("of twelve digits", b"999999999999", 401),
    ("of thirteen digits", b"1784206014000", 400),
    ("of 8 KB of digits", b"1" * 8192, 400),
)
_SIGNATURE_MUTATIONS = (
    ("empty", b"", 400),
    ("zero", b"0" * 128, 401),
    ("all ones", b"f" * 128, 401),
    ("of 126 digits", b"0" * 126, 400),
    ("of 130 digits", b"0" * 130, 400),
    ("spaced", b"00 " * 42 + b"00", 400),
    ("not hex", b"g" * 128, 400),
    ("in full-width digits", "\uff10".encode() * 128, 400),
    ("of 8 KB of digits", b"1" * 8192, 400),
)

RawHeaders = tuple[tuple[bytes, bytes], ...]


@dataclass(frozen=True, slots=True)
class Mutation:
    """A genuine delivery with one field replaced, and the status it deserves."""

    name: str
    raw_headers: RawHeaders = field(repr=False)
    body: bytes = field(repr=False)
    http_status: int


def webhook_body(request_id: str = REQUEST_ID, **fields: Any) -> bytes:
    """
    Return a webhook body in fal's byte form: keys sorted, `fields` over a plain success.

    Source: bodies recorded 2026-07-16, which are what Python's default encoder writes.
    """
    body = {
        "error": None,
        "gateway_request_id": request_id,
        "payload": {"images": [{"url": "https://v3b.fal.media/files/b/red-apple.png"}]},
        "request_id": request_id,
        "status": "OK",
    }
    return json.dumps(body | fields, sort_keys=True).encode("ascii")


def signed_delivery(
    signer: Signer,
    body: bytes,
    *,
    at: datetime,
    request_id: str = REQUEST_ID,
    account: str = "github|1",
) -> Delivery:
    """Return a genuine delivery, signed and received at `at`."""
    headers = signer.headers(request_id, body, at=at, account=account)
    return Delivery(read_headers(raw_headers(headers)), body, at)


def raw_headers(headers: dict[str, str]) -> RawHeaders:
    """Return headers as the raw pairs that an HTTP server hands over."""
    return tuple((name.encode("ascii"), value.encode("latin-1")) for name, value in headers.items())


def mutations(headers: dict[str, str], body: bytes) -> Iterator[Mutation]:
    """
    Yield every one-field mutation of a genuine delivery, judged at its own timestamp.

    `headers` are its four headers; the status is the one to answer with fresh keys.
    """
    pairs = raw_headers(headers)
    for name, genuine in headers.items():
        rest = {other: value for other, value in headers.items() if other != name}
        yield Mutation(f"{name} missing", raw_headers(rest), body, 400)
        twice = ((name.lower().encode("ascii"), genuine.encode("ascii")),)
        yield Mutation(f"{name} twice", pairs + twice, body, 400)
        for kind, value, status in _values(name, genuine):
            changed = tuple((key, value if key == name.encode() else old) for key, old in pairs)
            yield Mutation(f"{name} {kind}", changed, body, status)
    for kind, changed_body in _bodies(body):
        yield Mutation(f"body {kind}", raw_headers(headers), changed_body, 401)


def _values(name: str, genuine: str) -> Iterator[tuple[str, bytes, int]]:
    if name in (REQUEST_ID_HEADER, USER_ID_HEADER):
        yield from _ID_MUTATIONS
        yield "with one more character", f"{genuine}x".encode(), 401
    elif name == TIMESTAMP_HEADER:
        yield from _TIMESTAMP_MUTATIONS
        tolerance = int(TIMESTAMP_TOLERANCE.total_seconds())
        for seconds in (-tolerance - 1, -tolerance, -1, 1, tolerance, tolerance + 1):
            yield f"{seconds:+} s", str(int(genuine) + seconds).encode(), 401
        yield "with a zero in front", f"0{genuine}".encode(), 401
    elif name == SIGNATURE_HEADER:
        yield from _SIGNATURE_MUTATIONS
        for place in (0, 63, 64, 127):
            digit = f"{int(genuine[place], 16) ^ 1:x}"
            flipped = genuine[:place] + digit + genuine[place + 1 :]
            yield f"flipped at {place}", flipped.encode(), 401
        yield "halves swapped", (genuine[64:] + genuine[:64]).encode(), 401


def _bodies(body: bytes) -> Iterator[tuple[str, bytes]]:
    yield "empty", b""
    yield "with a line feed", body + b"\n"
    yield "without its last byte", body[:-1]
    yield "with one bit flipped", bytes([body[0] ^ 1]) + body[1:]
    yield "written compactly", json.dumps(json.loads(body), separators=(",", ":")).encode()
