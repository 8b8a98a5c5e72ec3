"""What schedules promise: each row due at its time, and in one hand."""

import asyncio
from dataclasses import replace
from datetime import timedelta

from consumer.core.fact import FactName, Witness
from tests.conformance.ledger.entries import resulted, told, tracked, webhook
from tests.conformance.ledger.stage import LEASE, R1, R2, SECOND, Stage, due


async def schedule_follows_the_plan(stage: Stage) -> None:
    """A tracked request is due at its plan's instant, and not at all once it is settled."""
    await stage.ledger.record(tracked(has_callback=True))
    assert [] == await due(stage.ledger)
    stage.clock.advance(59 * SECOND)
    assert [] == await due(stage.ledger)
    stage.clock.advance(SECOND)
    assert [R1] == await due(stage.ledger)

    await stage.ledger.record(webhook())
    assert [R1] == await due(stage.ledger)

    await stage.ledger.record(resulted())
    assert [] == await due(stage.ledger)


async def later_facts_do_not_move_a_check(stage: Stage) -> None:
    """A check that was put off stays so, whatever is learned, until it is wanted at once."""
    await stage.ledger.record(tracked(has_callback=True))
    stage.clock.advance(timedelta(minutes=1))
    (row,) = await stage.ledger.take_due("check", limit=10, lease=LEASE)
    assert await stage.ledger.put_off(row, timedelta(minutes=4))
    stage.clock.advance(timedelta(minutes=2))

    await stage.ledger.record(told(FactName.RUNNING))
    assert [] == await due(stage.ledger)

    await stage.ledger.record(webhook(name=FactName.UNREADABLE))
    assert [R1] == await due(stage.ledger)


async def earlier_cancel_replaces_a_later_one(stage: Stage) -> None:
    """
    A cancel becomes due at the earliest instant that was ever planned, and is put off from there.
    """
    await stage.ledger.record(tracked(finish_by="2026-10-01T12:05:00.123456Z"))
    stage.clock.advance(timedelta(minutes=2))
    assert [] == await due(stage.ledger, "cancel")
    sooner = told(FactName.TRACKED, Witness.COMMAND, finish_by="2026-10-01T12:02:00.123456Z")
    await stage.ledger.record(sooner)

    (row,) = await stage.ledger.take_due("cancel", limit=10, lease=LEASE)
    assert await stage.ledger.put_off(row, timedelta(minutes=1))
    await stage.ledger.record(told(FactName.RUNNING))
    assert [] == await due(stage.ledger, "cancel")

    await stage.ledger.record(told(FactName.CANCEL_ASKED, Witness.CANCEL))
    stage.clock.advance(timedelta(hours=1))
    assert [] == await due(stage.ledger, "cancel")


async def lease_keeps_others_away(stage: Stage) -> None:
    """
    A leased row is nobody else's until its lease ends; then the late holder's writes are refused.
    """
    await stage.ledger.record(tracked())
    stage.clock.advance(timedelta(minutes=1))
    (first,) = await stage.ledger.take_due("check", limit=10, lease=LEASE)
    assert [] == await stage.ledger.take_due("check", limit=10, lease=LEASE)
    stage.clock.advance(LEASE)

    (second,) = await stage.ledger.take_due("check", limit=10, lease=LEASE)

    assert (R1, 1, stage.clock() + LEASE) == (second.subject, second.attempt, second.lease_until)
    assert second.fence > first.fence
    assert not await stage.ledger.put_off(first, SECOND)
    assert not await stage.ledger.finish(first)
    assert await stage.ledger.finish(second)
    assert not await stage.ledger.finish(second)
    assert [] == await due(stage.ledger)


async def two_takers_share_the_rows(stage: Stage) -> None:
    """Rows taken at once by several are each given to one of them, within the limit."""
    names = [f"r{n:02d}" for n in range(10)]
    for name in names:
        await stage.ledger.record(tracked(name))
    stage.clock.advance(timedelta(minutes=1))

    taken = await asyncio.gather(
        *(stage.ledger.take_due("check", limit=4, lease=LEASE) for _ in range(4))
    )

    assert names == sorted(row.subject for rows in taken for row in rows)
    assert max(len(rows) for rows in taken) <= 4


async def put_off_raises_the_attempt(stage: Stage) -> None:
    """A row that is put off is due again after that time, at the next attempt."""
    await stage.ledger.record(tracked())
    stage.clock.advance(timedelta(minutes=1))
    (row,) = await stage.ledger.take_due("check", limit=10, lease=LEASE)
    assert await stage.ledger.put_off(row, 5 * SECOND)
    assert not await stage.ledger.put_off(replace(row, fence=row.fence - 1), SECOND)
    assert [] == await due(stage.ledger)

    stage.clock.advance(5 * SECOND)

    (again,) = await stage.ledger.take_due("check", limit=10, lease=LEASE)
    assert (row.attempt + 1, True) == (again.attempt, again.fence > row.fence)


async def row_made_again_does_not_know_old_fences(stage: Stage) -> None:
    """A holder whose row was removed meanwhile cannot touch the one that replaced it."""
    await stage.ledger.record(tracked())
    stage.clock.advance(timedelta(minutes=1))
    (old,) = await stage.ledger.take_due("check", limit=10, lease=LEASE)
    await stage.ledger.record(webhook())
    await stage.ledger.record(resulted(outcome="succeeded"))
    stage.clock.advance(SECOND)
    assert not await stage.ledger.put_off(old, SECOND)

    await stage.ledger.record(tracked(R2))
    await stage.ledger.record(told(FactName.FAILED, request_id=R1))
    stage.clock.advance(timedelta(minutes=2))

    assert [R2] == await due(stage.ledger)
    assert not await stage.ledger.finish(old)


async def absurdly_late_row_counts_as_due(stage: Stage) -> None:
    """A row that a wrong clock put further ahead than any span is due at once."""
    stage.clock.advance(timedelta(days=400))
    await stage.ledger.record(tracked())
    stage.clock.advance(timedelta(days=-400))

    assert [R1] == await due(stage.ledger)


async def far_deadline_is_not_due(stage: Stage) -> None:
    """A deadline of several days is not taken for a wrong clock, neither at first nor put off."""
    await stage.ledger.record(tracked(finish_by="2026-10-21T12:00:00Z"))
    assert [] == await due(stage.ledger, "cancel")
    stage.clock.advance(timedelta(hours=48))

    rows = await stage.ledger.take_due("cancel", limit=10, lease=timedelta(0))
    assert [True] == [await stage.ledger.put_off(row, timedelta(days=18)) for row in rows]

    assert [] == await due(stage.ledger, "cancel")
