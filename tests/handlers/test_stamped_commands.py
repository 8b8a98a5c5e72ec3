"""Submits from before a stamp: the ledger may have forgotten their claims, so they are not sent."""

from dataclasses import replace
from datetime import timedelta

import pytest

from consumer.core.fact import FactName
from consumer.core.policy import Done
from consumer.core.standing import SubmissionState
from consumer.ports import StampKind, SubmitRefused
from tests.handlers.commanding import handled
from tests.handlers.replaying import without_ledger
from tests.handlers.stage import HOUR, SUBMISSION


@pytest.mark.parametrize("kind", StampKind)
async def test_without_its_claim_a_submit_from_before_is_unknown_and_not_sent(stage, kind):
    """After a backup was restored, what was asked for before may have been sent already."""
    record = await stage.submit()
    await handled(stage, record)
    later = without_ledger(stage)
    stage.clock.advance(HOUR)
    await later.ledger.stamp(kind)

    outcome = await handled(later, record)
    told = later.told_facts()[-1]

    assert (Done(), 1) == (outcome, stage.calls("submit"))
    assert (FactName.UNKNOWN, SUBMISSION, "before_stamp") == (
        told.name,
        told.submission_id,
        told.detail["reason"],
    )


async def test_what_was_claimed_before_is_carried_on(stage):
    """A claim that the ledger kept says how far it came, whatever the stamp."""
    record = await stage.submit()
    await handled(stage, record)
    await stage.ledger.stamp(StampKind.COPIED)

    await handled(stage, record)

    assert 1 == stage.calls("submit")
    assert SubmissionState.SUBMITTED is (await stage.ledger.submission(SUBMISSION)).state


async def test_what_is_asked_for_after_a_stamp_is_sent(stage):
    """A stamp holds nothing up that comes later."""
    await stage.ledger.stamp(StampKind.RESTORED)
    stage.clock.advance(timedelta(seconds=1))

    await handled(stage, await stage.submit())

    assert 1 == stage.calls("submit")


async def test_the_earlier_of_its_two_times_counts(stage):
    """A sender whose clock is ahead does not get past the stamp, nor one whose clock is behind."""
    early = await stage.submit()
    stage.clock.advance(HOUR)
    await stage.ledger.stamp(StampKind.RESTORED)
    stage.clock.advance(HOUR)
    late = replace(early, appended_at=stage.clock())

    await handled(stage, late)

    assert 0 == stage.calls("submit")


async def test_what_was_put_off_before_is_not_sent_either(stage):
    """A claim that was put off may have been followed by one that the backup does not have."""
    stage.fal.answer_next("submit", SubmitRefused(403, "locked"))
    record = await stage.submit()
    await handled(stage, record)
    stage.clock.advance(HOUR)
    await stage.ledger.stamp(StampKind.RESTORED)

    outcome = await handled(stage, record, 2)

    assert (Done(), 1) == (outcome, stage.calls("submit"))
    assert FactName.UNKNOWN is stage.told_facts()[-1].name
