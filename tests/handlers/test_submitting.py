"""A paid job is sent once, whatever dies, fails or comes again."""

import asyncio

import pytest

from consumer.core.command import submission_id_of
from consumer.core.policy import DeadLetter, Done, RetryAt
from consumer.core.standing import SubmissionState
from consumer.core.token import Token, parse_token
from consumer.errors import FalUnavailable, LedgerUnavailable, LogUnavailable
from consumer.ports import ClaimKind
from tests.handlers.commanding import SENT, handled, result_of
from tests.handlers.stage import (
    ENDPOINT,
    HOUR,
    MINUTE,
    SECOND,
    SECRET,
    SUBMISSION,
    T0,
    Countdown,
    Stage,
    run_to_death,
)

STEPS = 24
"""Before and after each of the twelve calls that a submit makes of log, ledger and fal."""


async def test_submit_sends_once_and_tells(stage):
    """A submit is intended, sent, and known as submitted, with a token in its callback URL."""
    command = await stage.submit(tags={"team": "a"}, options={"priority": "low"})
    outcome = await handled(stage, command)

    assert Done() == outcome
    [order] = stage.fal.orders
    prefix, _, token = order.callback_url.rpartition("/")
    assert "https://us.example/webhooks/fal" == prefix
    assert Token(ENDPOINT, SUBMISSION) == parse_token(token, (SECRET,))
    assert (ENDPOINT, {"prompt": "apple"}, {"team": "a"}, "low") == (
        order.endpoint,
        order.input,
        order.tags,
        order.options.priority,
    )
    assert {"intended", "sending", "submitted"} == set(stage.fact_names())
    request = await stage.request(SENT)
    assert (True, True, SUBMISSION, ENDPOINT) == (
        request.is_ours,
        request.has_callback,
        request.submission.value,
        request.endpoint.value,
    )


async def test_without_a_public_address_no_callback_is_sent():
    """Without a public address the job has no callback, and its first check is after 1 s."""
    stage = Stage(public_url="")
    await handled(stage, await stage.submit())

    assert [""] == [order.callback_url for order in stage.fal.orders]
    stage.clock.advance(SECOND)
    assert 1 == len(await stage.ledger.take_due("check", limit=9, lease=MINUTE))


async def test_the_claim_is_durable_before_the_call():
    """When fal is called, the claim stands already."""
    stage = Stage()
    stage.fal.on_submit = lambda _job: claims.extend(stage.ledger.rows.claims)
    claims = []

    await handled(stage, await stage.submit())

    assert [(ClaimKind.SUBMISSION, SUBMISSION, 1)] == claims


async def test_a_repeated_command_is_not_sent_again(stage):
    """The same command again, at once or later, by this process or the next, sends nothing."""
    record = await stage.submit()
    await handled(stage, record)

    for repeated in (stage, stage.restarted(), stage.restarted()):
        assert Done() == await handled(repeated, record, 2)
        stage.clock.advance(25 * HOUR)

    assert 1 == stage.calls("submit")


async def test_two_workers_at_once_send_once(stage):
    """Two processes that hold the same command call fal once."""
    record, other = await stage.submit(), stage.restarted()

    await asyncio.gather(stage.commands.handle(record, 1), other.commands.handle(record, 1))

    assert 1 == stage.calls("submit")


async def _steps_of_submit() -> int:
    countdown = Countdown()
    stage = Stage(countdown=countdown)
    await stage.commands.handle(await stage.submit(), 1)
    return countdown.steps


async def _settled_after(stage: Stage, record) -> None:
    """Let later processes repeat the command, and the sweeps run, for two days."""
    for wait in (SECOND, 2 * MINUTE, 25 * HOUR):
        stage.clock.advance(wait)
        stage = stage.restarted()
        await handled(stage, record)
        await stage.claims.round()
        await stage.catch_up()


@pytest.mark.parametrize("dies_at", range(STEPS))
async def test_a_kill_anywhere_never_sends_twice(dies_at):
    """Killed at any await, a job is sent once at most, and its submission comes to an end."""
    assert STEPS == await _steps_of_submit()
    first = Stage(countdown=Countdown(dies_at))
    record = await first.submit()
    died = await run_to_death(lambda: first.commands.handle(record, 1))

    await _settled_after(first, record)

    submission = await first.ledger.submission(SUBMISSION)
    calls = first.calls("submit")
    assert died
    assert calls <= 1
    expected = {0: SubmissionState.LOST, 1: submission.state}[calls]
    assert expected == submission.state
    assert submission.state in (SubmissionState.SUBMITTED, SubmissionState.LOST)
    ends = [(None, SUBMISSION, "lost", "never_confirmed", None)]
    assert (ends if submission.state is SubmissionState.LOST else []) == result_of(first)


@pytest.mark.parametrize("error", [LogUnavailable("away"), LedgerUnavailable("away")])
@pytest.mark.parametrize("fails_at", range(STEPS))
async def test_a_failure_anywhere_never_sends_twice(fails_at, error):
    """A log or ledger that fails at any call leads to one call to fal at most."""
    first = Stage(countdown=Countdown(fails_at, lambda: error))
    record = await first.submit()
    assert await run_to_death(lambda: first.commands.handle(record, 1))

    await _settled_after(first, record)

    assert first.calls("submit") <= 1


async def test_a_failing_log_before_the_claim_loses_nothing(stage):
    """A log that fails before the claim only delays the job: it is sent by the next attempt."""
    record = await stage.submit()
    for _ in range(2):
        stage.log.refuse_next(LogUnavailable("away"))
        with pytest.raises(LogUnavailable):
            await stage.commands.handle(record, 1)

    assert Done() == await handled(stage, record, 3)

    assert "submitted" in stage.fact_names()
    assert 1 == stage.calls("submit")


async def test_a_claim_without_an_answer_waits_for_its_deadline(stage):
    """Whoever finds a claim without an answer waits until its call is over, then gives up."""
    stage.fal.answer_next("submit", FalUnavailable("cut"))
    record = await stage.submit()
    with pytest.raises(FalUnavailable):
        await stage.commands.handle(record, 1)

    waits = await handled(stage, record, 2)
    stage.clock.advance(61 * SECOND)
    gives_up = await handled(stage, record, 3)

    assert RetryAt(T0 + 61 * SECOND, "claimed") == waits
    assert Done() == gives_up
    submission = await stage.ledger.submission(SUBMISSION)
    assert (SubmissionState.UNKNOWN, "no_answer") == (submission.state, submission.reason)
    assert 1 == stage.calls("submit")


async def test_another_input_under_the_same_id_is_a_conflict(stage):
    """The same command id with another input is a dead letter, and nothing is sent or told."""
    await handled(stage, await stage.submit())
    facts = stage.fact_names()

    outcome = await handled(stage, await stage.submit(input={"prompt": "pear"}))

    assert DeadLetter("command_conflict", "this command_id was used with another input") == outcome
    assert 1 == stage.calls("submit")
    assert facts == stage.fact_names()


def test_the_submission_id_is_the_commands():
    """The submission id follows from the command's id alone."""
    assert submission_id_of("c1") == SUBMISSION
