"""The account's listing against the ledger: what it finds, and what it leaves alone."""

from datetime import timedelta

import pytest

from consumer.core.fact import FactName, Witness
from consumer.core.listing import Listed
from consumer.core.standing import State, SubmissionState
from consumer.errors import FalRefused, FalUnavailable
from consumer.ports import SubmitUnknown
from consumer.sweeps.account import SweepAccount
from consumer.testing.listing import FakeListing
from tests.handlers.commanding import handled
from tests.handlers.stage import ENDPOINT, HOUR, MINUTE, R1, R2, SUBMISSION, T0, Stage

INPUT = {"prompt": "apple"}


def sweep_of(stage: Stage, *items: Listed, endpoints=(ENDPOINT,)) -> SweepAccount:
    listing = FakeListing(list(items))
    return SweepAccount(listing, stage.facts, stage.ledger, endpoints=endpoints, clock=stage.clock)


def ended(request_id=R1, value=None, *, status_code=200) -> Listed:
    return Listed(request_id, ENDPOINT, T0, T0 + MINUTE, status_code, value)


async def swept(stage: Stage, sweep: SweepAccount) -> None:
    assert 0 == await sweep.round()
    await stage.catch_up()


async def unknown(stage: Stage, command_id="c1") -> None:
    stage.fal.answer_next("submit", SubmitUnknown("timeout"))
    await handled(stage, await stage.submit(command_id=command_id, group="g"))


async def test_a_request_that_nobody_registered_is_followed_to_its_end(stage: Stage):
    """What fal lists for our key becomes known, ours and untracked, and gets its result."""
    stage.fal.add(ENDPOINT, R1)
    stage.fal.finish(R1, {"seed": 7})

    await swept(stage, sweep_of(stage, ended()))
    known = await stage.request()
    await stage.reconcile.round()
    await stage.catch_up()
    await stage.fetch_all()

    assert (True, False, ENDPOINT) == (known.is_ours, known.is_tracked, known.endpoint.value)
    assert State.SUCCEEDED == (await stage.request()).state
    assert ["succeeded"] == [told["outcome"] for told in stage.told()]


async def test_an_end_that_nobody_heard_of_is_asked_for_at_once(stage: Stage):
    """A tracked request whose webhook was lost is due now when fal lists its end; once."""
    await stage.tracked()
    stage.fal.finish(R1, {"seed": 7})
    sweep = sweep_of(stage, ended())

    await swept(stage, sweep)
    await swept(stage, sweep)

    assert 1 == stage.fact_names().count("listed")
    assert 1 == await stage.reconcile.round()


async def test_the_endpoint_of_a_request_known_by_its_webhook_is_learned(stage: Stage):
    """A webhook names no endpoint; the listing does."""
    await stage.webhook()
    await stage.catch_up()

    await swept(stage, sweep_of(stage, ended()))

    assert ENDPOINT == (await stage.request()).endpoint.value


async def test_an_unknown_submission_finds_its_request(stage: Stage):
    """One unknown and one unclaimed request with its input: it is that one, with all it kept."""
    await unknown(stage)

    await swept(stage, sweep_of(stage, ended(value=INPUT)))

    submission = await stage.ledger.submission(SUBMISSION)
    request = await stage.request()
    assert (SubmissionState.SUBMITTED, R1) == (submission.state, submission.request.value)
    assert (True, "g", SUBMISSION) == (
        request.is_tracked,
        request.group,
        request.submission.value,
    )
    assert 1 == stage.calls("submit")


@pytest.mark.parametrize("how", ["two submissions", "two requests", "claimed", "another input"])
async def test_what_is_not_certain_stays_unknown(stage: Stage, how):
    """Where two share an input, or the request belongs to somebody, nothing is linked."""
    await unknown(stage)
    items = [ended(value=INPUT)]
    if how == "two submissions":
        await unknown(stage, "c2")
    elif how == "two requests":
        items.append(ended(R2, INPUT))
    elif how == "claimed":
        await stage.fact(
            FactName.SUBMITTED,
            Witness.SUBMIT,
            submission_id="sub_other",
            detail={"endpoint": ENDPOINT},
        )
    else:
        items = [ended(value={"prompt": "pear"})]

    await swept(stage, sweep_of(stage, *items))

    assert SubmissionState.UNKNOWN == (await stage.ledger.submission(SUBMISSION)).state


async def test_endpoints_come_from_settings_and_from_what_is_known(stage: Stage):
    """Without an endpoint nothing is asked; later those that requests have."""
    sweep = sweep_of(stage, endpoints=())
    await swept(stage, sweep)
    nothing = list(sweep._listing.asked)
    await stage.tracked()
    await swept(stage, sweep)
    stage.clock.advance(HOUR)
    await swept(stage, sweep)

    assert [] == nothing
    day, overlap = timedelta(hours=24), 15 * MINUTE
    assert [
        ((ENDPOINT,), T0 - day, False),
        ((ENDPOINT,), T0 - overlap, False),
    ] == sweep._listing.asked


async def test_a_key_that_may_not_list_rests_and_says_so(stage: Stage):
    """A refusal is no error of the round: it is said, and tried again after an hour."""
    sweep = sweep_of(stage, ended())
    sweep._listing.refuse_next(FalRefused(403, "forbidden"))
    await swept(stage, sweep)
    await swept(stage, sweep)
    note, calls = sweep.note, len(sweep._listing.asked)

    stage.clock.advance(HOUR)
    await swept(stage, sweep)

    assert "does not let this key list" in note
    assert 1 == calls
    assert sweep.note is None


async def test_a_listing_that_is_away_is_told_to_the_loop(stage: Stage):
    """While fal does not answer the round fails, and what was seen before stands."""
    sweep = sweep_of(stage, ended())
    sweep._listing.refuse_next(FalUnavailable("down"))

    with pytest.raises(FalUnavailable):
        await sweep.round()

    await swept(stage, sweep)
    assert "listed" in stage.fact_names()
