"""Verification: what counts as sent by fal, and what two libraries say about it."""

import json
from datetime import UTC, datetime, timedelta
from hashlib import sha512

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st
from nacl.bindings import (
    crypto_core_ed25519_add,
    crypto_core_ed25519_is_valid_point,
    crypto_scalarmult_ed25519_base_noclamp,
)
from nacl.exceptions import BadSignatureError
from nacl.signing import VerifyKey

from consumer.core.delivery import TIMESTAMP_HEADER, Delivery, SignedHeaders, read_headers
from consumer.core.keys import parse_keys, public_key
from consumer.core.signature import VerifiedDelivery, signed_message, verify
from consumer.errors import (
    BadKeySet,
    BadSignature,
    DeliveryError,
    ExpiredTimestamp,
    InvariantBroken,
    UnverifiedDelivery,
)
from consumer.testing.deliveries import (
    REQUEST_ID,
    mutations,
    raw_headers,
    signed_delivery,
    webhook_body,
)
from consumer.testing.keys import Signer, key_set
from tests.core.strategies import NOW, big_digits, texts

SEED = bytes(range(32))
GROUP_ORDER = 2**252 + 27742317777372353535851937790883648493
FIELD = 2**255 - 19
BASE_POINT = bytes.fromhex("58" + "66" * 31)


def _encoded(number: int) -> bytes:
    return number.to_bytes(32, "little")


def _signed(point: bytes) -> bytes:
    """Return the encoding with the sign bit of x set."""
    return point[:31] + bytes([point[31] | 0x80])


IDENTITY = _encoded(1)
ORDER_8 = bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a")
ORDER_8_TOO = bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05")
SMALL_ORDER = [
    IDENTITY,
    _encoded(0),
    _signed(_encoded(0)),
    _encoded(FIELD - 1),
    ORDER_8,
    _signed(ORDER_8),
    ORDER_8_TOO,
    _signed(ORDER_8_TOO),
]
NON_CANONICAL = [
    _encoded(FIELD),
    _signed(_encoded(FIELD)),
    _encoded(FIELD + 1),
    _signed(_encoded(FIELD + 1)),
    _signed(IDENTITY),
    _signed(_encoded(FIELD - 1)),
]


def sodium_accepts(key: bytes, signature: bytes, message: bytes) -> bool:
    try:
        VerifyKey(key).verify(message, signature)
    except BadSignatureError:
        return False
    return True


def openssl_accepts(key: bytes, signature: bytes, message: bytes) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


def _secret_scalar() -> int:
    half = bytearray(sha512(SEED).digest()[:32])
    half[0] &= 248
    half[31] = half[31] & 127 | 64
    return int.from_bytes(half, "little")


def _challenge(point: bytes, key: bytes, message: bytes) -> int:
    return int.from_bytes(sha512(point + key + message).digest(), "little") % GROUP_ORDER


PUBLIC = Ed25519PrivateKey.from_private_bytes(SEED).public_key().public_bytes_raw()


# ---------------------------------------------------------------- one door


def test_genuine_delivery_is_verified_with_its_key(signer):
    """A genuine delivery is verified, and says which key, request and account it is of."""
    delivery = signed_delivery(signer, webhook_body(), at=NOW)
    other, own = Signer("other"), key_set(signer).keys[0]

    verified = verify(delivery, (*key_set(other).keys, own), now=NOW)

    assert (own, REQUEST_ID, "github|1") == (verified.key, verified.request_id, verified.account)
    assert delivery is verified.delivery


def test_signed_message_is_four_lines(signer):
    """The signed bytes are four lines without one at the end, the timestamp as it was sent."""
    headers = SignedHeaders("r", "github|1", "007", "0" * 128)

    assert signed_message(headers, "hash") == b"r\ngithub|1\n007\nhash"


def test_only_verify_makes_a_verified_delivery(signer):
    """Nobody makes a verified delivery without the seal."""
    delivery = signed_delivery(signer, b"{}", at=NOW)

    with pytest.raises(InvariantBroken) as broken:
        VerifiedDelivery(delivery, key_set(signer).keys[0], object())

    assert str(broken.value) == "only verify() makes a VerifiedDelivery"


def test_refusal_counts_the_keys(signer):
    """A delivery that no key verifies is refused with the number of keys tried."""
    delivery = signed_delivery(signer, b"{}", at=NOW)

    with pytest.raises(BadSignature) as refused:
        verify(delivery, key_set(Signer("a"), Signer("b")).keys, now=NOW)
    with pytest.raises(BadSignature) as keyless:
        verify(delivery, (), now=NOW)

    assert str(refused.value) == "none of 2 keys verifies the signature"
    assert keyless.value.keys_tried == 0


def test_timestamp_is_judged_before_the_signature(signer):
    """A genuine delivery judged too late is expired, and a wider tolerance is an argument."""
    delivery = signed_delivery(signer, b"{}", at=NOW)
    later = NOW + timedelta(seconds=301)

    with pytest.raises(ExpiredTimestamp):
        verify(delivery, key_set(signer).keys, now=later)

    verify(delivery, key_set(signer).keys, now=later, tolerance=timedelta(seconds=302))


