"""The one way to a result event: claimed first, each revision once."""

import asyncio

import pytest

from consumer.core.event import Topic, decode
from consumer.core.result import Correlation, Result, bare_result
from consumer.errors import InvariantBroken, LedgerUnavailable, LogUnavailable
from consumer.ports import ClaimKind
from consumer.testing.log import MemoryLog
from tests.handlers.stage import R1, SECOND, T0, Countdown, Stage, run_to_death


def ended(outcome: str, **fields) -> Result:
    result = bare_result(
        outcome, Correlation(), request_id=R1, reason=None, witness="webhook", ended_at=T0
    )
    return result.model_copy(update=fields)


def revisions(stage: Stage) -> list[tuple[int, str]]:
    return [(told["revision"], told["outcome"]) for told in stage.told()]


async def test_twice_publishes_once(stage):
    """The same result again publishes nothing."""
    await stage.results.publish(ended("succeeded"))
    await stage.results.publish(ended("succeeded"))

    assert [(1, "succeeded")] == revisions(stage)


async def test_the_claim_is_first(stage):
    """Without a ledger that takes the claim nothing is published."""
    stage.ledger.refuse_next(LedgerUnavailable("away"), 2)

    with pytest.raises(LedgerUnavailable):
        await stage.results.publish(ended("succeeded"))

    assert [] == stage.told()


async def test_the_claim_holds_the_event_until_it_is_out(stage):
    """A log that fails leaves a claim with the event, which the next attempt publishes."""
    stage.log.refuse_next(LogUnavailable("away"))
    with pytest.raises(LogUnavailable):
        await stage.results.publish(ended("succeeded"))
    claim = await stage.ledger.latest_claim(ClaimKind.RESULT, R1)

    await stage.results.publish(ended("succeeded", witness="result"))

    assert not claim.is_published
    assert [claim.event.value] == [r.value for r in stage.log.records(Topic.RESULTS)]


@pytest.mark.parametrize("dies_at", range(8))
async def test_a_kill_anywhere_leaves_one_revision(dies_at):
    """A kill at any step, then the sweep of claims and a repetition: one revision, one id."""
    first = Stage(countdown=Countdown(dies_at))
    await run_to_death(lambda: first.results.publish(ended("succeeded")))
    stage = first.restarted()

    stage.clock.advance(10 * SECOND)
    await stage.claims.round()
    await stage.results.publish(ended("succeeded", ended_at="2026-10-01T13:00:00.000000Z"))

    events = [decode(r.headers, r.value) for r in stage.log.records(Topic.RESULTS)]
    assert 1 == len({event.id for event in events})
    assert 1 == len({event.data for event in events})
    assert (await stage.ledger.latest_claim(ClaimKind.RESULT, R1)).is_published


@pytest.mark.parametrize(
    "first, second, expected",
    [
        ("lost", "cancelled", [(1, "lost"), (2, "cancelled")]),
        ("cancelled", "failed", [(1, "cancelled"), (2, "failed")]),
        ("failed", "succeeded", [(1, "failed"), (2, "succeeded")]),
        ("succeeded", "failed", [(1, "succeeded")]),
        ("failed", "lost", [(1, "failed")]),
    ],
)
async def test_only_a_higher_end_is_a_revision(stage, first, second, expected):
    """A later end is a revision when it outranks the published one, and only then."""
    await stage.results.publish(ended(first))
    await stage.results.publish(ended(second))

    assert expected == revisions(stage)


async def test_a_missing_output_may_be_filled_once(stage):
    """An output that was missing is filled by a second revision; no third one follows."""
    await stage.results.publish(ended("succeeded", output_missing="unavailable"))
    await stage.results.publish(ended("succeeded", output={"a": 1}))
    await stage.results.publish(ended("succeeded", output={"a": 2}))

    assert [(1, None), (2, {"a": 1})] == [(t["revision"], t["output"]) for t in stage.told()]


async def test_a_better_witness_is_no_revision(stage):
    """The same outcome by a better witness publishes nothing."""
    await stage.results.publish(ended("succeeded", witness="result"))
    await stage.results.publish(ended("succeeded", witness="webhook", billable_units="3"))

    assert [(1, "succeeded")] == revisions(stage)


@pytest.mark.parametrize("outcomes", [("failed", "succeeded"), ("lost", "cancelled", "failed")])
async def test_racing_publishers_agree_on_each_revision(outcomes):
    """Publishers with different truths at once leave one event a revision; the best is last."""
    stage = Stage(countdown=Countdown())
    results = [ended(outcome, output=n) for n, outcome in enumerate(outcomes * 8)]

    await asyncio.gather(*(stage.results.publish(result) for result in results))

    told = {}
    for record in stage.log.records(Topic.RESULTS):
        told.setdefault(decode(record.headers, record.value).id, set()).add(record.value)
    assert all(len(values) == 1 for values in told.values())
    latest = await stage.ledger.latest_claim(ClaimKind.RESULT, R1)
    assert outcomes[-1] == latest.detail["outcome"]
    assert (latest.revision, outcomes[-1]) == max(revisions(stage))


async def test_a_result_that_the_log_refuses_goes_out_without_its_output(stage):
    """An end has its event even where the log will never take the output."""
    stage.log = MemoryLog(clock=stage.clock, store=stage.log.store, max_record_bytes=5000)
    stage.world.log = stage.log
    stage = stage.restarted()

    await stage.results.publish(ended("failed", output="x" * 9000, error="e" * 9000))

    told = stage.told()[0]
    assert (None, "too_large", 1000) == (
        told["output"],
        told["output_missing"],
        len(told["error"]),
    )
    assert (await stage.ledger.latest_claim(ClaimKind.RESULT, R1)).is_published


async def test_a_result_of_nobody_is_our_mistake(stage):
    """A result that names neither a request nor a submission is never published."""
    with pytest.raises(InvariantBroken):
        await stage.results.publish(
            bare_result("lost", Correlation(), reason=None, witness="sweep", ended_at=T0)
        )
