"""What was read and not yet asked for."""

from datetime import UTC, datetime

from consumer.core.event import Topic
from consumer.log.kafka.buffer import Buffer
from consumer.ports import Position, Record

A, B = (Topic.COMPLETIONS, 0), (Topic.RESULTS, 1)


def records(place, *offsets: int, size: int = 1) -> list[Record]:
    instant = datetime(2026, 1, 1, tzinfo=UTC)
    return [Record(Position(*place, offset), "key", b"x" * size, (), instant) for offset in offsets]


def taken(buffer: Buffer, count: int, without=()) -> list[tuple[str, int]]:
    return [(r.position.topic.value, r.position.offset) for r in buffer.take(count, without)]


def test_places_take_turns():
    """A place with much does not keep the others waiting, and each keeps its order."""
    buffer = Buffer(max_records=100, max_bytes=100)
    buffer.put(A, records(A, 0, 1, 2, 3))
    buffer.put(B, records(B, 7))

    assert [("completions", 0), ("completions", 1)] == taken(buffer, 2)
    assert [("results", 7), ("completions", 2)] == taken(buffer, 2)
    assert [("completions", 3)] == taken(buffer, 9)
    assert [] == taken(buffer, 9)


def test_what_is_left_out_stays():
    """A place that is left out keeps its records for later."""
    buffer = Buffer(max_records=100, max_bytes=100)
    buffer.put(A, records(A, 0))
    buffer.put(B, records(B, 7))

    assert [("results", 7)] == taken(buffer, 9, [A])
    assert [("completions", 0)] == taken(buffer, 9)


def test_full_is_full_but_for_places_with_nothing():
    """Full by count or by bytes, only a place that has nothing here may add."""
    for buffer in (Buffer(max_records=2, max_bytes=100), Buffer(max_records=9, max_bytes=20)):
        assert buffer.has_room(A)
        buffer.put(A, records(A, 0, 1, size=10))
        assert (False, True) == (buffer.has_room(A), buffer.has_room(B))
        buffer.take(1)
        assert buffer.has_room(A)


def test_cleared_it_holds_nothing():
    """What is forgotten frees its room."""
    buffer = Buffer(max_records=1, max_bytes=1)
    buffer.put(A, records(A, 0))
    buffer.clear()
    buffer.put(B, [])

    assert (0, True, []) == (len(buffer), buffer.has_room(A), taken(buffer, 9))
