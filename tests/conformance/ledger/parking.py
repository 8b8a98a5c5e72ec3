"""What the ledger promises about parked records."""

from dataclasses import replace

from tests.conformance.ledger.entries import parked_record
from tests.conformance.ledger.stage import HOSTILE, SECOND, STORED, T0, Stage


async def parked_record_comes_back_whole(stage: Stage) -> None:
    """A parked record is due at its time, oldest first, for its group alone, byte for byte."""
    later = parked_record("p2", due_at=T0 + SECOND)
    for parked in (later, parked_record("p1"), parked_record("p3", group="commands")):
        await stage.ledger.park(parked)
    assert [parked_record("p1")] == await stage.ledger.take_parked("fetch", limit=10)
    stage.clock.advance(SECOND)

    ledger = await stage.reopen()

    assert [parked_record("p1"), later] == await ledger.take_parked("fetch", limit=10)
    assert [parked_record("p1")] == await ledger.take_parked("fetch", limit=1)
    assert 3 == (await ledger.counts())["parked"]


async def parking_again_only_moves(stage: Stage) -> None:
    """The same id parked again keeps its record and first time; unparked it is gone."""
    await stage.ledger.park(parked_record())
    moved = replace(
        parked_record(due_at=T0 + SECOND, attempt=2, reason=HOSTILE), parked_at=T0 + SECOND
    )
    await stage.ledger.park(moved)
    assert [] == await stage.ledger.take_parked("fetch", limit=10)
    stage.clock.advance(SECOND)

    (held,) = await stage.ledger.take_parked("fetch", limit=10)

    assert replace(moved, parked_at=T0, reason=STORED) == held
    await stage.ledger.unpark(held)
    await stage.ledger.unpark(held)
    assert [] == await stage.ledger.take_parked("fetch", limit=10)
