"""Overdue requests: what follows from each of fal's answers, and when it is asked again."""

import pytest

from consumer.core.fact import FactName, Witness
from consumer.core.listing import Listed
from consumer.core.standing import State
from consumer.errors import FalRefused, FalUnavailable, LogUnavailable, SchemaDrift
from consumer.ports import QueueStatus, ResultAnswer, ResultKind, StatusAnswer
from consumer.testing.listing import FakeListing
from tests.handlers.stage import ENDPOINT, HOUR, MINUTE, R1, R2, SECOND, T0, Stage
from tests.sweeps.rounds import after, told

COMPLETED = StatusAnswer(QueueStatus.COMPLETED)


# ---------------------------------------------------------------- when


@pytest.mark.parametrize(
    "has_callback, expected",
    [
        (True, [60, 180, 420, 660]),
        (False, [1, 3, 7, 15, 31, 63, 123, 183]),
    ],
)
async def test_checks_grow_rarer(stage, has_callback, expected):
    """Checks begin after 60 s, or 1 s where no callback was sent, and double to their limit."""
    await stage.tracked(has_callback=has_callback)
    asked = []

    for second in range(expected[-1] + 1):
        before = stage.calls("status")
        await stage.reconcile.round()
        if stage.calls("status") > before:
            asked.append(second)
        stage.clock.advance(SECOND)

    assert expected == asked


# ---------------------------------------------------------------- each answer


async def test_a_position_is_told_when_it_moves(stage):
    """A queue position is a fact when it is new, and only then."""
    await stage.tracked()
    stage.fal.jobs[R1].queue_position = 4
    await after(stage, MINUTE)
    await after(stage, 2 * MINUTE)
    stage.fal.jobs[R1].queue_position = 2
    await after(stage, 4 * MINUTE)

    positions = [f.detail for f in stage.told_facts() if f.name is FactName.QUEUED]
    assert [{"position": 4}, {"position": 2}] == positions
    assert State.QUEUED == (await stage.request()).state


async def test_running_is_told_once(stage):
    """A request that runs is told once."""
    await stage.tracked()
    stage.fal.start(R1)
    await after(stage, MINUTE)
    await after(stage, 2 * MINUTE)

    assert ["tracked", "running"] == stage.fact_names()


async def test_a_lost_webhook_is_found(stage):
    """A request that is done without a webhook ends by its result, with units and output."""
    await stage.tracked()
    stage.fal.finish(R1, {"seed": 7}, billable_units="2.5")

    await after(stage, MINUTE)

    names = ("request_id", "outcome", "witness", "http_status", "output", "billable_units")
    assert [(R1, "succeeded", "result", 200, {"seed": 7}, "2.5")] == told(stage, *names)
    request = await stage.request()
    assert (State.SUCCEEDED, False) == (request.state, request.is_open)
    assert [] == list(await stage.ledger.take_due("check", limit=9, lease=MINUTE))


@pytest.mark.parametrize(
    "http_status, error_type, outcome",
    [(422, "value_error", "failed"), (500, "x", "failed"), (499, "client_cancelled", "cancelled")],
)
async def test_completed_covers_failure_and_cancellation(stage, http_status, error_type, outcome):
    """COMPLETED says nothing of the end: the result's status and error type do."""
    await stage.tracked()
    stage.fal.break_down(R1, "no", error_type, http_status)

    await after(stage, MINUTE)

    names = ("outcome", "http_status", "error_type")
    assert [(outcome, http_status, error_type)] == told(stage, *names)


async def test_completed_without_its_result_is_asked_again_soon(stage):
    """A request whose result is not ready yet is asked again soon, but ever less often."""
    await stage.tracked()
    stage.fal.answer_next("status", *[COMPLETED] * 4)

    asked = []
    for second in range(100):
        before = stage.calls("result")
        await stage.reconcile.round()
        if stage.calls("result") > before:
            asked.append(second)
        stage.clock.advance(SECOND)

    assert [60, 61, 63, 67] == asked
    assert [] == stage.told()


