"""What a kill left between a claim and its publication."""

import pytest

from consumer.core.event import Topic
from consumer.core.result import Correlation, bare_result
from consumer.errors import FalUnavailable, LogUnavailable, RecordRefused
from consumer.ports import ClaimKind, SubmitUnknown
from tests.handlers.stage import R1, R2, SECOND, SUBMISSION, T0, Stage


def lost(request_id: str):
    return bare_result(
        "lost", Correlation(), request_id=request_id, reason="x", witness="sweep", ended_at=T0
    )


async def claimed(stage: Stage, *request_ids: str) -> None:
    """Leave results claimed and unpublished, as a kill would."""
    for request_id in request_ids:
        stage.log.refuse_next(LogUnavailable("away"))
        with pytest.raises(LogUnavailable):
            await stage.results.publish(lost(request_id))


def told(stage: Stage) -> list[str]:
    return sorted(result["request_id"] for result in stage.told())


async def test_a_claimed_result_is_published_once_overdue(stage):
    """A claim is left to its holder for five seconds; then the sweep publishes it, once."""
    await claimed(stage, R1)
    taken = [await stage.claims.round()]
    before = told(stage)

    stage.clock.advance(5 * SECOND)
    taken += [await stage.claims.round(), await stage.claims.round()]

    assert [0, 1, 0] == taken
    assert ([], [R1]) == (before, told(stage))


async def test_one_claim_that_is_refused_holds_up_no_other(stage):
    """A result that the log refuses even without its output does not block those behind it."""
    await claimed(stage, R1, R2)
    stage.clock.advance(5 * SECOND)
    stage.log.refuse_next(RecordRefused("results", "never"), 2)

    taken = await stage.claims.round()

    assert 1 == taken
    assert [R2] == told(stage)


async def test_a_log_that_is_away_is_told_to_the_loop(stage):
    """Without a log the round fails, and the next one goes on."""
    await claimed(stage, R1, R2)
    stage.clock.advance(5 * SECOND)
    stage.log.refuse_next(LogUnavailable("away"))
    with pytest.raises(LogUnavailable):
        await stage.claims.round()

    await stage.claims.round()

    assert [R1, R2] == told(stage)


async def test_a_submission_without_an_answer_is_given_up(stage):
    """A submission whose call is long over is told as unknown, and never sent again."""
    stage.fal.answer_next("submit", FalUnavailable("cut"))
    with pytest.raises(FalUnavailable):
        await stage.commands.handle(await stage.submit(), 1)
    await stage.claims.round()
    before = stage.fact_names()

    stage.clock.advance(stage.policies.submit_deadline)
    await stage.claims.round()
    await stage.claims.round()

    assert "unknown" not in before
    assert 1 == stage.fact_names().count("unknown")
    assert 1 == stage.calls("submit")


async def test_a_settled_submission_is_published(stage):
    """A submission whose end was kept and not told is told by the sweep."""
    record = await stage.submit()
    stage.fal.on_submit = lambda _job: stage.log.refuse_next(LogUnavailable("away"))
    with pytest.raises(LogUnavailable):
        await stage.commands.handle(record, 1)
    await stage.claims.round()
    before = stage.fact_names()
    stage.clock.advance(stage.policies.submit_deadline)

    await stage.claims.round()

    # A young one is in its holder's hand, who is about to tell it.
    assert ("submitted" in before, "submitted" in stage.fact_names()) == (False, True)
    assert (await stage.ledger.latest_claim(ClaimKind.SUBMISSION, SUBMISSION)).is_published


async def test_without_a_key_results_are_still_published(stage):
    """Without FAL_KEY the claims of results are published, those of submissions rest."""
    stage.fal.answer_next("submit", SubmitUnknown("timeout"))
    await stage.commands.handle(await stage.submit(), 1)
    await claimed(stage, R1)
    facts = len(stage.log.records(Topic.LIFECYCLE))
    stage.clock.advance(stage.policies.unconfirmed_horizon)

    await stage.restarted(has_key=False).claims.round()

    assert [R1] == told(stage)
    assert facts == len(stage.log.records(Topic.LIFECYCLE))
