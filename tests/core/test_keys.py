"""The key set drill: what a JWKS document may hold, and what becomes of it."""

import json
from base64 import urlsafe_b64encode
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.core.keys import MAX_KEYS, parse_keys, public_key
from consumer.errors import BadKeySet
from consumer.testing.keys import Signer, key_document, key_set
from tests.core.strategies import json_objects, json_values, texts

NO_KEY = "key set: no usable Ed25519 key"
NO_LIST = 'key set: not a JSON object with a list "keys"'


def document(*entries) -> bytes:
    return json.dumps({"keys": entries}).encode()


def entry_of(raw: bytes) -> dict[str, str]:
    return {"kty": "OKP", "crv": "Ed25519", "x": urlsafe_b64encode(raw).decode()}


def test_keys_come_in_the_order_of_the_document(signer):
    """Keys are returned in the document's order with their kid and their 32 bytes."""
    other = Signer("kid-2")

    keys = parse_keys(key_document(signer, other))

    assert [key.kid for key in keys] == ["kid-1", "kid-2"]
    assert keys[0].raw == signer.private.public_key().public_bytes_raw()
    assert keys[0].text == signer.jwk["x"].rstrip("=")


def test_recorded_key_set_has_two_keys(samples):
    """The recorded key set, whose x are padded, parses into its two keys."""
    keys = parse_keys((samples / "jwks-2026-07-16.json").read_bytes())

    assert [key.kid for key in keys] == [
        "Eyv1ENn6NyZnEorJHsWnEDHRQ45-hnGqP0Lb-yX7Itw",
        "q_RdVYvPKoXPwp5YOM4bhSvtWynZeoAWGOyxQiXgsmQ",
    ]


@pytest.mark.parametrize("padding", ["", "=", "=="])
def test_padding_is_tolerated(signer, padding):
    """A key is read with its base64url padding, without it, and with too much."""
    entry = signer.jwk | {"x": signer.jwk["x"].rstrip("=") + padding}

    assert parse_keys(document(entry)) == parse_keys(key_document(signer))


@pytest.mark.parametrize(
    "change",
    [
        {"alg": "Ed25519"},
        {"alg": "EdDSA"},
        {"alg": "none"},
        {"alg": 7},
        {"key_ops": ["verify"]},
        {"use": None},
        {"d": "A" * 43},
        {"x5c": ["junk"]},
    ],
    ids=str,
)
def test_further_members_do_not_matter(signer, change):
    """Members beside kty, crv, x, kid and use change nothing, a private d included."""
    assert parse_keys(document(signer.jwk | change)) == parse_keys(key_document(signer))


@pytest.mark.parametrize(
    "change",
    [
        {"use": "enc"},
        {"use": []},
        {"kty": "oct", "k": "c2VjcmV0"},
        {"kty": "EC", "crv": "P-256"},
        {"kty": "RSA"},
        {"kty": None},
        {"crv": "X25519"},
        {"crv": "Ed448"},
        {"crv": "ed25519"},
        {"x": None},
        {"x": 7},
        {"x": ""},
        {"x": "===="},
        {"x": "A" * 42},
        {"x": "A" * 44},
        {"x": "!" * 43},
        {"x": "\ud800" * 43},
        {"x": "\0" * 43},
        {"x": "A" * 10_000},
    ],
    ids=str,
)
def test_unusable_entries_are_skipped(signer, change):
    """An entry that is no Ed25519 verification key is skipped, the others are kept."""
    bad = signer.jwk | change

    with pytest.raises(BadKeySet) as refused:
        parse_keys(document(bad))

    assert str(refused.value) == NO_KEY
    assert parse_keys(document(bad, signer.jwk)) == parse_keys(key_document(signer))


@pytest.mark.parametrize("name", ["kty", "crv", "x"])
def test_a_missing_member_makes_an_entry_unusable(signer, name):
    """An entry without kty, crv or x is skipped."""
    entry = {key: value for key, value in signer.jwk.items() if key != name}

    with pytest.raises(BadKeySet):
        parse_keys(document(entry))


@pytest.mark.parametrize("kid", [None, 7, ["k"], "\ud800", "\0", "a\nb", "schlüssel"], ids=ascii)
def test_a_kid_that_cannot_be_shown_is_empty(signer, kid):
    """A kid that is no printable ASCII text is dropped; the key is kept."""
    assert [key.kid for key in parse_keys(document(signer.jwk | {"kid": kid}))] == [""]


