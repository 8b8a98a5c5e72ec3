"""Commands that were replayed: a submit is never sent again, the others may ask again."""

import pytest

from consumer.core.fact import FactName
from consumer.core.policy import DeadLetter, Done
from consumer.core.standing import SubmissionState
from consumer.errors import FalRefused
from consumer.ports import ClaimKind
from tests.handlers.commanding import handled, result_of
from tests.handlers.replaying import replayed, without_ledger
from tests.handlers.stage import ENDPOINT, HOUR, R1, SUBMISSION, Stage


async def test_a_replayed_submit_is_not_sent_again(stage):
    """A submit that was sent is found by its claim: one job, whatever is replayed."""
    record = await stage.submit()
    await handled(stage, record)
    facts = stage.fact_names()

    outcome = await handled(stage, await replayed(stage, record))

    assert (Done(), 1, facts) == (outcome, stage.calls("submit"), stage.fact_names())


async def test_without_its_claim_it_is_unknown_and_not_sent(stage):
    """After the ledger was lost a replayed submit is told as unknown: it may have been sent."""
    record = await stage.submit(tags={"team": "a"})
    await handled(stage, record)
    later = without_ledger(stage)

    outcome = await later.commands.handle(await replayed(later, record), 1)
    told = later.told_facts()[-1]

    assert (Done(), 1) == (outcome, stage.calls("submit"))
    assert (FactName.UNKNOWN, SUBMISSION, "replayed") == (
        told.name,
        told.submission_id,
        told.detail["reason"],
    )


async def test_one_that_was_never_sent_is_not_sent_by_a_replay(stage):
    """A submit that nobody carried out, a dead letter's perhaps, is unknown and then lost."""
    record = await replayed(stage, await stage.submit())

    outcome = await handled(stage, record)
    submission = await stage.ledger.submission(SUBMISSION)
    stage.clock.advance(25 * HOUR)
    await stage.claims.round()

    assert (Done(), 0) == (outcome, stage.calls("submit"))
    assert (SubmissionState.UNKNOWN, "replayed") == (submission.state, submission.reason)
    assert [(None, SUBMISSION, "lost", "never_confirmed", None)] == result_of(stage)


async def test_what_a_replay_left_unknown_is_never_sent(stage):
    """Neither the next replay nor the command itself sends what was told as unknown."""
    original = await stage.submit()
    await handled(stage, await replayed(stage, original))

    outcomes = [
        await handled(stage, await replayed(stage, original)),
        await handled(stage, original),
    ]

    assert ([Done(), Done()], 0) == (outcomes, stage.calls("submit"))
    assert [FactName.UNKNOWN] == stage.fact_names()


async def test_the_command_itself_comes_first(stage):
    """A copy that is read before its original finds the claim that the original then cannot."""
    original = await stage.submit()
    copy = await replayed(stage, original)
    await handled(stage, original)

    await handled(stage, copy)

    assert 1 == stage.calls("submit")


async def test_what_was_refused_stays_refused(stage):
    """A submit whose refusal was told is not told as unknown by a replay."""
    stage = Stage(stage.world, may_submit=lambda _endpoint: False)
    record = await stage.submit()
    await handled(stage, record)
    facts = stage.fact_names()

    outcome = await handled(Stage(stage.world), await replayed(stage, record))

    assert (Done(), 0, facts) == (outcome, stage.calls("submit"), stage.fact_names())


async def test_a_submission_that_the_ledger_knows_stays_as_it_is(stage):
    """Where the ledger was derived anew, without claims, what it knows stands."""
    record = await stage.submit()
    await handled(stage, record)
    later = without_ledger(stage)
    await later.catch_up()
    facts = later.fact_names()

    outcome = await handled(later, await replayed(later, record))

    assert (Done(), 1, facts) == (outcome, stage.calls("submit"), later.fact_names())
    assert SubmissionState.SUBMITTED is (await later.ledger.submission(SUBMISSION)).state


async def test_without_a_key_a_replayed_submit_is_a_dead_letter():
    """Without FAL_KEY nobody could follow it: it is set aside, and no refusal is told."""
    stage = Stage(has_key=False)

    outcome = await handled(stage, await replayed(stage, await stage.submit()))

    assert DeadLetter("no_fal_key", "a submit in doubt is followed with FAL_KEY only") == outcome
    assert [] == stage.told()


async def test_a_cancel_of_what_a_replay_left_unknown_is_remembered(stage):
    """Nobody can say that it was never sent, so it is not told as cancelled."""
    await handled(stage, await replayed(stage, await stage.submit()))

    await handled(stage, await stage.command("cancel", command_id="c2", subject=SUBMISSION))

    assert FactName.CANCEL_REMEMBERED == stage.told_facts()[-1].name
    assert [] == stage.told()


async def test_a_replayed_cancel_of_what_ended_asks_nobody(stage):
    """A cancel that is replayed after the end of its request does nothing."""
    await stage.tracked()
    record = await stage.command("cancel", subject=R1)
    await handled(stage, record)
    asked = stage.calls("cancel")

    outcome = await handled(stage, await replayed(stage, record))

    assert (Done(), asked, 1) == (outcome, stage.calls("cancel"), len(stage.told()))


async def test_a_replayed_track_tells_the_same_fact(stage):
    """A track that is replayed changes nothing."""
    stage.fal.add(ENDPOINT, R1)
    record = await stage.command("track", endpoint=ENDPOINT, request_id=R1)
    await handled(stage, record)
    before = await stage.request()

    await handled(stage, await replayed(stage, record))

    assert before == await stage.request()


async def test_a_replayed_refetch_asks_again(stage):
    """A refetch only reads: replayed it asks once more, which may fill what was missing."""
    await stage.tracked()
    stage.fal.answer_next("result", FalRefused(403, "locked"))
    record = await stage.command("refetch", request_id=R1)
    with pytest.raises(FalRefused):
        await stage.commands.handle(record, 1)
    stage.fal.finish(R1, {"seed": 7})

    assert Done() == await handled(stage, await replayed(stage, record))

    assert 2 == stage.calls("result")


async def test_a_replay_for_another_handler_is_none_of_its_business(stage):
    """A command that is replayed for another handler is done as it is."""
    record = await replayed(stage, await stage.submit(), handler="record")

    assert Done() == await stage.commands.handle(record, 1)

    assert (None, []) == (
        await stage.ledger.latest_claim(ClaimKind.SUBMISSION, SUBMISSION),
        stage.fact_names(),
    )
