"""How a submission ends that is refused, unknown, lost or too late, and that it is told."""

import pytest

from consumer.core.event import format_time
from consumer.core.policy import Done
from consumer.core.standing import SubmissionState
from consumer.core.token import Token
from consumer.ports import SubmitRefused, SubmitUnknown
from consumer.testing.fal import FakeFal
from tests.handlers.commanding import SENT, handled, result_of
from tests.handlers.stage import ENDPOINT, HOUR, MINUTE, R1, SECOND, SUBMISSION, T0, Stage, World


async def test_a_refused_submit_has_a_result_of_its_own(stage):
    """A certain no of fal ends the submission as failed, under its own id."""
    stage.fal.answer_next("submit", SubmitRefused(422, "bad input"))

    assert Done() == await handled(stage, await stage.submit())

    assert [(None, SUBMISSION, "failed", "bad input", 422)] == result_of(stage)
    assert SubmissionState.REFUSED == (await stage.ledger.submission(SUBMISSION)).state


async def test_an_unknown_submit_is_bound_by_its_token(stage):
    """A job whose submit was not answered is known by the token of its webhook."""
    stage.fal.answer_next("submit", SubmitUnknown("timeout"))
    await handled(stage, await stage.submit())
    before = (await stage.ledger.submission(SUBMISSION)).state

    await stage.webhook(token=Token(ENDPOINT, SUBMISSION))
    await stage.catch_up()

    submission = await stage.ledger.submission(SUBMISSION)
    assert SubmissionState.UNKNOWN == before
    assert (SubmissionState.SUBMITTED, R1) == (submission.state, submission.request.value)
    assert 1 == stage.calls("submit")


async def test_an_unknown_submit_is_lost_at_the_horizon(stage):
    """An unknown submission that nothing confirms is lost after 24 h, and not before."""
    stage.fal.answer_next("submit", SubmitUnknown("timeout"))
    await handled(stage, await stage.submit())
    stage.clock.advance(24 * HOUR - SECOND)
    await stage.claims.round()
    before = result_of(stage)

    stage.clock.advance(SECOND)
    await stage.claims.round()
    await stage.catch_up()
    await stage.claims.round()

    assert [] == before
    assert [(None, SUBMISSION, "lost", "never_confirmed", None)] == result_of(stage)
    assert SubmissionState.LOST == (await stage.ledger.submission(SUBMISSION)).state


class SlowFal(FakeFal):
    """A fal on whose answer to a submit much happens."""

    async def meanwhile(self):
        """Nothing, unless a test replaces it."""

    async def submit(self, order):
        answer = await super().submit(order)
        await self.meanwhile()
        return answer


async def test_an_answer_after_giving_up_is_not_forgotten():
    """An answer that comes after a sweep gave up still tells the request's id."""
    fal = SlowFal()
    stage = Stage(World(fal=fal))
    other = stage.restarted()

    async def give_up():
        stage.clock.advance(2 * MINUTE)
        await other.claims.round()

    fal.meanwhile = give_up
    await handled(stage, await stage.submit())

    submission = await stage.ledger.submission(SUBMISSION)
    assert {"unknown", "submitted"} <= set(stage.fact_names())
    assert (SubmissionState.SUBMITTED, SENT) == (submission.state, submission.request.value)


@pytest.mark.parametrize(
    "how, reason",
    [
        ({"has_key": False}, "no_fal_key"),
        ({"may_submit": lambda _endpoint: False}, "endpoint_not_allowed"),
    ],
)
async def test_what_may_not_be_sent_is_refused(how, reason):
    """Without a key, or at an endpoint that is not allowed, a submit fails with that reason."""
    stage = Stage(**how)

    assert Done() == await handled(stage, await stage.submit())

    assert [(None, SUBMISSION, "failed", reason, None)] == result_of(stage)
    assert SubmissionState.REFUSED == (await stage.ledger.submission(SUBMISSION)).state
    assert [] == stage.fal.calls


async def test_a_refused_command_stays_refused():
    """A replay under settings that would allow it does not send what was refused."""
    first = Stage(has_key=False)
    record = await first.submit()
    await handled(first, record)
    stage = first.restarted()

    assert Done() == await handled(stage, record)

    assert 0 == stage.calls("submit")
    assert [(None, SUBMISSION, "failed", "no_fal_key", None)] == result_of(stage)


@pytest.mark.parametrize("how", [{"has_key": False}, {"may_submit": lambda _endpoint: False}])
async def test_a_sent_command_is_not_refused_later(stage, how):
    """A repetition under stricter settings does not call a job refused that was sent."""
    record = await stage.submit()
    await handled(stage, record)

    assert Done() == await handled(stage.restarted(**how), record, 2)

    assert [] == result_of(stage)
    assert "refused" not in stage.fact_names()


async def test_a_passed_start_deadline_is_not_sent(stage):
    """A submit whose start deadline has passed fails without a call."""
    record = await stage.submit(start_by=format_time(T0 + SECOND))
    stage.clock.advance(SECOND)

    await handled(stage, record)

    assert [(None, SUBMISSION, "failed", "start_deadline_passed", None)] == result_of(stage)
    assert [] == stage.fal.calls


async def test_a_start_deadline_becomes_a_timeout(stage):
    """What is left until the start deadline is fal's start timeout."""
    await handled(stage, await stage.submit(start_by=format_time(T0 + 90 * SECOND)))

    assert [90.0] == [order.start_timeout_s for order in stage.fal.orders]
