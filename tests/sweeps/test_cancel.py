"""Stale requests: what is cancelled, when, and what never is."""

from datetime import timedelta

import pytest

from consumer.core.event import format_time
from consumer.core.fact import FactName, Witness
from consumer.core.policy import Policies
from consumer.core.standing import State
from consumer.errors import FalRefused, FalUnavailable, LogUnavailable, SchemaDrift
from consumer.ports import CancelAnswer
from tests.handlers.stage import (
    ENDPOINT,
    HOUR,
    MINUTE,
    R1,
    R2,
    SECOND,
    T0,
    Countdown,
    Stage,
    World,
    run_to_death,
)

LIMIT = 10 * MINUTE
FINISH_BY = {"finish_by": format_time(T0 + LIMIT)}
START_BY = {"start_by": format_time(T0 + LIMIT)}


def limited() -> Stage:
    """Return a stage where requests queued for ten minutes are cancelled."""
    return Stage(World(policies=Policies(cancel_queued_after=LIMIT)))


async def after(stage: Stage, span: timedelta) -> None:
    """Let time pass, then one round, then the ledger learn of it."""
    stage.clock.advance(span)
    await stage.cancel.round()
    await stage.catch_up()


def asked(stage: Stage) -> list[tuple[str, str]]:
    return [call for call in stage.fal.calls if call[0] == "cancel"]


async def test_a_finish_deadline_cancels(stage):
    """A request past its finish deadline is cancelled, its status asked right before."""
    await stage.tracked(**FINISH_BY)
    await after(stage, LIMIT - SECOND)
    before = list(stage.fal.calls)

    await after(stage, SECOND)

    assert [] == before
    assert [("status", R1), ("cancel", R1)] == stage.fal.calls
    [told] = stage.told()
    assert ("cancelled", "finish_deadline", "cancel") == (
        told["outcome"],
        told["reason"],
        told["witness"],
    )
    assert State.CANCELLED == (await stage.request()).state


async def test_a_running_request_has_only_its_finish_deadline(stage):
    """A request that runs is not cancelled by its start deadline."""
    await stage.tracked(**START_BY)
    stage.fal.start(R1)

    await after(stage, LIMIT)

    assert ("status", R1) == stage.fal.calls[-1]
    assert [] == asked(stage)


async def test_a_start_deadline_cancels_what_is_queued(stage):
    """A request that is still queued at its start deadline is cancelled."""
    await stage.tracked(**START_BY)

    await after(stage, LIMIT)

    assert ["start_deadline"] == [told["reason"] for told in stage.told()]


async def test_queued_for_too_long_is_cancelled():
    """A request that is queued for longer than configured is cancelled."""
    stage = limited()
    await stage.tracked()
    await after(stage, LIMIT - SECOND)
    before = asked(stage)

    await after(stage, SECOND)

    assert [] == before
    assert ["queue_wait"] == [told["reason"] for told in stage.told()]


async def test_by_default_nothing_is_cancelled(stage):
    """Without a deadline and without the setting no request is cancelled."""
    await stage.tracked()

    await after(stage, 24 * HOUR)

    assert [] == stage.fal.calls


async def test_what_nobody_tracks_is_never_cancelled():
    """A request that nobody submitted or tracked is not even asked about."""
    stage = limited()
    stage.fal.add(ENDPOINT, R1)
    await stage.fact(FactName.QUEUED, Witness.STATUS, detail={"position": 3})

    await after(stage, 24 * HOUR)

    assert [] == stage.fal.calls


async def test_what_has_ended_is_not_asked_about():
    """A request with an end is not cancelled."""
    stage = limited()
    await stage.tracked()
    await stage.webhook()
    await stage.catch_up()

    await after(stage, LIMIT)

    assert [] == stage.fal.calls


