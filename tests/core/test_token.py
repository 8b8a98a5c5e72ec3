"""Tokens: only ours say anything, whatever else is tried."""

import json
from base64 import urlsafe_b64encode
from hashlib import sha256
from hmac import digest

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from consumer.core.token import (
    MAX_TOKEN_CHARS,
    Token,
    callback_url,
    is_key_set_proof,
    parse_token,
    sign_key_set,
    sign_token,
)
from consumer.errors import BadToken
from tests.core.strategies import json_objects, json_values, texts

OLD, NEW, FOREIGN = b"o" * 32, b"n" * 32, b"f" * 32
TOKEN = Token("fal-ai/flux-2", "sub_1")
CLAIMS = {"aud": "fal-consumer/callback", "end": "fal-ai/flux-2", "sub": "sub_1"}


def b64(raw: bytes) -> str:
    return urlsafe_b64encode(raw).rstrip(b"=").decode()


def forged(header, claims, secret: bytes = OLD) -> str:
    """Return a token with these parts, signed with HMAC whatever its header says."""
    signed = f"{b64(json.dumps(header).encode())}.{b64(json.dumps(claims).encode())}"
    return f"{signed}.{b64(digest(secret, signed.encode(), sha256))}"


segments = st.from_regex(r"[A-Za-z0-9_-]{1,20}", fullmatch=True)


@given(st.builds("{}/{}".format, segments, segments), st.one_of(st.just(""), texts))
def test_what_is_signed_is_parsed(endpoint, submission_id):
    """A token survives signing and parsing, with and without a submission."""
    token = Token(f"x{endpoint}", submission_id)

    assert parse_token(sign_token(token, [OLD]), [OLD]) == token


def test_ours_fit_a_path_segment():
    """A token is URL-safe text, well below the limit."""
    text = sign_token(Token("a" * 127 + "/" + "b" * 128, "sub_" + "0" * 32), [OLD])

    assert set(text) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.")
    assert len(text) < MAX_TOKEN_CHARS / 2


@pytest.mark.parametrize("public_url", ["https://hooks.example.com", "https://hooks.example.com/"])
def test_a_callback_url_ends_in_a_token_of_ours(public_url):
    """The path is the receiver's, with the token as its last segment; no slash is doubled."""
    base, _, token = callback_url(public_url, TOKEN, [OLD]).rpartition("/")

    assert "https://hooks.example.com/webhooks/fal" == base
    assert TOKEN == parse_token(token, [OLD])


def test_the_first_secret_signs_and_all_verify():
    """A secret added last verifies at once, and signs after it was moved first."""
    before, added, moved = [OLD], [OLD, NEW], [NEW, OLD]

    assert parse_token(sign_token(TOKEN, before), added) == TOKEN
    assert parse_token(sign_token(TOKEN, added), before) == TOKEN
    assert parse_token(sign_token(TOKEN, moved), added) == TOKEN
    with pytest.raises(BadToken) as refused:
        parse_token(sign_token(TOKEN, moved), before)

    assert str(refused.value) == "token: signed with none of our secrets"


def test_no_secret_proves_nothing():
    """Without a secret nothing is a token."""
    with pytest.raises(BadToken):
        parse_token(sign_token(TOKEN, [OLD]), [])


@pytest.mark.parametrize(
    "header",
    [
        {"alg": "none"},
        {"alg": "None"},
        {"alg": "HS512"},
        {"alg": "HS384"},
        {"alg": "RS256"},
        {"alg": "EdDSA"},
        {"alg": ["HS256"]},
        {"alg": None},
        {},
        [],
        None,
        {"alg": "HS256", "crit": ["exp"]},
        {"alg": "HS256", "b64": False},
        {"alg": "HS256", "kid": 7},
    ],
    ids=str,
)
def test_other_headers_are_not_ours(header):
    """Another algorithm, a critical extension or a strange header is refused, signed or not."""
    text = forged(header, CLAIMS)

    with pytest.raises(BadToken):
        parse_token(text, [OLD])
    with pytest.raises(BadToken):
        parse_token(text.rpartition(".")[0] + ".", [OLD])


def test_other_algorithms_of_the_library_are_not_ours():
    """Tokens that PyJWT itself signs with HS512 or a key pair are refused."""
    private = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
    public = private.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )

    for text, secret in (
        (jwt.encode(CLAIMS, OLD * 2, algorithm="HS512"), OLD * 2),
        (jwt.encode(CLAIMS, private, algorithm="EdDSA"), OLD),
        (forged({"alg": "RS256"}, CLAIMS, public), OLD),
    ):
        with pytest.raises(BadToken):
            parse_token(text, [secret])


