"""Where new events go, as values: every order of what may happen."""

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from consumer.log.spool.course import (
    RETURN_AFTER,
    Course,
    acknowledge,
    fail,
    go_direct,
    miss,
    pause_of,
)

HAPPENINGS = st.lists(
    st.one_of(
        st.tuples(st.just("miss"), st.integers(0, 4)),
        st.sampled_from([("acknowledge",), ("fail",), ("go_direct",)]),
    )
)


def step(course: Course, happening: tuple) -> Course:
    match happening:
        case ("miss", back):
            return miss(course, course.epoch - back)
        case ("acknowledge",):
            return acknowledge(course)
        case ("fail",):
            return fail(course)
        case _:
            return go_direct(course)


def course_after(happenings: list[tuple]) -> Course:
    course = Course()
    for happening in happenings:
        course = step(course, happening)
    return course


@given(HAPPENINGS, HAPPENINGS)
def test_epochs_count_the_returns(before, after):
    """The epoch rises by one with each return to Kafka, and with nothing else."""
    course = course_after(before)

    for happening in after:
        following = step(course, happening)
        is_return = following.is_direct and not course.is_direct
        assert course.epoch + is_return == following.epoch
        course = following


@given(HAPPENINGS)
def test_a_miss_of_an_earlier_epoch_says_nothing(happenings):
    """A send that began before the last return has no say about now."""
    course = course_after(happenings)

    assert course == miss(course, course.epoch - 1)


@given(HAPPENINGS)
def test_a_miss_of_now_turns_away(happenings):
    """A live send that got no answer sends the next events to the spool."""
    course = course_after(happenings)

    assert not miss(course, course.epoch).is_direct


@given(HAPPENINGS)
def test_enough_acknowledged_sends_lead_back(happenings):
    """From wherever it stands, so many acknowledged sends make it direct."""
    course = course_after(happenings)

    for _ in range(RETURN_AFTER):
        course = acknowledge(course)

    assert course.is_direct


def test_failures_between_acknowledgements_do_not_undo_them():
    """Where some records go and some do not, the topic comes back all the same."""
    course = miss(Course(), 0)
    for _ in range(RETURN_AFTER):
        course = acknowledge(fail(fail(course)))

    assert course.is_direct


@given(HAPPENINGS)
def test_failures_never_turn_a_course(happenings):
    """A try from the spool that got no answer changes no direction."""
    course = course_after(happenings)

    assert course.is_direct == fail(course).is_direct


@given(HAPPENINGS)
def test_pauses_are_bounded(happenings):
    """No pause is over a second, and a direct course knows none."""
    course = course_after(happenings)

    assert timedelta(0) <= pause_of(course) <= timedelta(seconds=1)
    assert not course.is_direct or pause_of(course) == timedelta(0)


def test_pauses_grow_with_failures():
    """Each failure in a row makes the pause longer, up to the longest."""
    course = miss(Course(), 0)
    pauses = []
    for _ in range(10):
        pauses.append(pause_of(course))
        course = fail(course)

    assert sorted(pauses) == pauses
    assert (timedelta(0), timedelta(seconds=1)) == (pauses[0], pauses[-1])