@pytest.mark.parametrize(
    "answer, name",
    [
        (CancelAnswer.REMOVED, FactName.CANCELLED),
        (CancelAnswer.REQUESTED, FactName.CANCEL_ACCEPTED),
        (CancelAnswer.ALREADY_COMPLETED, FactName.CANCEL_REFUSED),
        (CancelAnswer.NOT_FOUND, FactName.CANCEL_REFUSED),
    ],
)
async def test_every_answer_is_recorded_and_asked_for_once(stage, answer, name):
    """Policy and answer of every cancel are a fact, and the request is not asked twice."""
    await stage.tracked(**FINISH_BY)
    stage.fal.answer_next("cancel", answer)

    await after(stage, LIMIT)
    await after(stage, HOUR)

    told = [fact for fact in stage.told_facts() if fact.name is name]
    expected = {"policy": "finish_deadline", "status": "IN_QUEUE", "answer": answer.value}
    assert [expected] == [fact.detail for fact in told]
    assert 1 == len(asked(stage))


@pytest.mark.parametrize("dies_at", range(3, 12))
async def test_a_cut_between_asking_and_the_answer_asks_again(dies_at):
    """Killed anywhere in a cancellation, the next process carries it through."""
    world = World()
    stage = Stage(world, countdown=Countdown(dies_at))
    await stage.restarted().tracked(**FINISH_BY)
    world.clock.advance(LIMIT)
    assert await run_to_death(stage.cancel.round)

    stage = stage.restarted()
    await stage.catch_up()
    for _ in range(3):
        await after(stage, 4 * MINUTE)
        await stage.reconcile.round()
        await stage.fetch_all()

    assert State.CANCELLED == (await stage.request()).state
    assert ["cancelled"] == [told["outcome"] for told in stage.told()]


async def test_a_failed_cancel_is_asked_again(stage):
    """A cancel that fal did not answer leaves its mark and is asked again."""
    await stage.tracked(**FINISH_BY)
    stage.fal.answer_next("cancel", FalUnavailable("down"))

    await after(stage, LIMIT)
    marks = stage.fact_names()
    await after(stage, MINUTE)

    assert ["tracked", "cancel_asked"] == marks
    assert 2 == len(asked(stage))
    assert State.CANCELLED == (await stage.request()).state


@pytest.mark.parametrize("error", [FalUnavailable("down"), FalRefused(403, "no")])
async def test_one_that_cannot_be_asked_about_holds_up_no_other(stage, error):
    """A request whose status fal does not give is put off; the others are cancelled."""
    await stage.tracked(R1, finish_by=format_time(T0 + SECOND))
    await stage.tracked(R2, finish_by=format_time(T0 + 2 * SECOND))
    stage.fal.answer_next("status", error)

    await after(stage, MINUTE)
    first = asked(stage)
    await after(stage, MINUTE)

    assert [("cancel", R2)] == first
    assert [("cancel", R2), ("cancel", R1)] == asked(stage)


async def test_a_spurious_unknown_id_does_not_end_the_watch(stage):
    """A request that fal does not know for a moment is looked at again."""
    await stage.tracked(**FINISH_BY)
    job = stage.fal.jobs.pop(R1)
    await after(stage, LIMIT)
    stage.fal.jobs[R1] = job

    await after(stage, MINUTE)

    assert [("cancel", R1)] == asked(stage)


async def test_a_running_request_is_cancelled_at_its_finish_deadline(stage):
    """A request that had started by its start deadline is looked at again at the other one."""
    await stage.tracked(**START_BY, finish_by=format_time(T0 + LIMIT + 20 * SECOND))
    stage.fal.start(R1)
    await after(stage, LIMIT)
    before = asked(stage)

    await after(stage, 20 * SECOND)

    assert [] == before
    assert [("cancel", R1)] == asked(stage)


async def test_a_log_that_is_away_is_told_to_the_loop(stage):
    """Without a log the round fails, nothing is asked, and the row is due again soon."""
    await stage.tracked(**FINISH_BY)
    stage.clock.advance(LIMIT)
    stage.log.refuse_next(LogUnavailable("away"))
    with pytest.raises(LogUnavailable):
        await stage.cancel.round()
    before = asked(stage)

    await after(stage, 2 * SECOND)

    assert [] == before
    assert [("cancel", R1)] == asked(stage)