@pytest.mark.parametrize(
    "change",
    [
        {"aud": "fal-consumer/keyset"},
        {"aud": "other"},
        {"aud": ["other"]},
        {"aud": None},
        {"aud": 7},
        {"end": None},
        {"end": 7},
        {"end": ["a/b"]},
        {"end": ""},
        {"end": "../../x"},
        {"end": "\ud800/\0"},
        {"end": "https://elsewhere.example/a"},
        {"end": "a/b" * 200},
        {"sub": 7},
        {"sub": None},
        {"sub": {"a": 1}},
        {"sub": "s" * 257},
        {"jti": 7},
    ],
    ids=str,
)
def test_other_claims_are_not_ours(change):
    """A signed token for another audience, endpoint form or subject form is refused."""
    with pytest.raises(BadToken):
        parse_token(forged({"alg": "HS256", "typ": "JWT"}, CLAIMS | change), [OLD])


@pytest.mark.parametrize("name", ["aud", "end"])
def test_audience_and_endpoint_are_required(name):
    """A signed token without audience or endpoint is refused."""
    claims = {key: value for key, value in CLAIMS.items() if key != name}

    with pytest.raises(BadToken):
        parse_token(forged({"alg": "HS256"}, claims), [OLD])


@pytest.mark.parametrize("claims", [{"exp": 1}, {"nbf": 99999999999}, {"iat": 99999999999}])
def test_no_clock_is_asked(claims):
    """Expiry, start and issue time are not judged: jobs queue for hours, clocks differ."""
    assert parse_token(forged({"alg": "HS256"}, CLAIMS | claims), [OLD]) == TOKEN


def test_oversize_is_refused_unread():
    """A text over the limit is refused before anything is decoded."""
    with pytest.raises(BadToken) as refused:
        parse_token("a" * (MAX_TOKEN_CHARS + 1), [OLD])

    assert str(refused.value) == "token: too long"


def test_deep_header_is_refused():
    """A header nested as deeply as fits is refused."""
    with pytest.raises(BadToken):
        parse_token(f"{b64(b'[' * 1500)}.e30.AA", [OLD])


@given(st.one_of(texts, st.lists(texts, min_size=3, max_size=3).map(".".join)))
def test_any_text_is_bad_token(text):
    """Any text that we did not sign raises BadToken, and nothing else."""
    with pytest.raises(BadToken):
        parse_token(text, [OLD, NEW])


@given(st.one_of(json_values, json_objects.map(lambda more: CLAIMS | more)))
def test_any_signed_claims_are_a_token_or_bad(claims):
    """Whatever was signed with our secret is a token or raises BadToken, and nothing else."""
    text = forged({"alg": "HS256"}, claims)
    try:
        token = parse_token(text, [OLD])
    except BadToken:
        return
    assert parse_token(sign_token(token, [NEW]), [NEW]) == token


@given(
    st.one_of(st.just({"alg": "HS256", "typ": "JWT"}), json_objects),
    st.one_of(
        json_objects.map(lambda more: CLAIMS | more),
        st.dictionaries(st.sampled_from(["aud", "end", "sub"]), json_values),
        st.sampled_from(sorted(CLAIMS)).map(lambda name: {**CLAIMS, name: [CLAIMS[name]]}),
    ),
    st.sampled_from([OLD, NEW, FOREIGN]),
)
def test_what_is_a_token_here_is_one_for_the_library_too(header, claims, secret):
    """No token passes that PyJWT refuses or reads otherwise, in our own form least of all."""
    text = forged_as_the_library_writes(header, claims, secret)
    try:
        token = parse_token(text, [OLD, NEW])
    except BadToken:
        return
    read = jwt.decode(
        text, secret, algorithms=["HS256"], audience=CLAIMS["aud"], options={"verify_iat": False}
    )
    assert Token(read["end"], read.get("sub", "")) == token
    assert secret != FOREIGN


def forged_as_the_library_writes(header, claims, secret: bytes) -> str:
    """Return a token in the byte form of PyJWT, signed with HMAC whatever its header says."""
    parts = [json.dumps(part, separators=(",", ":")).encode() for part in (header, claims)]
    signed = ".".join(map(b64, parts))
    return f"{signed}.{b64(digest(secret, signed.encode(), sha256))}"


@given(st.integers(0, 400), texts)
def test_any_change_of_a_token_is_refused(place, put):
    """A genuine token with a character replaced is refused, or is spelt otherwise."""
    text = sign_token(TOKEN, [OLD])
    place %= len(text)
    changed = text[:place] + put + text[place + 1 :]
    try:
        assert parse_token(changed, [OLD]) == TOKEN
    except BadToken:
        assert changed != text


def test_key_set_proof_proves_its_own_set_only():
    """A proof holds for its own key set, under one of our secrets, and for nothing else."""
    proof = sign_key_set("aa", [OLD])

    assert is_key_set_proof(proof, "aa", [NEW, OLD])
    assert not is_key_set_proof(proof, "bb", [OLD])
    assert not is_key_set_proof(proof, "aa", [FOREIGN])
    assert not is_key_set_proof(sign_token(TOKEN, [OLD]), "aa", [OLD])
    assert not is_key_set_proof("", "aa", [OLD])


def test_audiences_are_told_apart():
    """The proof on a key set is no callback token."""
    with pytest.raises(BadToken):
        parse_token(sign_key_set("aa", [OLD]), [OLD])
