"""Ends that have no result event: the result is made again from what is held."""

import pytest

from consumer.core.completion import Completion
from consumer.core.fact import FactName, Witness
from consumer.errors import FalRefused, RecordRefused
from consumer.testing.deliveries import webhook_body
from tests.handlers.stage import MINUTE, OURS, R1, R2, Stage

KEYLESS = {"has_key": False}


async def settled(stage: Stage, how=None) -> list[dict]:
    """Let a process settle what is open, with or without a key, and return what it told."""
    process = stage.restarted(**(how or {}))
    process.clock.advance(MINUTE)
    await (process.settle.round() if how else process.reconcile.round())
    return process.told()


async def test_an_end_by_webhook_is_made_from_its_evidence(stage):
    """Without FAL_KEY the signed payload is the result of a known end."""
    await stage.tracked()
    await stage.webhook(webhook_body(R1, payload={"seed": 7}))
    await stage.catch_up()

    [told] = await settled(stage, KEYLESS)

    assert ("succeeded", "webhook", {"seed": 7}, None) == (
        told["outcome"],
        told["witness"],
        told["output"],
        told["billable_units"],
    )


async def test_an_end_by_reconciliation_keeps_its_units(stage):
    """A known end is asked about again, and its billable units are told."""
    await stage.tracked()
    stage.fal.finish(R1, {"seed": 7}, billable_units="2.5")
    await stage.reconciled(Completion(R1, FactName.SUCCEEDED, 200, billable_units="2.5"))
    await stage.catch_up()

    [told] = await settled(stage)

    assert ({"seed": 7}, "2.5") == (told["output"], told["billable_units"])


@pytest.mark.parametrize(
    "make_trouble",
    [
        lambda fal: fal.expire(R1),
        lambda fal: fal.answer_next("result", FalRefused(403, "no")),
        lambda fal: fal.finish(R1, {}, http_status=500),
    ],
    ids=["expired", "refused", "another end"],
)
async def test_an_end_whose_output_is_gone_says_so(stage, make_trouble):
    """What the fact said is told where fal no longer tells the same end."""
    await stage.tracked()
    stage.fal.finish(R1, {"seed": 7})
    await stage.reconciled(Completion(R1, FactName.SUCCEEDED, 200, billable_units="2.5"))
    await stage.catch_up()
    make_trouble(stage.fal)

    [told] = await settled(stage)

    assert ("succeeded", 200, "unavailable", "2.5") == (
        told["outcome"],
        told["http_status"],
        told["output_missing"],
        told["billable_units"],
    )


@pytest.mark.parametrize(
    "name, detail, expected",
    [
        (FactName.LOST, {"reason": "not_found"}, ("lost", "not_found", "sweep")),
        (FactName.CANCELLED, {"policy": "asked"}, ("cancelled", "asked", "cancel")),
    ],
)
async def test_a_bare_end_keeps_its_reason(stage, name, detail, expected):
    """A kill between an end without output and its result loses no reason."""
    witness = Witness.SWEEP if name is FactName.LOST else Witness.CANCEL
    await stage.tracked()
    await stage.fact(name, witness, detail=detail)

    [told] = await settled(stage, KEYLESS)

    assert expected == (told["outcome"], told["reason"], told["witness"])


async def test_without_a_key_everything_else_rests():
    """Without FAL_KEY a request without an end is not asked about, and stays open."""
    stage = Stage(has_key=False)
    await stage.tracked()

    assert [] == await settled(stage, KEYLESS)

    assert [] == stage.fal.calls
    assert (await stage.request()).is_open


async def test_without_a_key_what_is_done_is_finished(stage):
    """A row whose request is done meanwhile is removed."""
    await stage.tracked()
    await stage.webhook()
    await stage.catch_up()
    await settled(stage, KEYLESS)
    await stage.catch_up()

    stage.clock.advance(5 * MINUTE)
    await stage.restarted(**KEYLESS).settle.round()

    assert [] == list(stage.ledger.rows.schedules)
    assert 1 == len(stage.told())


async def test_one_that_cannot_be_published_holds_up_no_other(stage):
    """A result that the log refuses is put off; the others are published."""
    for request_id in (R1, R2):
        await stage.tracked(request_id)
        await stage.webhook(request_id=request_id)
    await stage.catch_up()
    stage.log.refuse_next(RecordRefused("results", "never"))
    stage.log.refuse_next(RecordRefused("results", "never"))

    told = await settled(stage, KEYLESS)

    assert len(told) >= 1
    rows = stage.ledger.rows.schedules.values()
    assert all(row.lease_until is None for row in rows)


async def test_an_account_configured_later_is_settled():
    """Ends that count only since their account was configured get their results."""
    first = Stage(accounts=())
    await first.tracked()
    await first.webhook()
    await first.catch_up()
    before = first.told()
    await first.ledger.recount([OURS])
    first.fal.finish(R1, {"seed": 7}, billable_units="2")

    [told] = await settled(first)

    assert [] == before
    assert ({"seed": 7}, "2", "webhook") == (
        told["output"],
        told["billable_units"],
        told["witness"],
    )