@pytest.mark.parametrize("error", [FalRefused(403, "no"), SchemaDrift("cancel", "new", b"")])
async def test_a_remembered_cancel_that_fails_is_tried_again(stage, error):
    """A remembered cancel that fal refuses does not leave the row to its lease."""
    await stage.fact(
        FactName.CANCEL_REMEMBERED, Witness.COMMAND, request_id="", submission_id="sub_1"
    )
    stage.fal.add(ENDPOINT, R1)
    await stage.fact(
        FactName.TRACKED,
        Witness.TOKEN,
        submission_id="sub_1",
        detail={"endpoint": ENDPOINT, "has_callback": True},
    )
    stage.fal.answer_next("cancel", error)
    await after(stage, MINUTE)

    await after(stage, 2 * MINUTE)

    assert 2 == stage.calls("cancel")
    assert [("cancelled", "asked")] == [(t["outcome"], t["reason"]) for t in stage.told()]


async def test_a_remembered_cancel_is_for_the_bound_request_alone(stage):
    """Another request that shows the token of a remembered cancel is not cancelled."""
    await stage.fact(
        FactName.CANCEL_REMEMBERED, Witness.COMMAND, request_id="", submission_id="sub_1"
    )
    for request_id in (R1, R2):
        stage.fal.add(ENDPOINT, request_id)
        await stage.fact(
            FactName.TRACKED,
            Witness.TOKEN,
            request_id=request_id,
            submission_id="sub_1",
            detail={"endpoint": ENDPOINT, "has_callback": True},
        )
        stage.clock.advance(SECOND)

    await after(stage, MINUTE)

    assert [("cancel", R1)] == [call for call in stage.fal.calls if call[0] == "cancel"]


async def test_a_wish_does_not_stop_a_running_job_unless_its_policy_does(stage):
    """A superseded request that runs is left alone, and told to run; a cancelled group is not."""
    await stage.tracked(**FINISH_BY)
    stage.fal.start(R1)
    await stage.fact(FactName.CANCEL_WANTED, Witness.SWEEP, detail={"policy": "superseded"})
    await after(stage, SECOND)
    spared = asked(stage)
    assert State.RUNNING == (await stage.request()).state
    await stage.fact(FactName.CANCEL_WANTED, Witness.SWEEP, detail={"policy": "group", "by": "g"})

    await after(stage, SECOND)

    assert [] == spared
    assert [("cancel", R1)] == asked(stage)
    [told] = [fact for fact in stage.told_facts() if fact.name is FactName.CANCEL_ACCEPTED]
    expected = {"policy": "group", "status": "IN_PROGRESS", "by": "g"}
    assert expected | {"answer": "CANCELLATION_REQUESTED"} == told.detail


async def test_so_many_a_minute_are_cancelled_and_the_others_wait():
    """A policy that wants everything cancelled empties no queue: it is held back, and said."""
    stage = Stage(World(policies=Policies(cancel_queued_after=LIMIT, max_cancels_a_minute=1)))
    for request_id in (R1, R2):
        await stage.tracked(request_id)

    await after(stage, LIMIT)
    first, note = asked(stage), stage.cancel.note
    await after(stage, MINUTE)
    second = asked(stage)

    assert 1 == len(first)
    assert 2 == len(second)
    assert "more than 1 cancels a minute" in note
    stage.clock.advance(3 * MINUTE)
    assert stage.cancel.note is None


async def test_what_somebody_asked_for_is_never_held_back():
    """The limit is for rules: a cancelled group is cancelled at once."""
    stage = Stage(World(policies=Policies(max_cancels_a_minute=0)))
    for request_id in (R1, R2):
        await stage.tracked(request_id, group="g")
        await stage.fact(
            FactName.CANCEL_WANTED, Witness.SWEEP, request_id=request_id, detail={"policy": "group"}
        )

    await after(stage, SECOND)

    assert 2 == len(asked(stage))
