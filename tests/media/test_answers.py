"""What a host answers is a file, a part of one, another try, or a no; and nothing else."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from consumer.media.answers import Again, Coming, coming
from consumer.media.places import MediaRefused

NAMES = (
    "Content-Length",
    "Content-Range",
    "Content-Type",
    "Content-Encoding",
    "Transfer-Encoding",
    "ETag",
    "Last-Modified",
    "Retry-After",
)
VALUES = st.one_of(
    st.text(max_size=20),
    st.integers().map(str),
    st.tuples(*[st.integers(0, 300)] * 3).map(lambda n: f"bytes {n[0]}-{n[1]}/{n[2]}"),
    st.integers(0, 300).map(lambda n: f"bytes */{n}"),
    st.sampled_from(["chunked", "gzip", "identity", "image/png", '"v1"', "\u00b2", "1_0", "+5"]),
)


@given(
    st.integers(100, 599) | st.sampled_from([200, 206, 416]),
    st.dictionaries(st.sampled_from(NAMES), VALUES),
    st.integers(0, 300),
    st.none() | st.integers(1, 300),
)
@example(206, {"Content-Range": "bytes 5-9/10", "Content-Length": "5"}, 5, 10)
@example(416, {"Content-Range": "bytes */10"}, 10, 10)
def test_any_answer_is_judged(status, headers, held, known):
    """Whatever comes, what is taken begins at the start or exactly where we stand."""
    try:
        found = coming(status, headers, held, known)
    except (MediaRefused, Again):
        return
    if found is None:
        assert held > 0
        return
    assert isinstance(found, Coming)
    assert found.start in (0, held)
    assert found.total is None or found.total > found.start
    if found.start:
        assert status == 206
        assert known in (None, found.total)


@pytest.mark.parametrize(
    "text, wait_s", [("5", 5.0), ("100000", 30.0), ("\u00b2", 0.0), ("-1", 0.0), ("soon", 0.0)]
)
def test_a_host_may_ask_for_a_short_wait(text, wait_s):
    """Retry-After is honoured in whole seconds, half a minute at most."""
    with pytest.raises(Again) as caught:
        coming(503, {"Retry-After": text}, 0, None)

    assert wait_s == caught.value.wait_s


@pytest.mark.parametrize(
    "headers, validator",
    [
        ({"ETag": '"v1"', "Last-Modified": "Mon, 30 Nov 2026 12:00:00 GMT"}, '"v1"'),
        ({"ETag": 'W/"v1"', "Last-Modified": "Mon, 30 Nov 2026 12:00:00 GMT"}, "Mon, 30"),
        ({"ETag": 'W/"v1"'}, ""),
        ({"ETag": '"a\r\nX: y"'}, ""),
    ],
)
def test_a_version_is_a_strong_tag_or_a_date(headers, validator):
    """What If-Range may carry is kept; what could break out of a header is not."""
    found = coming(200, {"Content-Length": "1", **headers}, 0, None)

    assert found is not None
    assert found.validator.startswith(validator)
    assert bool(validator) is bool(found.validator)
