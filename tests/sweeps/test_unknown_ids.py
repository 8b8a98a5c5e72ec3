"""Ids that fal does not know: one is lost in time, many at once raise an alarm instead."""

from consumer.core.fact import FactName, Witness
from consumer.core.standing import State
from consumer.ports import QueueStatus, StatusAnswer
from tests.handlers.stage import MINUTE, R1, SECOND
from tests.sweeps.rounds import after, told

MANY = [f"019f7085-1439-7320-9a28-{n:012x}" for n in range(12)]


async def test_not_found_twice_is_lost(stage):
    """An id that fal does not know, twice and five minutes apart, is lost; once it is not."""
    await stage.tracked()
    stage.fal.forget(R1)
    await after(stage, MINUTE)
    once = await stage.request()

    await after(stage, 5 * MINUTE - SECOND)
    before = stage.calls("status")
    await after(stage, SECOND)

    assert (State.SUBMITTED, True) == (once.state, once.is_open)
    assert 1 == before
    assert [("lost", "not_found", "sweep")] == told(stage, "outcome", "reason", "witness")


async def test_not_found_and_known_again_is_not_lost(stage):
    """An id that fal knows again has its own end."""
    await stage.tracked()
    job = stage.fal.jobs.pop(R1)
    await after(stage, MINUTE)
    stage.fal.jobs[R1] = job
    stage.fal.finish(R1, {})

    await after(stage, 5 * MINUTE)

    assert [("succeeded",)] == told(stage, "outcome")


async def test_not_found_after_a_cancel_is_cancelled(stage):
    """An id that fal does not know after a cancel was asked is cancelled, at once."""
    await stage.tracked()
    await stage.fact(FactName.CANCEL_ASKED, Witness.COMMAND)
    stage.fal.forget(R1)

    await after(stage, MINUTE)

    assert [("cancelled", "asked")] == told(stage, "outcome", "reason")


async def test_many_unknown_ids_raise_an_alarm_and_lose_nothing(stage):
    """A round of unknown ids tells nothing and raises an alarm, which known ids clear."""
    for request_id in MANY:
        await stage.tracked(request_id)
    jobs, stage.fal.jobs = stage.fal.jobs, {}
    facts = len(stage.fact_names())

    for wait in (1, 6, 6, 60):
        await after(stage, wait * MINUTE)
    alarmed = stage.reconcile.alarm
    quiet = (len(stage.fact_names()), stage.told())
    stage.fal.jobs = jobs
    for request_id in MANY:
        stage.fal.finish(request_id, {})
    await after(stage, 6 * MINUTE)

    assert alarmed is not None
    assert "12 requests" in alarmed
    assert (facts, []) == quiet
    assert stage.reconcile.alarm is None
    assert 12 == len(stage.told())


async def test_unknown_ids_that_come_one_by_one_raise_it_too(stage):
    """A wrong key is noticed where requests fall due one by one, before one of them is lost."""
    stage.fal.answer_next("status", *[StatusAnswer(QueueStatus.NOT_FOUND)] * 1000)
    for request_id in MANY:
        await stage.tracked(request_id)
        stage.clock.advance(5 * SECOND)

    for _ in range(30 * 12):
        await after(stage, 5 * SECOND)

    assert stage.reconcile.alarm is not None
    assert [] == stage.told()


async def test_one_known_id_ends_the_count(stage):
    """Single unknown ids between known ones raise no alarm, however many there were."""
    for request_id in MANY:
        await stage.tracked(request_id, has_callback=False)
        stage.fal.forget(request_id)
        await after(stage, SECOND)
        known = request_id.replace("019f7085", "019f7086")
        await stage.tracked(known, has_callback=False)
        stage.fal.finish(known, {})
        await after(stage, SECOND)

    assert stage.reconcile.alarm is None
    assert 12 == stage.fact_names().count("not_found")


async def test_cancelled_ids_that_are_gone_raise_no_alarm(stage):
    """Many ids that fal forgot after a cancel are cancelled, and no reason for alarm."""
    for request_id in MANY:
        await stage.tracked(request_id)
        await stage.fact(FactName.CANCEL_ASKED, Witness.COMMAND, request_id=request_id)
        stage.fal.forget(request_id)

    await after(stage, MINUTE)

    assert stage.reconcile.alarm is None
    assert [("cancelled",)] * 12 == told(stage, "outcome")
