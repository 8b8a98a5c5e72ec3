"""Parked records whose time has come, with their own handler again."""

from dataclasses import replace

import pytest

from consumer.core.policy import Done
from consumer.errors import LedgerUnavailable
from consumer.sweeps.parked import HandleParked
from consumer.testing.keys import Signer
from consumer.worker import Worker
from tests.handlers.stage import MINUTE, R1, R2, Stage


def parking(stage: Stage) -> HandleParked:
    """Return the sweep over what the handler `record` parked."""
    worker = Worker(
        stage.record,
        stage.log,
        stage.ledger,
        clock=stage.clock,
        policies=stage.policies,
        metrics=stage.metrics,
    )
    return HandleParked(worker, stage.ledger)


async def park(stage: Stage, *request_ids: str) -> Signer:
    """Park deliveries under a key that is not known yet, and return its signer."""
    new = Signer("new")
    worker = parking(stage)._worker
    for request_id in request_ids:
        await worker._attempts.see_through(await stage.webhook(request_id=request_id, signer=new))
    return new


async def test_what_is_not_due_rests(stage):
    """A parked record is not touched before its time."""
    await park(stage, R1)

    assert 0 == await parking(stage).round()

    assert [2] == [parked.attempt for parked in stage.ledger.rows.parked.values()]


async def test_what_is_due_comes_back_until_it_is_done(stage):
    """A record under an unknown key is tried each time it is due, and is a fact at last."""
    new = await park(stage, R1, R2)
    stage.clock.advance(5 * MINUTE)
    first = await parking(stage).round()
    attempts = [parked.attempt for parked in stage.ledger.rows.parked.values()]
    stage.world.keys.publish(new)

    stage.clock.advance(5 * MINUTE)
    second = await parking(stage).round()

    assert (2, [3, 3], 2) == (first, attempts, second)
    assert {} == stage.ledger.rows.parked
    assert [True, True] == [(await stage.request(name)).end.signed for name in (R1, R2)]


async def test_a_ledger_that_is_away_leaves_it_parked(stage):
    """A record that was done and could not be unparked comes back, and is done again."""
    new = await park(stage, R1)
    stage.world.keys.publish(new)
    stage.clock.advance(5 * MINUTE)
    sweep = parking(stage)

    class Away:
        """A handler after which the ledger is away."""

        def __init__(self, handler):
            self.handler = handler
            self.name = handler.name

        async def handle(self, record, attempt):
            outcome = await self.handler.handle(record, attempt)
            stage.ledger.refuse_next(LedgerUnavailable("away"))
            assert Done() == outcome
            return outcome

    worker = sweep._worker
    worker._attempts = replace(worker._attempts, handler=Away(worker.handler))
    with pytest.raises(LedgerUnavailable):
        await sweep.round()
    still_parked = len(stage.ledger.rows.parked)

    assert 1 == await parking(stage).round()

    assert 1 == still_parked
    assert {} == stage.ledger.rows.parked
    assert 1 == len(await stage.ledger.evidence(R1))
