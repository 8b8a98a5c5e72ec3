"""What retention promises: what is over and old goes, and nothing that anybody still needs."""

from datetime import timedelta

from consumer.core.fact import FactName, Witness
from tests.conformance.ledger.entries import resulted, told, tracked, webhook
from tests.conformance.ledger.stage import R1, R2, R3, SECOND, Stage, held, trimmed

DAY = timedelta(days=1)


async def what_is_over_and_old_goes(stage: Stage) -> None:
    """Facts and evidence of a request that ended go; its row, its result stay as they were."""
    await stage.ledger.record(tracked(R1))
    await stage.ledger.record(webhook(R1))
    await stage.ledger.record(resulted(R1, outcome="succeeded"))
    before = await stage.ledger.request(R1), await stage.ledger.result(R1)
    assert (0, 0) != await held(stage.ledger, R1)
    stage.clock.advance(100 * DAY)

    await trimmed(stage.ledger, 101 * DAY)
    assert (0, 0) != await held(stage.ledger, R1)
    await trimmed(stage.ledger, 90 * DAY)

    assert (0, 0) == await held(stage.ledger, R1)
    assert before == (await stage.ledger.request(R1), await stage.ledger.result(R1))


async def what_belongs_to_an_open_request_stays(stage: Stage) -> None:
    """A request with work left keeps everything, however old; so does its submission."""
    await stage.ledger.record(tracked(R1))
    await stage.ledger.record(webhook(R1))  # an end without its result event is open work
    await stage.ledger.record(told(FactName.RUNNING, request_id=R2, submission_id="s2"))
    intended = told(FactName.INTENDED, Witness.COMMAND, request_id="", submission_id="s3")
    await stage.ledger.record(intended)
    await stage.ledger.record(webhook(R3))
    await stage.ledger.record(resulted(R3, outcome="succeeded"))
    names = (R1, R2, "s2", "s3")
    before = [await held(stage.ledger, name) for name in names]
    stage.clock.advance(400 * DAY)

    await trimmed(stage.ledger, 90 * DAY)

    assert before == [await held(stage.ledger, name) for name in names]
    assert (0, 0) == await held(stage.ledger, R3)


async def what_was_heard_of_since_stays_whole(stage: Stage) -> None:
    """One late fact keeps the whole story of its request."""
    await stage.ledger.record(webhook(R1))
    await stage.ledger.record(resulted(R1, outcome="succeeded"))
    stage.clock.advance(100 * DAY)
    await stage.ledger.record(
        told(FactName.CANCEL_REFUSED, Witness.CANCEL, request_id=R1, at=stage.clock() - SECOND)
    )
    before = await held(stage.ledger, R1)

    await trimmed(stage.ledger, 90 * DAY)

    assert before == await held(stage.ledger, R1)


async def what_does_not_count_stays(stage: Stage) -> None:
    """Of an account that may yet be configured everything is kept, and derived anew then."""
    await stage.ledger.record(webhook(R1, account="later", counts=False))
    before = await held(stage.ledger, R1)
    stage.clock.advance(400 * DAY)

    await trimmed(stage.ledger, 90 * DAY)

    assert before == await held(stage.ledger, R1)
    assert 1 == await stage.ledger.recount(["later"])
    assert (await stage.ledger.request(R1)).end.counts
