"""
Where new events of a topic go, Kafka or the spool, and how a backlog feels its way back.

Pure: values in, values out, no clock. A topic's course is `direct` until a live send fails;
then it is away until some sends from the spool are acknowledged. What becomes of one topic
(its rights, its partitions) says nothing of the others, so each has a course of its own.
"""

from dataclasses import dataclass, replace
from datetime import timedelta

RETURN_AFTER = 3
"""So many acknowledged sends from the spool, and new events go to Kafka again."""

_PAUSES = tuple(timedelta(milliseconds=ms) for ms in (0, 50, 100, 200, 400, 800, 1000))
# After so many failures in a row; the last one for all beyond. A broker that is back is
# found within a second.


@dataclass(frozen=True, slots=True)
class Course:
    """
    What is known of one topic in Kafka.

    `epoch` counts the returns to Kafka, so that a send which began before the last one has
    no say about now. `acknowledged` and `failures` (in a row) count tries while away.
    """

    is_direct: bool = True
    epoch: int = 0
    acknowledged: int = 0
    failures: int = 0


def miss(course: Course, epoch: int) -> Course:
    """Return the course after a live send that began in `epoch` got no answer in time."""
    if not course.is_direct or epoch != course.epoch:
        return course
    return replace(course, is_direct=False, acknowledged=0, failures=0)


def acknowledge(course: Course) -> Course:
    """Return the course after Kafka took a record that had waited in the spool."""
    if course.is_direct:
        return course
    if course.acknowledged + 1 >= RETURN_AFTER:
        return go_direct(course)
    return replace(course, acknowledged=course.acknowledged + 1, failures=0)


def fail(course: Course) -> Course:
    """Return the course after a try from the spool got no answer."""
    if course.is_direct:
        return course
    return replace(course, failures=course.failures + 1)


def go_direct(course: Course) -> Course:
    """Return the course once Kafka answers again."""
    if course.is_direct:
        return course
    return Course(is_direct=True, epoch=course.epoch + 1)


def pause_of(course: Course) -> timedelta:
    """Return how long to wait before the next try from the spool."""
    if course.is_direct:
        return _PAUSES[0]
    return _PAUSES[min(course.failures, len(_PAUSES) - 1)]
