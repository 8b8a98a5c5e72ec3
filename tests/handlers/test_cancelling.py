"""A cancel stops what is not sent, is remembered, or asks fal; its answer is told."""

import pytest

from consumer.core.fact import FactName, Witness
from consumer.core.policy import Done
from consumer.core.standing import SubmissionState
from consumer.errors import FalUnavailable, LedgerUnavailable
from consumer.ports import CancelAnswer, ClaimKind, SubmitUnknown
from tests.handlers.commanding import SENT, handled, result_of
from tests.handlers.stage import ENDPOINT, R1, SUBMISSION, Stage


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

    await stage.cancel.round()
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
    assert {"policy": "asked", "status": "IN_QUEUE", "answer": answer.value} == stage.told_facts()[
        -1
    ].detail
    ends = [(R1, None, "cancelled", "asked", None)] if answer is CancelAnswer.REMOVED else []
    assert ends == result_of(stage)


async def test_a_cancel_of_an_ended_request_does_nothing(stage):
    """A request that has an end is not cancelled."""
    await stage.tracked()
    await stage.webhook()
    await stage.catch_up()

    assert Done() == await handled(stage, await stage.command("cancel", subject=R1))

    assert 0 == stage.calls("cancel")


async def test_a_cancel_of_what_is_completed_makes_no_call(stage):
    """A request that fal has completed is not cancelled: that is told, and the status with it."""
    await stage.tracked()
    stage.fal.finish(R1, {})

    assert Done() == await handled(stage, await stage.command("cancel", subject=R1))

    assert 0 == stage.calls("cancel")
    assert {"policy": "asked", "status": "COMPLETED"} == stage.told_facts()[-1].detail
    assert "cancel_refused" == stage.fact_names()[-1]
