"""Answers of fal that drifted are kept, and the work goes on with what is known."""

from datetime import timedelta

import pytest

from consumer.core.drift import maybe_drift
from consumer.core.event import Topic
from consumer.core.policy import Done
from consumer.errors import LogUnavailable, RecordRefused, SchemaDrift
from consumer.handlers.drifting import KeepDrift
from consumer.ports import QueueStatus, StatusAnswer, SubmitOrder, SubmitUnknown
from consumer.testing.fal import FakeFal
from consumer.testing.log import MemoryLog
from tests.handlers.stage import ENDPOINT, R1, ManualClock, Stage

DRIFT = SchemaDrift("status", "queue_position", b'{"x":1}', expected="a number", came="text")


@pytest.fixture
def clock():
    """A clock that a test moves."""
    return ManualClock()


@pytest.fixture
def log(clock):
    """A log in memory."""
    return MemoryLog(clock=clock)


@pytest.fixture
def fal():
    """Fal in memory."""
    return FakeFal()


@pytest.fixture
def keeping(fal, log, clock):
    """The fake behind what keeps drifts."""
    return KeepDrift(fal, log, clock=clock)


def kept(log):
    """The letters: key, bytes and the field that drifted."""
    letters = log.records(Topic.DEAD_LETTERS)
    return [(one.key, one.value, maybe_drift(one.headers).where) for one in letters]


async def test_an_answer_that_could_be_used_is_kept_and_handed_on(keeping, fal, log):
    """A status that was read without one field comes through, and its body is a dead letter."""
    answer = StatusAnswer(QueueStatus.IN_QUEUE, drifts=(DRIFT,))
    fal.answer_next("status", answer)

    assert answer == await keeping.status(ENDPOINT, R1)
    assert kept(log) == [(R1, b'{"x":1}', "queue_position")]


@pytest.mark.parametrize("operation", ["status", "result", "cancel"])
async def test_an_answer_that_could_not_be_used_is_kept_and_raised(keeping, fal, log, operation):
    """A drift that is raised is raised still, after its body is durable."""
    drift = SchemaDrift(operation, "status", b"[]", expected="an object", came="a list")
    fal.answer_next(operation, drift)

    with pytest.raises(SchemaDrift):
        await getattr(keeping, operation)(ENDPOINT, R1)

    assert kept(log) == [(R1, b"[]", "status")]


async def test_the_same_drift_is_kept_once_in_a_while(keeping, fal, log, clock):
    """Every poll would bring the same letter: one in ten minutes is kept."""
    for minutes in (0, 1, 8, 2, 1):
        clock.advance(timedelta(minutes=minutes))
        fal.answer_next("status", StatusAnswer(QueueStatus.IN_QUEUE, drifts=(DRIFT,)))
        await keeping.status(ENDPOINT, R1)

    assert len(kept(log)) == 2


async def test_a_taken_job_without_a_readable_id_is_always_kept(keeping, fal, log):
    """The answer to a submit may hold the id in a form of the future: each is kept whole."""
    drift = SchemaDrift("submit", "request_id", b'{"id":7}', expected="a UUID", came="nothing")
    unknown = SubmitUnknown("unreadable_id", drift)
    fal.answer_next("submit", unknown, unknown)

    for _ in range(2):
        assert unknown == await keeping.submit(SubmitOrder(ENDPOINT, {}))

    assert kept(log) == [("", b'{"id":7}', "request_id")] * 2


async def test_a_submits_outcome_survives_a_log_that_fails(keeping, fal, log):
    """What became of a submit is told even where no copy of the answer could be kept."""
    drift = SchemaDrift("submit", "request_id", b"{}", expected="a UUID", came="nothing")
    fal.answer_next("submit", SubmitUnknown("unreadable_id", drift))
    log.refuse_next(LogUnavailable("down"))

    assert SubmitUnknown("unreadable_id") == await keeping.submit(SubmitOrder(ENDPOINT, {}))


async def test_an_answer_that_the_log_refuses_leaves_a_note(keeping, fal, log):
    """Too large for the log, it is told with its size and without its bytes."""
    fal.answer_next("status", StatusAnswer(QueueStatus.IN_QUEUE, drifts=(DRIFT,)))
    log.refuse_next(RecordRefused("dead-letters", "too large"))

    await keeping.status(ENDPOINT, R1)

    assert kept(log) == [(R1, b"", "queue_position")]


async def test_the_letter_of_a_drift_is_recorded_like_any_other():
    """The ledger's projection takes the letter, which is no event of ours, with its reason."""
    stage = Stage()
    keeping = KeepDrift(stage.fal, stage.log, clock=stage.clock)
    stage.fal.answer_next("status", StatusAnswer(QueueStatus.IN_QUEUE, drifts=(DRIFT,)))
    await keeping.status(ENDPOINT, R1)

    assert await stage.catch_up() == [Done()]
