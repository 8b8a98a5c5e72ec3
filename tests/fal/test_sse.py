"""Server-sent events, however the bytes are cut."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.errors import FalUnavailable
from consumer.fal.sse import EventReader

STREAM = (
    b"\xef\xbb\xbf: hello\n\n"
    b'data: {"a":1}\n\n'
    b": keep-alive\r\n\r\n"
    b"event: status\rid: 7\rretry: 10\rdata:x\rdata: y\r\r"
    b"data\r\n\r\n"
    b"unknown: z\n\n"
    b"data: cut before its end"
)
EVENTS = [b'{"a":1}', b"x\ny", b""]


@given(st.lists(st.integers(0, len(STREAM)), max_size=20))
def test_events_do_not_depend_on_the_cuts(cuts):
    """Any cutting of the stream gives the same events, comments and half events none."""
    reader, found, last = EventReader(1000), [], 0
    for cut in [*sorted(cuts), len(STREAM)]:
        found += reader.feed(STREAM[last:cut])
        last = cut

    assert found == EVENTS


@given(st.lists(st.binary(max_size=30), max_size=20))
def test_any_bytes_are_events_or_too_large(pieces):
    """No bytes raise anything but FalUnavailable, and what is kept is bounded."""
    reader = EventReader(50)
    for piece in pieces:
        try:
            found = reader.feed(piece)
        except FalUnavailable:
            return
        assert all(len(data) <= 50 for data in found)


@pytest.mark.parametrize("stream", [b"x" * 100, b"data: " + b"x" * 100, b"data: xxxx\n" * 20])
def test_an_endless_event_is_given_up(stream):
    """A line or an event without end is FalUnavailable, not memory."""
    with pytest.raises(FalUnavailable, match="too_large"):
        EventReader(50).feed(stream)
