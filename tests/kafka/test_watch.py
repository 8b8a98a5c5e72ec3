"""Whether reading goes on."""

from consumer.core.event import Topic
from consumer.log.kafka.watch import Standing, Watch

PLACE = (Topic.COMPLETIONS, 0)


def standing(position: int | None, end: int = 10, *, is_assigned: bool = True) -> Standing:
    return Standing(is_assigned, {PLACE: position}, {PLACE: end})


def watch() -> Watch:
    return Watch(stall_s=30, assignment_s=90)


def test_a_position_that_stands_still_before_the_end_is_a_stall():
    """It is told after the time, and not before."""
    seen = watch()

    assert None is seen.look(standing(5), 0)
    assert None is seen.look(standing(5), 29)
    told = seen.look(standing(5), 30)
    assert told is not None
    assert "completions/0 at 5 for 30 s" in told


def test_no_position_at_all_is_a_stall():
    """A place whose reading never began counts as well."""
    seen = watch()

    assert None is seen.look(standing(None), 0)
    assert None is not seen.look(standing(None), 30)


def test_movement_and_the_end_are_no_stall():
    """A position that moves, however slowly, or that is at the end, is none."""
    seen = watch()

    assert [None] * 5 == [seen.look(standing(n), 29.0 * n) for n in range(5)]
    assert [None] * 3 == [seen.look(standing(10), 1000.0 * n) for n in range(1, 4)]


def test_a_place_that_was_not_wanted_begins_anew():
    """The time in which nobody wanted a place does not count."""
    seen = watch()
    seen.look(standing(5), 0)
    seen.look(Standing(True, {}, {}), 20)

    assert None is seen.look(standing(5), 40)
    assert None is not seen.look(standing(5), 70)


def test_a_group_that_never_decides_is_a_stall():
    """Without an assignment for long, reading has stalled; having none of the places is fine."""
    seen = watch()

    assert None is seen.look(standing(5, is_assigned=False), 0)
    assert None is seen.look(standing(5, is_assigned=False), 89)
    assert None is not seen.look(standing(5, is_assigned=False), 90)
    assert None is seen.look(Standing(True, {}, {}), 91)
    assert None is seen.look(Standing(False, {}, {}), 92)