def test_each_mutation_is_refused_with_its_status(signer):
    """Every one-field mutation of a genuine delivery is refused with the status it deserves."""
    body = webhook_body()
    headers, keys = signer.headers(REQUEST_ID, body, at=NOW), key_set(signer).keys

    statuses = {
        mutation.name: _status(mutation.raw_headers, mutation.body, keys, NOW)
        for mutation in mutations(headers, body)
    }

    assert {m.name: m.http_status for m in mutations(headers, body)} == statuses
    assert len(statuses) > 60


def test_upper_case_signature_is_the_same_signature(signer):
    """Hex digits of either case spell the same signature."""
    headers = signer.headers(REQUEST_ID, b"{}", at=NOW)
    upper = {name: value.upper() if len(value) == 128 else value for name, value in headers.items()}

    delivery = Delivery(read_headers(raw_headers(upper)), b"{}", NOW)

    assert verify(delivery, key_set(signer).keys, now=NOW)


field_values = st.one_of(texts, big_digits, st.text("0123456789abcdef", min_size=128, max_size=128))


@given(st.sampled_from(["request_id", "user_id", "timestamp", "signature"]), field_values)
def test_one_replaced_field_verifies_or_raises_a_delivery_error(signer, name, value):
    """A genuine delivery with any one field replaced by anything raises nothing but our errors."""
    genuine = signed_delivery(signer, b"{}", at=NOW).headers
    fields = {part: getattr(genuine, part) for part in SignedHeaders.__slots__}
    try:
        headers = SignedHeaders(**fields | {name: value})
        verify(Delivery(headers, b"{}", NOW), key_set(signer).keys, now=NOW)
    except DeliveryError as error:
        status = error.http_status
    else:
        status = 200
    is_same = fields[name] == value or (name == "signature" and fields[name] == value.lower())
    assert status in ((200,) if is_same else (400, 401))


@given(st.integers(0, 563), st.integers(1, 255))
def test_any_changed_byte_of_the_body_is_refused(signer, place, flip):
    """A body with any byte changed is never verified."""
    body = webhook_body(error="x" * 600)
    headers = signed_delivery(signer, body, at=NOW).headers
    changed = body[:place] + bytes([body[place] ^ flip]) + body[place + 1 :]

    with pytest.raises(BadSignature):
        verify(Delivery(headers, changed, NOW), key_set(signer).keys, now=NOW)


@given(
    st.binary(max_size=40),
    st.integers(0, 999_999_999_999),
    st.from_regex(r"[!-~]{1,40}", fullmatch=True),
)
def test_whatever_was_signed_is_verified(signer, body, timestamp, account):
    """Any body, account and timestamp that a key signed is verified at that timestamp."""
    unsigned = SignedHeaders("r", account, str(timestamp), "0" * 128)
    digest = Delivery(unsigned, body, NOW).body_sha256
    signature = signer.private.sign(signed_message(unsigned, digest)).hex()
    delivery = Delivery(SignedHeaders("r", account, str(timestamp), signature), body, NOW)

    now = datetime.fromtimestamp(min(timestamp, 10**11), UTC)

    if timestamp <= 10**11:
        assert account == verify(delivery, key_set(signer).keys, now=now).account
    else:
        with pytest.raises(UnverifiedDelivery):
            verify(delivery, key_set(signer).keys, now=now)


def _status(pairs, body, keys, now) -> int:
    try:
        verify(Delivery(read_headers(pairs), body, now), keys, now=now)
    except DeliveryError as error:
        return error.http_status
    return 200


# ---------------------------------------------------------------- recorded at fal


def _recorded(samples):
    keys = parse_keys((samples / "jwks-2026-07-16.json").read_bytes())
    for item in json.loads((samples / "deliveries.json").read_bytes()):
        headers = item["headers"]
        moment = datetime.fromtimestamp(int(headers[TIMESTAMP_HEADER]), UTC)
        yield headers, (samples / item["body"]).read_bytes(), moment, keys


def test_recorded_deliveries_verify_with_the_recorded_first_key(samples):
    """Each recorded delivery is verified by the first recorded key, and not by the second."""
    recorded = list(_recorded(samples))

    for headers, body, moment, keys in recorded:
        delivery = Delivery(read_headers(raw_headers(headers)), body, moment)
        assert keys[0] == verify(delivery, keys, now=moment).key
        with pytest.raises(BadSignature):
            verify(delivery, keys[1:], now=moment)

    assert len(recorded) == 4


def test_mutations_of_recorded_deliveries_are_refused(samples):
    """Each one-field mutation of each recorded delivery is refused with its status."""
    for headers, body, moment, keys in _recorded(samples):
        for mutation in mutations(headers, body):
            status = _status(mutation.raw_headers, mutation.body, keys, moment)
            assert (mutation.name, mutation.http_status) == (mutation.name, status)


# ---------------------------------------------------------------- two libraries


