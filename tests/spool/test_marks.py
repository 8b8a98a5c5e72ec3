"""What a waiting record carries besides itself comes off before it leaves."""

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from consumer.core.event import NewRecord, Topic
from consumer.log.spool.marks import moved, problem_of, refused, size_of, unmarked, waiting_since
from consumer.ports import Position, Record

APPENDED = datetime(2026, 11, 1, 12, tzinfo=UTC)
EARLIER = datetime(2026, 11, 1, 11, tzinfo=UTC)

RECORDS = st.builds(
    NewRecord,
    st.sampled_from(Topic),
    st.text(st.characters(codec="utf-8"), max_size=5),
    st.binary(max_size=5),
    st.lists(st.tuples(st.sampled_from(["ce_id", "spool", "a"]), st.binary(max_size=3))).map(tuple),
)


def as_read(new: NewRecord) -> Record:
    return Record(Position(new.topic, 1, 7), new.key, new.value, new.headers, APPENDED)


@given(RECORDS, st.text(max_size=600))
def test_marks_come_off(new, problem):
    """A record that was moved, refused, or both, is again what it was."""
    assert new == unmarked(as_read(moved(new, EARLIER)))
    assert new == unmarked(as_read(refused(moved(new, EARLIER), problem)))


def test_a_moved_record_remembers_since_when_it_waits():
    """Moving twice keeps the first time; an unmoved record waits since it was appended."""
    new = NewRecord(Topic.RESULTS, "k", b"v", ())
    once = as_read(moved(new, EARLIER))
    twice = as_read(moved(unmarked(once), waiting_since(once)))

    assert (EARLIER, EARLIER) == (waiting_since(once), waiting_since(twice))
    assert waiting_since(as_read(new)) == APPENDED


def test_a_mark_that_is_no_time_is_passed_over():
    """A damaged mark costs only the age."""
    new = NewRecord(Topic.RESULTS, "k", b"v", (("spool-since", b"\xff"),))

    assert waiting_since(as_read(new)) == APPENDED


def test_a_refused_record_says_why():
    """The reason travels with the record, and is nothing for any other."""
    new = NewRecord(Topic.DEAD_LETTERS, "k", b"v", ())

    assert problem_of(as_read(refused(new, "too large"))) == "too large"
    assert problem_of(as_read(new)) == ""


def test_size_counts_marks():
    """What a waiting record takes is what was put in."""
    marked = moved(NewRecord(Topic.RESULTS, "k", b"v", ()), EARLIER)

    assert marked.size == size_of(as_read(marked))