async def test_an_expired_result_ends_by_the_status(stage):
    """Where the result has expired, a status with an error gives the end."""
    await stage.tracked()
    stage.fal.break_down(R1, "no worker", "runner_disconnected", 503)
    stage.fal.expire(R1)

    await after(stage, MINUTE)

    names = ("outcome", "error", "error_type", "output_missing")
    expected = ("failed", "no worker", "runner_disconnected", "expired")
    assert [expected] == told(stage, *names)
    assert Witness.STATUS is (await stage.request()).end.witness


async def test_an_expired_result_without_an_error_is_lost(stage):
    """Where neither result nor status tells the end, the request is lost with that reason."""
    await stage.tracked()
    stage.fal.finish(R1, {})
    stage.fal.expire(R1)

    await after(stage, MINUTE)

    assert [("lost", "result_expired")] == told(stage, "outcome", "reason")
    assert State.LOST == (await stage.request()).state


async def test_an_output_too_large_for_the_log_ends_the_request(stage):
    """An output that no record could carry is left out; the request ends nevertheless."""
    await stage.tracked()
    stage.fal.finish(R1, b'"' + b"x" * (33 << 20) + b'"', billable_units="9")

    await after(stage, MINUTE)

    names = ("outcome", "output", "output_missing", "billable_units")
    assert [("succeeded", None, "too_large", "9")] == told(stage, *names)


async def test_an_output_too_large_to_read_ends_the_request(stage):
    """An output beyond what the client reads is left out; its HTTP status gives the end."""
    await stage.tracked()
    stage.fal.finish(R1, {})
    stage.fal.answer_next("result", FalRefused(200, "too_large"))

    await after(stage, MINUTE)

    assert [("succeeded", "too_large")] == told(stage, "outcome", "output_missing")


@pytest.mark.parametrize(
    "error", [FalUnavailable("down"), FalRefused(401, "no"), SchemaDrift("status", "new", b"")]
)
async def test_an_error_is_asked_again_later(stage, error):
    """A request that fal does not answer about is put off; others go on."""
    await stage.tracked(R1)
    await stage.tracked(R2)
    stage.fal.finish(R2, {})
    stage.fal.answer_next("status", error)

    await after(stage, MINUTE)
    first = told(stage, "request_id")
    stage.fal.finish(R1, {})
    await after(stage, 2 * MINUTE)

    assert [(R2,)] == first
    assert {(R1,), (R2,)} == set(told(stage, "request_id"))


async def test_an_expired_answer_of_the_result_alone_is_not_lost_by_itself(stage):
    """A result that is not found while the status is pending changes nothing."""
    await stage.tracked()
    stage.fal.answer_next("result", ResultAnswer(ResultKind.NOT_FOUND))

    await after(stage, MINUTE)

    assert State.QUEUED == (await stage.request()).state
    assert 0 == stage.calls("result")


# ---------------------------------------------------------------- the rest


async def test_an_unknown_endpoint_is_lost_after_a_day(stage):
    """A request whose endpoint nobody names cannot be asked about; after 24 h it is lost."""
    await stage.fact(FactName.SUBMITTED, Witness.SUBMIT)
    for _ in range(24 * 15 - 1):
        await after(stage, 4 * MINUTE)
    before = stage.told()

    await after(stage, 8 * MINUTE)

    assert [] == before
    assert [("lost", "endpoint_unknown")] == told(stage, "outcome", "reason")
    assert [] == stage.fal.calls


async def test_a_known_end_without_a_result_gets_one(stage):
    """A request whose end is known gets its result event, and then is done."""
    await stage.tracked()
    await stage.webhook()
    await stage.catch_up()

    stage.clock.advance(MINUTE)
    await stage.reconcile.round()
    await stage.catch_up()

    assert 0 == stage.calls("status")
    stage.fal.finish(R1, {})
    stage.clock.advance(5 * MINUTE)
    await stage.reconcile.round()
    await stage.catch_up()
    assert [("succeeded", "webhook")] == told(stage, "outcome", "witness")
    assert not (await stage.request()).is_open