def test_duplicate_kids_are_two_keys(signer):
    """Two points under one kid are two keys: deliveries name none."""
    other = Signer("kid-1")

    assert [key.raw for key in parse_keys(key_document(signer, other))] == [
        signer.private.public_key().public_bytes_raw(),
        other.private.public_key().public_bytes_raw(),
    ]


def test_one_point_counts_once(signer):
    """A point that stands twice is one key, under its first kid."""
    again = signer.jwk | {"kid": "again", "x": signer.jwk["x"].rstrip("=")}

    assert parse_keys(document(signer.jwk, again)) == parse_keys(key_document(signer))


@pytest.mark.parametrize(
    "raw", [bytes(32), b"\x01" + bytes(31), b"\xff" * 32, b"\x02" + bytes(31)], ids=bytes.hex
)
def test_points_of_small_order_are_skipped(signer, raw):
    """A point of small order, off the curve or not canonical never becomes a key."""
    assert parse_keys(document(entry_of(raw), signer.jwk)) == parse_keys(key_document(signer))


@pytest.mark.parametrize("size", [0, 31, 33])
def test_a_key_has_32_bytes(size):
    """Any other number of bytes is no key."""
    with pytest.raises(BadKeySet) as refused:
        public_key(b"\x09" * size)

    assert str(refused.value) == "key set: not a valid Ed25519 point"


def test_sixteen_keys_are_the_limit():
    """Sixteen keys are taken, seventeen refuse the whole document."""
    signers = [Signer(str(number)) for number in range(MAX_KEYS + 1)]

    assert len(parse_keys(key_document(*signers[:MAX_KEYS]))) == MAX_KEYS
    with pytest.raises(BadKeySet) as refused:
        parse_keys(key_document(*signers))

    assert str(refused.value) == "key set: more than 16 keys"


def test_ten_thousand_keys_are_bounded(signer):
    """Ten thousand entries of one point are one key; ten thousand of junk are none."""
    assert len(parse_keys(document(*[signer.jwk] * 10_000))) == 1
    with pytest.raises(BadKeySet):
        parse_keys(document(*[signer.jwk | {"x": "A" * 43}] * 10_000))


@pytest.mark.parametrize(
    "raw, problem",
    [
        (b"", "key set: not JSON"),
        (b"<html></html>", "key set: not JSON"),
        (b"\xff\xfe", "key set: not JSON"),
        (b"[" * 100_000, "key set: not JSON"),
        (b"[]", NO_LIST),
        (b"null", NO_LIST),
        (b"7", NO_LIST),
        (b"{}", NO_LIST),
        (b'{"keys": null}', NO_LIST),
        (b'{"keys": {}}', NO_LIST),
        (b'{"keys": []}', NO_KEY),
        (b'{"keys": [null, 7, "x", [], {}]}', NO_KEY),
    ],
    ids=lambda value: str(value)[:24],
)
def test_documents_without_keys_are_refused(raw, problem):
    """A document that is no JSON object with a list of usable keys is refused with the reason."""
    with pytest.raises(BadKeySet) as refused:
        parse_keys(raw)

    assert str(refused.value) == problem


@given(
    st.one_of(
        st.binary(max_size=40),
        json_values.map(lambda value: json.dumps(value).encode()),
        st.lists(json_values, max_size=3).map(lambda entries: document(*entries)),
    )
)
def test_any_document_is_keys_or_bad_key_set(raw):
    """Any bytes are parsed or raise BadKeySet, and nothing else."""
    with pytest.raises(BadKeySet):
        parse_keys(raw)


@given(st.sampled_from(["kty", "crv", "x", "kid", "use", "alg", "d"]), json_values, json_objects)
def test_any_mutation_of_an_entry_is_skipped_or_the_same_key(signer, name, value, more):
    """A genuine entry with one member replaced by anything is skipped, or is the same point."""
    try:
        keys = parse_keys(document(more | signer.jwk | {name: value}))
    except BadKeySet:
        return
    assert [key.raw for key in keys] == [signer.private.public_key().public_bytes_raw()]


@given(texts)
def test_kids_are_ascii_or_empty(signer, kid):
    """Whatever the kid, the one of the key can stand in a record's header."""
    keys = parse_keys(document(signer.jwk | {"kid": kid}))

    assert keys[0].kid in (kid, "")
    assert keys[0].kid.isascii()


def test_key_set_is_known_by_its_document(signer):
    """A key set's identity is the SHA-256 of its document."""
    held = key_set(signer)

    assert held.sha256 == sha256(key_document(signer)).hexdigest()