@given(
    st.binary(min_size=32, max_size=32),
    st.binary(max_size=40),
    st.integers(0, 63),
    st.integers(0, 255),
)
def test_libraries_agree_on_signatures_with_one_byte_changed(seed, message, place, flip):
    """Libsodium and OpenSSL agree on a genuine signature and on it with one byte changed."""
    private = Ed25519PrivateKey.from_private_bytes(seed)
    key, signature = private.public_key().public_bytes_raw(), private.sign(message)
    changed = signature[:place] + bytes([signature[place] ^ flip]) + signature[place + 1 :]

    assert (flip == 0) == sodium_accepts(key, changed, message)
    assert (flip == 0) == openssl_accepts(key, changed, message)


@given(
    st.one_of(st.binary(min_size=32, max_size=32), st.sampled_from([PUBLIC, *SMALL_ORDER])),
    st.one_of(st.binary(min_size=32, max_size=32), st.sampled_from([BASE_POINT, *SMALL_ORDER])),
    st.one_of(st.integers(0, 3), st.integers(GROUP_ORDER - 2, 2**256 - 1)),
    st.binary(max_size=3),
)
def test_what_sodium_accepts_openssl_accepts(key, point, scalar, message):
    """Libsodium never accepts what OpenSSL refuses; the reverse needs a small order."""
    signature = point + _encoded(scalar)
    sodium = sodium_accepts(key, signature, message)
    openssl = openssl_accepts(key, signature, message)

    assert not (sodium and not openssl)
    assert sodium == openssl or key in SMALL_ORDER or point in SMALL_ORDER


@pytest.mark.parametrize("key", [*SMALL_ORDER, *NON_CANONICAL], ids=bytes.hex)
def test_small_order_and_non_canonical_keys_are_refused(key):
    """Under such a key anybody can sign for OpenSSL; libsodium refuses, and so do we."""
    universal = BASE_POINT + _encoded(1)
    messages = [b"%d" % number for number in range(64)]

    assert any(openssl_accepts(key, universal, message) for message in messages)
    assert not any(sodium_accepts(key, universal, message) for message in messages)
    with pytest.raises(BadKeySet):
        public_key(key)


def test_identity_as_key_lets_openssl_accept_every_message():
    """One fixed signature under the identity key passes OpenSSL for every message."""
    universal = BASE_POINT + _encoded(1)

    assert [openssl_accepts(IDENTITY, universal, bytes([n])) for n in range(9)] == [True] * 9


@pytest.mark.parametrize("y", range(FIELD, 2**255), ids=lambda y: f"p+{y - FIELD}")
def test_every_non_canonical_y_is_no_key(y):
    """Each of the 19 encodings of y at or above the field's order is refused as a key."""
    for point in (_encoded(y), _signed(_encoded(y))):
        with pytest.raises(BadKeySet):
            public_key(point)


def test_small_order_commitment_divides_the_libraries():
    """A signature whose R is the identity passes OpenSSL and not libsodium, nor `verify`."""
    message = b"x"
    scalar = _challenge(IDENTITY, PUBLIC, message) * _secret_scalar() % GROUP_ORDER
    signature = IDENTITY + _encoded(scalar)

    assert openssl_accepts(PUBLIC, signature, message)
    assert not sodium_accepts(PUBLIC, signature, message)


@pytest.mark.parametrize("point", [_encoded(FIELD + 1), _signed(IDENTITY)], ids=bytes.hex)
def test_non_canonical_commitment_passes_neither(point):
    """A non-canonical spelling of R is refused by both libraries."""
    scalar = _challenge(point, PUBLIC, b"x") * _secret_scalar() % GROUP_ORDER
    signature = point + _encoded(scalar)

    assert not openssl_accepts(PUBLIC, signature, b"x")
    assert not sodium_accepts(PUBLIC, signature, b"x")


@pytest.mark.parametrize("added", [GROUP_ORDER, 2 * GROUP_ORDER, 15 * GROUP_ORDER])
def test_scalar_beyond_the_group_order_passes_neither(added):
    """S + L is the same number to the group and is refused by both: no second spelling."""
    signature = Ed25519PrivateKey.from_private_bytes(SEED).sign(b"x")
    scalar = int.from_bytes(signature[32:], "little") + added
    second = signature[:32] + _encoded(scalar)

    assert not openssl_accepts(PUBLIC, second, b"x")
    assert not sodium_accepts(PUBLIC, second, b"x")


def test_mixed_order_key_is_no_key_of_ours():
    """A key outside the main subgroup, on which both libraries agree, is refused as a key."""
    mixed = crypto_core_ed25519_add(PUBLIC, ORDER_8)
    nonce = 12345
    commitment = crypto_scalarmult_ed25519_base_noclamp(_encoded(nonce))
    answers = set()
    for number in range(40):
        message = b"%d" % number
        challenge = _challenge(commitment, mixed, message)
        scalar = (nonce + challenge * _secret_scalar()) % GROUP_ORDER
        signature = commitment + _encoded(scalar)
        both = sodium_accepts(mixed, signature, message), openssl_accepts(mixed, signature, message)
        answers.add((challenge % 8 == 0, *both))

    assert {(True, True, True), (False, False, False)} == answers
    assert not crypto_core_ed25519_is_valid_point(mixed)
    with pytest.raises(BadKeySet):
        public_key(mixed)
