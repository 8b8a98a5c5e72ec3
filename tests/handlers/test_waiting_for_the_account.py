"""A locked account or a refused key delays a submit; it is neither lost nor sent twice."""

from datetime import timedelta

import pytest

from consumer.core.policy import MAX_WAITS, Done, RetryAt
from consumer.core.standing import SubmissionState
from consumer.ports import ClaimKind, SubmitRefused
from tests.handlers.commanding import handled, result_of
from tests.handlers.stage import HOUR, MINUTE, SECOND, SUBMISSION, Countdown, run_to_death
from tests.handlers.stage import Stage as NewStage

STEPS = 38
"""Before and after each call that two attempts make of log, ledger and fal."""
LOCKED = SubmitRefused(403, "locked")


async def state(stage):
    """Where the submission stands."""
    return (await stage.ledger.submission(SUBMISSION)).state


async def test_under_a_known_lock_nothing_is_called_or_claimed(stage):
    """While fal is known to refuse, a submit waits longer and longer, without a call."""
    stage.fal.holds_back = "locked"
    record = await stage.submit()

    waits = [(await handled(stage, record, attempt)).when - stage.clock() for attempt in (1, 2, 99)]

    assert waits == [SECOND, 2 * SECOND, 5 * MINUTE]
    assert stage.calls("submit") == 0
    assert await stage.ledger.latest_claim(ClaimKind.SUBMISSION, SUBMISSION) is None
    assert await state(stage) is SubmissionState.INTENDED

    stage.fal.holds_back = ""
    assert Done() == await handled(stage, record, 4)
    assert await state(stage) is SubmissionState.SUBMITTED


@pytest.mark.parametrize("reason", ["locked", "unauthorized", "no_key", "rate_limited"])
async def test_a_submit_that_meets_the_refusal_is_sent_when_it_is_over(stage, reason):
    """The submit that finds out is put off with its certain no, and sent under its next claim."""
    stage.fal.answer_next("submit", SubmitRefused(None, reason), SubmitRefused(None, reason))
    record = await stage.submit()

    outcomes = [await handled(stage, record, attempt) for attempt in (1, 2, 3)]

    assert [RetryAt, RetryAt, Done] == [type(outcome) for outcome in outcomes]
    assert [reason, reason] == [outcome.reason for outcome in outcomes[:2]]
    assert await state(stage) is SubmissionState.SUBMITTED
    [sent] = stage.fal.jobs
    assert result_of(stage) == []
    claim = await stage.ledger.latest_claim(ClaimKind.SUBMISSION, SUBMISSION)
    assert (claim.revision, claim.detail["request_id"]) == (3, sent)


async def test_a_refusal_of_the_job_itself_is_final(stage):
    """A no that is not about the account ends the submission at once."""
    stage.fal.answer_next("submit", SubmitRefused(404, "not_found"))

    assert Done() == await handled(stage, await stage.submit())

    assert await state(stage) is SubmissionState.REFUSED


async def test_the_wait_has_an_end(stage):
    """After about a day the refusal is what the submission ends in, with its result event."""
    stage.fal.answer_next("submit", LOCKED)

    assert Done() == await handled(stage, await stage.submit(), MAX_WAITS)

    assert result_of(stage) == [(None, SUBMISSION, "failed", "locked", 403)]


async def test_a_deadline_to_start_ends_the_wait(stage):
    """A job that had to start by now is refused, although the account is still locked."""
    start_by = (stage.clock() + timedelta(minutes=1)).isoformat()
    stage.fal.answer_next("submit", LOCKED)
    record = await stage.submit(start_by=start_by)
    assert isinstance(await handled(stage, record), RetryAt)
    stage.fal.holds_back = "locked"

    stage.clock.advance(2 * MINUTE)
    assert Done() == await handled(stage, record, 2)

    assert result_of(stage) == [(None, SUBMISSION, "failed", "start_deadline_passed", None)]
    assert stage.calls("submit") == 1


@pytest.mark.parametrize("is_claimed", [True, False])
async def test_a_cancel_stops_what_waits(stage, is_claimed):
    """A submit that waits for the account is stopped, and not sent when the lock is lifted."""
    stage.fal.holds_back = "" if is_claimed else "locked"
    stage.fal.answer_next("submit", LOCKED)
    record = await stage.submit()
    assert isinstance(await handled(stage, record), RetryAt)

    assert Done() == await handled(stage, await stage.command("cancel", subject=SUBMISSION))
    stage.fal.holds_back = ""
    assert Done() == await handled(stage, record, 2)

    assert await state(stage) is SubmissionState.CANCELLED
    assert stage.fal.jobs == {}


@pytest.mark.parametrize("dies_at", range(STEPS))
async def test_a_kill_anywhere_never_sends_twice(dies_at):
    """Killed at any await before and after the lock, one job at most is made, and all ends."""
    first = NewStage(countdown=Countdown(dies_at))
    first.fal.answer_next("submit", LOCKED)
    record = await first.submit()

    async def attempts() -> None:
        await first.commands.handle(record, 1)
        await first.commands.handle(record, 2)

    assert await run_to_death(attempts)
    stage = first
    for attempt, wait in enumerate((SECOND, 2 * MINUTE, 25 * HOUR), 3):
        stage.clock.advance(wait)
        stage = stage.restarted()
        await handled(stage, record, attempt)
        await stage.claims.round()
        await stage.catch_up()

    assert len(first.fal.jobs) <= 1
    expected = SubmissionState.SUBMITTED if first.fal.jobs else SubmissionState.LOST
    assert await state(first) in (expected, SubmissionState.LOST)
