"""The grammar of the four headers and the tolerance of the timestamp."""

from datetime import timedelta
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.core.delivery import (
    REQUEST_ID_HEADER,
    SIGNATURE_HEADER,
    TIMESTAMP_HEADER,
    TIMESTAMP_TOLERANCE,
    USER_ID_HEADER,
    Delivery,
    SignedHeaders,
    check_timestamp,
    read_headers,
)
from consumer.errors import DeliveryError, ExpiredTimestamp, MalformedDelivery
from tests.core.strategies import NOW, big_digits, texts

NAMES = (REQUEST_ID_HEADER, USER_ID_HEADER, TIMESTAMP_HEADER, SIGNATURE_HEADER)
GENUINE = {
    REQUEST_ID_HEADER: "r",
    USER_ID_HEADER: "github|1",
    TIMESTAMP_HEADER: "1784206014",
    SIGNATURE_HEADER: "a" * 128,
}
PAIRS = [(name.encode(), value.encode()) for name, value in GENUINE.items()]


def stamped(timestamp: str) -> SignedHeaders:
    return SignedHeaders("r", "u", timestamp, "0" * 128)


@given(st.tuples(*[st.one_of(texts, big_digits, st.sampled_from(list(GENUINE.values())))] * 4))
def test_any_text_is_headers_or_malformed(values):
    """Any four texts make headers that can be converted, or raise a DeliveryError."""
    try:
        headers = SignedHeaders(*values)
    except DeliveryError as error:
        status = error.http_status
    else:
        status = 400
        assert len(bytes.fromhex(headers.signature)) == 64
        assert 0 <= int(headers.timestamp) < 10**12
    assert status == 400


raw_values = st.one_of(st.binary(max_size=20), big_digits.map(str.encode), st.just(b"1"))
raw_names = st.one_of(st.sampled_from(NAMES).map(str.encode), st.binary(max_size=9))


@given(st.lists(st.tuples(raw_names, raw_values), max_size=6), st.booleans())
def test_any_raw_headers_are_read_or_refused(pairs, is_near_valid):
    """Any raw header list is read or raises a DeliveryError, duplicates and junk included."""
    status = 400
    try:
        read_headers([*PAIRS, *pairs] if is_near_valid else pairs)
    except DeliveryError as error:
        status = error.http_status
    assert status == 400


@given(st.permutations(PAIRS), st.sampled_from([bytes.lower, bytes.upper, bytes.title]))
def test_names_stand_in_any_order_and_case(pairs, cased):
    """Header names are read in any order and case, others beside them are ignored."""
    mixed = [(cased(name), value) for name, value in pairs]

    headers = read_headers([(b"Accept", b"*/*"), *mixed, (b"Accept", b"\xff")])

    assert SignedHeaders(*GENUINE.values()) == headers


@pytest.mark.parametrize("name", NAMES)
def test_each_header_stands_exactly_once(name):
    """A header that is missing or sent twice is named in the refusal."""
    without = [pair for pair in PAIRS if pair[0] != name.encode()]
    twice = [*PAIRS, (name.upper().encode(), b"1")]

    with pytest.raises(MalformedDelivery) as missing:
        read_headers(without)
    with pytest.raises(MalformedDelivery) as repeated:
        read_headers(twice)

    assert f"{name}: missing" == str(missing.value)
    assert f"{name}: sent twice" == str(repeated.value)


def test_refusal_tells_the_length_and_not_the_value():
    """A header outside its grammar is described by its length, never shown."""
    with pytest.raises(MalformedDelivery) as refused:
        stamped("secret")

    assert f"{TIMESTAMP_HEADER}: expected 1 to 12 decimal digits, got 6 characters" == str(
        refused.value
    )


@pytest.mark.parametrize(
    "place, longest", [(0, "!" * 256), (1, "~" * 256), (2, "9" * 12), (3, "f" * 128)]
)
def test_each_header_has_its_longest_form(place, longest):
    """The longest form of each header is accepted, and one character more is refused."""
    values = list(GENUINE.values())
    values[place] = longest
    assert SignedHeaders(*values)

    values[place] += longest[0]
    with pytest.raises(MalformedDelivery):
        SignedHeaders(*values)


@pytest.mark.parametrize("seconds", [-300, -299, 0, 300])
def test_timestamps_within_the_tolerance_pass(seconds):
    """A timestamp up to 300 s away, either way, is accepted, the edge included."""
    headers = stamped(str(int(NOW.timestamp())))

    check_timestamp(headers, now=NOW + timedelta(seconds=seconds))


@pytest.mark.parametrize("seconds", [-300.001, -301, 300.001, 301, 10**9])
def test_timestamps_beyond_the_tolerance_expire(seconds):
    """A timestamp further than 300 s away, either way, raises ExpiredTimestamp with its age."""
    headers = stamped(str(int(NOW.timestamp())))

    with pytest.raises(ExpiredTimestamp) as expired:
        check_timestamp(headers, now=NOW + timedelta(seconds=seconds))

    assert round(seconds) == expired.value.age_s
    assert expired.value.http_status == 401
    assert f"timestamp is {round(seconds)} s away from our clock" == str(expired.value)


@given(st.from_regex(r"[0-9]{1,12}", fullmatch=True))
def test_every_timestamp_of_the_grammar_can_be_judged(timestamp):
    """Twelve digits always fit the arithmetic: accepted or expired, never anything else."""
    age_s = abs(NOW.timestamp() - int(timestamp))
    try:
        check_timestamp(stamped(timestamp), now=NOW)
    except ExpiredTimestamp:
        assert age_s > TIMESTAMP_TOLERANCE.total_seconds()
    else:
        assert age_s <= TIMESTAMP_TOLERANCE.total_seconds()


def test_body_is_hashed_once():
    """The body's hash is lower-case hex, the same at each reading, and no part of equality."""
    delivery, other = (Delivery(stamped("1"), b"body", NOW) for _ in range(2))

    assert sha256(b"body").hexdigest() == delivery.body_sha256
    assert delivery.body_sha256 is delivery.body_sha256
    assert other == delivery


def test_nothing_secret_in_the_representation():
    """A delivery's representation holds no body."""
    assert "body" not in repr(Delivery(stamped("1"), b"a body", NOW)).replace("_body", "")
