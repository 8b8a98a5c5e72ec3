"""Room for so many things, and so many bytes of them."""

from datetime import timedelta

from consumer.receiving.limits import ReceiverLimits, Room


def test_room_is_bounded_by_count():
    """The thing beyond the count is refused until one is given back."""
    room = Room(max_count=2, max_bytes=100)

    taken = [room.maybe_take(1) for _ in range(3)]
    room.give_back(1)

    assert [True, True, False] == taken
    assert room.maybe_take(1)


def test_room_is_bounded_by_bytes():
    """Bytes up to the limit fit; one more does not, and takes nothing."""
    room = Room(max_count=10, max_bytes=100)

    assert room.maybe_take(60)
    assert not room.maybe_take(41)
    assert room.maybe_take(40)
    assert (2, 100) == (room.count, room.taken_bytes)


def test_the_answer_comes_within_the_senders_patience():
    """No setting of ours by default lets fal wait for its 15 s."""
    limits = ReceiverLimits()

    assert limits.answer_deadline < timedelta(seconds=15)
    assert max(limits.body_deadline, limits.publish_deadline) < limits.answer_deadline
