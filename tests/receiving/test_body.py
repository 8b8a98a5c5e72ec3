"""Reading bodies: what is counted as in memory, and when it is given back."""

import pytest

from consumer.errors import DeliveryTooLarge, Unavailable
from consumer.receiving.body import Bodies
from consumer.receiving.limits import ReceiverLimits


class WholeBody:
    """The two things of a request that reading a whole body uses."""

    def __init__(self, body, declared):
        self.content_length = declared
        self.content = self
        self._body = body

    def is_eof(self):
        return True

    def exception(self):
        return None

    def read_nowait(self):
        return self._body


async def test_a_whole_body_is_counted_until_it_is_given_back():
    """Bodies count together from their reading to their giving back."""
    bodies = Bodies(ReceiverLimits(max_reading_bytes=10))

    first = await bodies.maybe_read(WholeBody(b"123456", 6))
    with pytest.raises(Unavailable):
        await bodies.maybe_read(WholeBody(b"12345", 5))
    bodies.give_back(len(first))

    assert b"12345" == await bodies.maybe_read(WholeBody(b"12345", 5))
    assert 5 == bodies.taken_bytes


@pytest.mark.parametrize("declared", [11, None])
async def test_a_whole_body_over_the_limit_takes_nothing(declared):
    """A body over the limit is refused, declared or not, and nothing stays counted."""
    bodies = Bodies(ReceiverLimits(max_body_bytes=10))

    with pytest.raises(DeliveryTooLarge):
        await bodies.maybe_read(WholeBody(b"x" * 11, declared))

    assert 0 == bodies.taken_bytes
