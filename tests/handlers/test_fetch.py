"""Completion to result: every branch of asking fal, and of doing nothing."""

import base64
from dataclasses import replace

import pytest

from consumer.core.completion import Completion, completion_of_answer
from consumer.core.event import NewRecord, Topic
from consumer.core.fact import FactName, Witness
from consumer.core.policy import DeadLetter, Done, RetryAt
from consumer.core.token import Token
from consumer.errors import FalRefused, FalUnavailable, SchemaDrift, UndecodableEvent
from consumer.handlers import answers
from consumer.ports import ResultAnswer, ResultKind
from consumer.testing.deliveries import webhook_body
from consumer.testing.keys import Signer
from tests.handlers.stage import (
    ENDPOINT,
    FOREIGN,
    MINUTE,
    R1,
    R2,
    SECOND,
    SOURCE,
    T0,
    Stage,
)

SIGNED_OUTPUT = {"images": [{"url": "https://v3b.fal.media/files/b/red-apple.png"}]}
ASKED_OUTPUT = {"images": [], "seed": 7}
BASE = {
    "request_id": R1,
    "submission_id": None,
    "command_id": None,
    "endpoint": ENDPOINT,
    "tags": {},
    "revision": 1,
    "outcome": "succeeded",
    "reason": None,
    "witness": "webhook",
    "http_status": 200,
    "error": None,
    "error_type": None,
    "output": ASKED_OUTPUT,
    "output_base64": None,
    "content_type": None,
    "output_missing": None,
    "billable_units": "2.5",
    "media": [],
    "ended_at": "2026-10-01T12:00:00.000000Z",
}
SIGNED = {
    "output": SIGNED_OUTPUT,
    "billable_units": None,
    "media": [
        {
            "url": "https://v3b.fal.media/files/b/red-apple.png",
            "content_type": None,
            "file_name": None,
        }
    ],
}
NULL = webhook_body(R1, payload=None)


async def test_asks_for_the_result(stage):
    """A webhook completion's result is fal's own answer, with its billable units."""
    await stage.tracked()
    stage.fal.finish(R1, ASKED_OUTPUT, billable_units="2.5")

    assert Done() == await stage.fetch.handle(await stage.webhook(), 1)

    assert [BASE] == stage.told()


async def test_without_a_key_the_signed_payload_is_the_result():
    """Without FAL_KEY nothing is asked and the signed payload is the result."""
    stage = Stage(has_key=False)
    await stage.tracked()

    assert Done() == await stage.fetch.handle(await stage.webhook(), 1)

    assert [BASE | SIGNED] == stage.told()
    assert [] == stage.fal.calls


async def test_without_a_key_a_null_payload_is_unavailable():
    """Without FAL_KEY a null payload is marked as unavailable."""
    stage = Stage(has_key=False)
    await stage.tracked()

    await stage.fetch.handle(await stage.webhook(NULL), 1)

    missing = {"output": None, "output_missing": "unavailable", "billable_units": None}
    assert [BASE | missing] == stage.told()


async def test_an_unknown_endpoint_is_not_asked(stage):
    """Where nobody names the endpoint, the signed payload is the result."""
    assert Done() == await stage.fetch.handle(await stage.webhook(), 1)

    assert [BASE | SIGNED | {"endpoint": None}] == stage.told()
    assert [] == stage.fal.calls


async def test_a_null_payload_of_an_unknown_endpoint_says_so(stage):
    """A null payload that cannot be asked for names the unknown endpoint as the reason."""
    await stage.fetch.handle(await stage.webhook(NULL), 1)

    told = stage.told()[0]
    assert ("endpoint_unknown", None) == (told["output_missing"], told["output"])


@pytest.mark.parametrize(
    "error", [FalRefused(403, "locked"), FalRefused(401, "no"), SchemaDrift("result", "new", b"{}")]
)
async def test_a_refusal_leaves_the_signed_payload(stage, error):
    """Where fal refuses, or answers what is not known, the signed payload is the result."""
    await stage.tracked()
    stage.fal.answer_next("result", error)

    assert Done() == await stage.fetch.handle(await stage.webhook(), 1)

    assert [BASE | SIGNED] == stage.told()


async def test_not_ready_is_asked_again(stage):
    """A result that is not ready is asked for again, with growing gaps."""
    await stage.tracked()
    record = await stage.webhook()

    outcomes = [await stage.fetch.handle(record, attempt) for attempt in (1, 2, 3)]

    assert [
        RetryAt(T0 + SECOND, "fal_unavailable"),
        RetryAt(T0 + 2 * SECOND, "fal_unavailable"),
        RetryAt(T0 + 4 * SECOND, "fal_unavailable"),
    ] == outcomes
    assert [] == stage.told()


