"""Commands: a paid job is sent once whatever dies, and every refusal is told."""

import asyncio

import pytest

from consumer.core.command import submission_id_of
from consumer.core.event import NewRecord, Topic, format_time
from consumer.core.fact import FactName, Witness
from consumer.core.policy import DeadLetter, Done, RetryAt
from consumer.core.standing import SubmissionState
from consumer.core.token import Token, parse_token
from consumer.errors import (
    FalRefused,
    FalUnavailable,
    LedgerUnavailable,
    LogUnavailable,
    UndecodableEvent,
)
from consumer.ports import (
    CancelAnswer,
    ClaimKind,
    ResultAnswer,
    ResultKind,
    SubmitRefused,
    SubmitUnknown,
)
from consumer.testing.fal import FakeFal
from tests.handlers.stage import (
    ENDPOINT,
    HOUR,
    MINUTE,
    R1,
    SECOND,
    SECRET,
    SUBMISSION,
    T0,
    Countdown,
    Stage,
    World,
    run_to_death,
)

STEPS = 20
"""Before and after each of the ten calls that a submit makes of log, ledger and fal."""
SENT = "00000000-0000-4000-8000-000000000001"


async def handled(stage: Stage, record, attempt: int = 1):
    """Handle a command, then let the ledger learn what it told."""
    outcome = await stage.commands.handle(record, attempt)
    await stage.catch_up()
    return outcome


def result_of(stage: Stage):
    """Return (request, submission, outcome, reason, status) of every result event."""
    names = ("request_id", "submission_id", "outcome", "reason", "http_status")
    return [tuple(told[name] for name in names) for told in stage.told()]


# ---------------------------------------------------------------- submit