async def test_a_known_end_does_not_wait_for_fal_for_ever(stage):
    """Ten minutes after an end is known its result no longer waits for fal."""
    await stage.tracked()
    await stage.webhook()
    await stage.catch_up()
    for _ in range(20):
        stage.fal.answer_next("result", FalUnavailable("down"))

    for _ in range(3):
        stage.clock.advance(4 * MINUTE)
        await stage.reconcile.round()
        await stage.catch_up()

    assert [("succeeded", "webhook", None)] == told(stage, "outcome", "witness", "billable_units")


async def test_a_late_truth_outranks_what_was_lost(stage):
    """A webhook after the request was lost makes a second revision."""
    await stage.tracked()
    stage.fal.forget(R1)
    await after(stage, MINUTE)
    await after(stage, 5 * MINUTE)
    await stage.webhook()

    await after(stage, HOUR)

    assert [(1, "lost"), (2, "succeeded")] == told(stage, "revision", "outcome")


async def test_a_log_that_is_away_is_told_to_the_loop(stage):
    """Without a log the round fails; the lease goes back, and the request is asked again soon."""
    await stage.tracked()
    stage.fal.finish(R1, {})
    stage.clock.advance(MINUTE)
    stage.log.refuse_next(LogUnavailable("away"))
    with pytest.raises(LogUnavailable):
        await stage.reconcile.round()

    await after(stage, 2 * SECOND)

    assert [("succeeded",)] == told(stage, "outcome")
    assert T0 < (await stage.request()).end.at


# ---------------------------------------------------------------- the account's listing


LISTED = Listed(R1, ENDPOINT, T0, T0 + SECOND, 200)


async def test_what_the_listing_has_is_not_lost():
    """A request that the queue forgot ends as the listing's status code says."""
    stage = Stage(listing=FakeListing([LISTED]))
    await stage.tracked()
    stage.fal.forget(R1)

    for _ in range(3):
        await after(stage, 6 * MINUTE)
        await stage.fetch_all()

    assert [("succeeded", "expired")] == told(stage, "outcome", "output_missing")


async def test_a_result_that_expired_without_an_error_ends_as_listed():
    """Where only the result is gone and the status tells no error, the listing tells the end."""
    listed = Listed(R1, ENDPOINT, T0, T0 + SECOND, 422)
    stage = Stage(listing=FakeListing([listed]))
    await stage.tracked()
    stage.fal.finish(R1, {})
    stage.fal.expire(R1)

    await after(stage, MINUTE)
    await stage.fetch_all()

    assert [("failed", 422)] == told(stage, "outcome", "http_status")


async def test_a_request_that_is_absent_from_the_listing_too_is_lost():
    """Unknown to the queue twice and to the listing: lost, as without a listing."""
    stage = Stage(listing=FakeListing())
    await stage.tracked()
    stage.fal.forget(R1)

    for _ in range(3):
        await after(stage, 6 * MINUTE)

    assert [("lost", "not_found")] == told(stage, "outcome", "reason")


@pytest.mark.parametrize(
    "error, outcomes", [(FalUnavailable("down"), []), (FalRefused(403, "forbidden"), ["lost"])]
)
async def test_a_listing_that_does_not_answer_is_waited_for(error, outcomes):
    """While the listing is away nothing is lost; where it may not be asked, the queue decides."""
    listing = FakeListing()
    stage = Stage(listing=listing)
    await stage.tracked()
    stage.fal.forget(R1)
    await after(stage, MINUTE)
    listing.refuse_next(error)

    await after(stage, 6 * MINUTE)

    assert outcomes == [found["outcome"] for found in stage.told()]


async def test_what_the_listing_has_without_an_end_is_followed_on():
    """A request that runs by the listing is neither lost nor ended."""
    stage = Stage(listing=FakeListing([Listed(R1, ENDPOINT, T0)]))
    await stage.tracked()
    stage.fal.forget(R1)

    for _ in range(3):
        await after(stage, 6 * MINUTE)

    assert [] == stage.told()