async def test_the_last_try_is_when_the_patience_ends(stage):
    """No retry is put later than the ten minutes after which the signed payload counts."""
    await stage.tracked()
    record = await stage.webhook()
    stage.clock.advance(8 * MINUTE)

    outcome = await stage.fetch.handle(record, 10)

    assert RetryAt(T0 + 10 * MINUTE, "fal_unavailable") == outcome


@pytest.mark.parametrize("answer", [ResultAnswer(ResultKind.NOT_READY), FalUnavailable("down")])
async def test_after_ten_minutes_the_signed_payload_is_the_result(stage, answer):
    """Ten minutes without an answer make the signed payload the result."""
    await stage.tracked()
    record = await stage.webhook()
    stage.fal.answer_next("result", answer)
    stage.clock.advance(10 * MINUTE)

    assert Done() == await stage.fetch.handle(record, 11)

    assert [BASE | SIGNED] == stage.told()


async def test_after_ten_minutes_a_null_payload_is_unavailable(stage):
    """Ten minutes without an answer make a null payload unavailable."""
    await stage.tracked()
    record = await stage.webhook(NULL)
    stage.clock.advance(10 * MINUTE)

    await stage.fetch.handle(record, 11)

    assert "unavailable" == stage.told()[0]["output_missing"]


async def test_an_expired_result_leaves_the_signed_payload(stage):
    """Where fal has forgotten the result, the signed payload is it."""
    await stage.tracked()
    stage.fal.answer_next("result", ResultAnswer(ResultKind.NOT_FOUND))

    await stage.fetch.handle(await stage.webhook(), 1)

    assert [BASE | SIGNED] == stage.told()


async def test_an_expired_result_of_a_null_payload_is_expired(stage):
    """Where fal has forgotten the result and signed none, the output is expired."""
    await stage.tracked()
    stage.fal.answer_next("result", ResultAnswer(ResultKind.NOT_FOUND))

    await stage.fetch.handle(await stage.webhook(NULL), 1)

    assert ("expired", None) == (stage.told()[0]["output_missing"], stage.told()[0]["output"])


async def test_an_output_that_is_not_json_travels_as_base64(stage):
    """An answer that is no JSON is carried as base64 beside its content type."""
    await stage.tracked()
    answer = ResultAnswer(ResultKind.READY, 200, b"\x89PNG", "image/png", "1")
    stage.fal.answer_next("result", answer)

    await stage.fetch.handle(await stage.webhook(NULL), 1)

    encoded = base64.b64encode(b"\x89PNG").decode()
    expected = {
        "output": None,
        "output_base64": encoded,
        "content_type": "image/png",
        "billable_units": "1",
    }
    assert [BASE | expected] == stage.told()


async def test_a_large_output_is_left_out(stage):
    """An output over 10 MiB is left out of the result event, which says so."""
    await stage.tracked()
    stage.fal.finish(R1, {"text": "x" * (10 * 1024 * 1024)}, billable_units="9")

    await stage.fetch.handle(await stage.webhook(), 1)

    expected = {"output": None, "output_missing": "too_large", "billable_units": "9"}
    assert [BASE | expected] == stage.told()


async def test_an_answer_too_large_to_read_is_too_large(stage):
    """An answer beyond what the client reads ends a null payload as too large."""
    await stage.tracked()
    stage.fal.answer_next("result", FalRefused(200, "too_large"))

    await stage.fetch.handle(await stage.webhook(NULL), 1)

    expected = {"output": None, "output_missing": "too_large", "billable_units": None}
    assert [BASE | expected] == stage.told()


async def test_an_answer_too_large_to_read_leaves_the_signed_payload(stage):
    """An answer beyond what the client reads leaves the payload that was signed."""
    await stage.tracked()
    stage.fal.answer_next("result", FalRefused(200, "too_large"))

    await stage.fetch.handle(await stage.webhook(), 1)

    assert [BASE | SIGNED] == stage.told()


async def test_the_signature_outranks_the_answer(stage):
    """An answer that tells another end adds its units only: the signed end stands."""
    await stage.tracked()
    stage.fal.finish(R1, {"detail": "no"}, http_status=500, billable_units="3")

    await stage.fetch.handle(await stage.webhook(), 1)

    assert [BASE | SIGNED | {"billable_units": "3"}] == stage.told()


async def test_a_reconciled_completion_carries_its_result(stage):
    """A reconciled completion is published without asking fal again."""
    await stage.tracked()
    completion = completion_of_answer(R1, 200, b'{"images":[],"seed":7}', "application/json")
    record = await stage.reconciled(replace(completion, billable_units="2.5"))

    assert Done() == await stage.fetch.handle(record, 1)

    assert [BASE | {"witness": "result"}] == stage.told()
    assert [] == stage.fal.calls