async def test_submit_sends_once_and_tells(stage):
    """A submit is intended, sent, and known as submitted, with a token in its callback URL."""
    outcome = await handled(stage, await stage.submit(tags={"team": "a"}))

    assert Done() == outcome
    [order] = stage.fal.orders
    prefix, _, token = order.callback_url.rpartition("/")
    assert "https://us.example/webhooks/fal" == prefix
    assert Token(ENDPOINT, SUBMISSION) == parse_token(token, (SECRET,))
    assert (ENDPOINT, {"prompt": "apple"}, {"team": "a"}) == (
        order.endpoint,
        order.input,
        order.tags,
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


# ---------------------------------------------------------------- cancel


async def test_a_cancel_before_the_claim_stops_the_submission(stage):
    """A submission that is only intended is cancelled, and its submit is never sent."""
    submit = await stage.submit()
    stage.ledger.refuse_next(LedgerUnavailable("away"))
    with pytest.raises(LedgerUnavailable):
        await stage.commands.handle(submit, 1)
    detail = {"endpoint": ENDPOINT, "command_id": "c1"}
    input_sha256 = await _input_sha256(stage)
    await stage.fact(
        FactName.INTENDED,
        Witness.COMMAND,
        request_id="",
        submission_id=SUBMISSION,
        detail=detail | {"input_sha256": input_sha256},
    )

    cancelled = await handled(stage, await stage.command("cancel", subject=SUBMISSION))
    submitted = await handled(stage, submit, 2)

    assert (Done(), Done()) == (cancelled, submitted)
    assert 0 == stage.calls("submit")
    assert [(None, SUBMISSION, "cancelled", "cancelled", None)] == result_of(stage)
    assert SubmissionState.CANCELLED == (await stage.ledger.submission(SUBMISSION)).state


async def _input_sha256(stage: Stage) -> str:
    """Return the hash that the stage's submit has, as another process sends it."""
    other = Stage()
    await other.commands.handle(await other.submit(), 1)
    claim = await other.ledger.latest_claim(ClaimKind.SUBMISSION, SUBMISSION)
    return claim.fingerprint


async def test_a_cancel_during_the_call_is_remembered(stage):
    """A cancel that finds a claim without an answer is remembered, not sent."""
    stage.fal.answer_next("submit", FalUnavailable("cut"))
    with pytest.raises(FalUnavailable):
        await stage.commands.handle(await stage.submit(), 1)

    outcome = await handled(stage, await stage.command("cancel", subject=SUBMISSION))

    assert Done() == outcome
    assert (await stage.ledger.submission(SUBMISSION)).is_cancel_remembered
    assert 0 == stage.calls("cancel")


async def test_a_remembered_cancel_is_sent_when_the_id_is_known(stage):
    """The cancel of an unknown submission is sent as soon as its request id is learned."""
    stage.fal.answer_next("submit", SubmitUnknown("timeout"))
    await handled(stage, await stage.submit())
    await handled(stage, await stage.command("cancel", subject=SUBMISSION))
    stage.fal.add(ENDPOINT, R1)
    await stage.fact(
        FactName.TRACKED, Witness.TOKEN, submission_id=SUBMISSION, detail={"endpoint": ENDPOINT}
    )

    stage.clock.advance(MINUTE)
    await stage.reconcile.round()
    await stage.catch_up()

    assert [("status", R1), ("cancel", R1)] == stage.fal.calls[-2:]
    assert [(R1, SUBMISSION, "cancelled", "asked", None)] == result_of(stage)


async def test_a_cancel_of_a_sent_submission_asks_fal(stage):
    """A cancel by submission id asks fal about its request."""
    await handled(stage, await stage.submit())

    outcome = await handled(stage, await stage.command("cancel", subject=SUBMISSION))

    assert Done() == outcome
    assert ("cancel", SENT) == stage.fal.calls[-1]
    assert [(SENT, SUBMISSION, "cancelled", "asked", None)] == result_of(stage)


@pytest.mark.parametrize(
    "answer, names",
    [
        (CancelAnswer.REQUESTED, ["tracked", "cancel_asked", "cancel_accepted"]),
        (CancelAnswer.ALREADY_COMPLETED, ["tracked", "cancel_asked", "cancel_refused"]),
        (CancelAnswer.NOT_FOUND, ["tracked", "cancel_asked", "cancel_refused"]),
        (CancelAnswer.REMOVED, ["tracked", "cancel_asked", "cancelled"]),
    ],
)
async def test_a_cancel_of_a_request_records_the_answer(stage, answer, names):
    """Every answer of fal to a cancel is a fact; only a removal is an end."""
    await stage.tracked()
    stage.fal.answer_next("cancel", answer)

    assert Done() == await handled(stage, await stage.command("cancel", subject=R1))

    assert names == stage.fact_names()
    assert {"policy": "asked", "answer": answer.value} == stage.told_facts()[-1].detail
    ends = [(R1, None, "cancelled", "asked", None)] if answer is CancelAnswer.REMOVED else []
    assert ends == result_of(stage)


async def test_a_cancel_of_an_ended_request_does_nothing(stage):
    """A request that has an end is not cancelled."""
    await stage.tracked()
    await stage.webhook()
    await stage.catch_up()

    assert Done() == await handled(stage, await stage.command("cancel", subject=R1))

    assert 0 == stage.calls("cancel")


@pytest.mark.parametrize("command", [{"command": "cancel", "subject": R1}, {"command": "refetch"}])
async def test_an_unknown_subject_is_looked_for_a_while(stage, command):
    """A command about what nobody knows is retried, then a dead letter."""
    fields = command if "subject" in command else command | {"request_id": R1}
    record = await stage.command(**fields)

    outcomes = [await stage.commands.handle(record, attempt) for attempt in (1, 5, 6)]

    assert [
        RetryAt(T0 + SECOND, "unknown_subject"),
        RetryAt(T0 + 16 * SECOND, "unknown_subject"),
        DeadLetter("unknown_subject", "no such request or submission"),
    ] == outcomes


# ---------------------------------------------------------------- track, refetch, the rest


async def test_track_follows_a_request_of_somebody_else(stage):
    """A tracked request has its endpoint, deadlines and tags, and is due for a check."""
    record = await stage.command(
        "track",
        endpoint=ENDPOINT,
        request_id=R1.upper(),
        tags={"team": "a"},
        finish_by=format_time(T0 + HOUR),
    )

    assert Done() == await handled(stage, record)

    request = await stage.request()
    assert (True, ENDPOINT, {"team": "a"}, T0 + HOUR) == (
        request.is_tracked,
        request.endpoint.value,
        request.tags,
        request.finish_by,
    )
    stage.clock.advance(MINUTE)
    assert 1 == len(await stage.ledger.take_due("check", limit=9, lease=MINUTE))


async def test_refetch_fills_what_was_missing(stage):
    """A refetch asks again, and its answer fills the output that was missing."""
    await stage.tracked()
    stage.fal.answer_next("result", FalRefused(403, "locked"))
    body = b'{"error":null,"payload":null,"request_id":"%s","status":"OK"}' % R1.encode()
    await stage.webhook(body)
    await stage.fetch_all()
    stage.fal.finish(R1, {"seed": 7}, billable_units="2")

    record = await stage.command("refetch", request_id=R1)
    assert Done() == await handled(stage, record)
    await stage.fetch.handle(stage.log.records(Topic.COMPLETIONS)[-1], 1)

    assert [(1, None, None), (2, {"seed": 7}, "2")] == [
        (told["revision"], told["output"], told["billable_units"]) for told in stage.told()
    ]


@pytest.mark.parametrize("kind", [ResultKind.NOT_READY, ResultKind.NOT_FOUND])
async def test_refetch_of_nothing_is_a_dead_letter(stage, kind):
    """A refetch to which fal has no result says what fal answered."""
    await stage.tracked()
    stage.fal.answer_next("result", ResultAnswer(kind))

    outcome = await handled(stage, await stage.command("refetch", request_id=R1))

    assert DeadLetter("no_result", f"fal answered {kind.value}") == outcome


@pytest.mark.parametrize(
    "command",
    [
        {"command": "track", "endpoint": ENDPOINT, "request_id": R1},
        {"command": "cancel", "subject": R1},
        {"command": "refetch", "request_id": R1},
    ],
    ids=lambda command: command["command"],
)
async def test_without_a_key_other_commands_are_refused(command):
    """Without FAL_KEY track, cancel and refetch are dead letters that say so."""
    stage = Stage(has_key=False)

    outcome = await handled(stage, await stage.command(**command))

    assert DeadLetter("no_fal_key", f"{command['command']} needs FAL_KEY") == outcome


async def test_another_event_among_the_commands_is_undecodable(stage):
    """A record on the commands topic that is no command is refused."""
    event = stage.webhook_record()
    record = await stage.put(NewRecord(Topic.COMMANDS, event.key, event.value, event.headers))

    with pytest.raises(UndecodableEvent):
        await stage.commands.handle(record, 1)


def test_the_submission_id_is_the_commands():
    """The submission id follows from the command's id alone."""
    assert submission_id_of("c1") == SUBMISSION