async def test_unproven_does_nothing():
    """With no account configured nothing is asked and nothing is published."""
    stage = Stage(accounts=())
    await stage.tracked()

    assert Done() == await stage.fetch.handle(await stage.webhook(), 1)

    assert [] == stage.told()
    assert [] == stage.fal.calls


async def test_unproven_counts_for_an_id_that_fal_gave_us():
    """With no account configured, an id from our own submit answer has its result."""
    stage = Stage(accounts=())
    stage.fal.add(ENDPOINT, R1)
    stage.fal.finish(R1, ASKED_OUTPUT, billable_units="2.5")
    await stage.fact(FactName.SUBMITTED, Witness.SUBMIT, detail={"endpoint": ENDPOINT})

    await stage.fetch.handle(await stage.webhook(), 1)

    assert [BASE] == stage.told()


async def test_unproven_ignores_the_token():
    """With no account configured a token names nothing."""
    stage = Stage(accounts=())
    record = await stage.webhook(token=Token(ENDPOINT, "sub_1"))

    assert Done() == await stage.fetch.handle(record, 1)

    assert [] == stage.told()


async def test_a_foreign_account_is_a_dead_letter(stage):
    """A genuine delivery of another account is set aside; fal is not asked."""
    await stage.tracked()

    outcome = await stage.fetch.handle(await stage.webhook(account=FOREIGN), 1)

    assert DeadLetter("foreign_account") == outcome
    assert ([], []) == (stage.told(), stage.fal.calls)


async def test_a_token_names_the_endpoint(stage):
    """A valid token tells the endpoint before the ledger knows the request."""
    stage.fal.add(ENDPOINT, R1)
    stage.fal.finish(R1, ASKED_OUTPUT, billable_units="2.5")

    await stage.fetch.handle(await stage.webhook(token=Token(ENDPOINT)), 1)

    assert [BASE] == stage.told()


async def test_a_token_of_an_unanswered_submission_correlates(stage):
    """A webhook that overtakes the submit's answer carries the submitter's own names."""
    stage.fal.answer_next("submit", FalUnavailable("never raised: the answer is a value"))
    command = await stage.submit(tags={"team": "a"})
    with pytest.raises(FalUnavailable):  # the call is cut: a claim stands, unanswered
        await stage.commands.handle(command, 1)
    submission_id = command.key
    stage.fal.add(ENDPOINT, R1)
    stage.fal.finish(R1, ASKED_OUTPUT, billable_units="2.5")

    await stage.fetch.handle(await stage.webhook(token=Token(ENDPOINT, submission_id)), 1)

    named = {"submission_id": submission_id, "command_id": "c1", "tags": {"team": "a"}}
    assert [BASE | named] == stage.told()


async def test_a_bound_submission_is_not_another_requests(stage):
    """A second request that shows the same token does not take the submission's names."""
    stage.fal.answer_next("submit", FalUnavailable("cut"))
    command = await stage.submit()
    with pytest.raises(FalUnavailable):
        await stage.commands.handle(command, 1)
    token = Token(ENDPOINT, command.key)
    await stage.webhook(token=token)
    await stage.catch_up()
    stage.clock.advance(SECOND)
    stage.fal.add(ENDPOINT, R2)
    stage.fal.finish(R2, ASKED_OUTPUT)

    await stage.fetch.handle(await stage.webhook(request_id=R2, token=token), 1)

    told = stage.told()[-1]
    assert (R2, None, None) == (told["request_id"], told["submission_id"], told["command_id"])


async def test_an_unknown_key_waits(stage):
    """A completion under an unknown key is tried again, and fal is not asked for its result."""
    await stage.tracked()
    record = await stage.webhook(signer=Signer("other"))

    outcome = await stage.fetch.handle(record, 1)

    assert RetryAt(T0 + 5 * MINUTE, "unknown_key") == outcome
    assert 0 == stage.calls("result")


async def test_an_unreadable_body_is_an_event_error(stage):
    """A signed body that nobody can read is no result: the worker sets it aside."""
    with pytest.raises(UndecodableEvent):
        await stage.fetch.handle(await stage.webhook(b"no json"), 1)


async def test_another_event_type_is_an_event_error(stage):
    """A record of another type among the completions is refused as undecodable."""
    command = await stage.submit()
    moved = await stage.put(
        NewRecord(Topic.COMPLETIONS, command.key, command.value, command.headers)
    )

    with pytest.raises(UndecodableEvent):
        await stage.fetch.handle(moved, 1)


async def test_a_large_reconciled_output_fits_the_log():
    """The event of a completion found by asking leaves out what no result would carry."""
    huge = Completion(R1, FactName.SUCCEEDED, 200, has_output=True, output="x" * 11_000_000)

    event = answers.completion_event(huge, source=SOURCE, at=T0)

    assert len(event.data) < 1000
