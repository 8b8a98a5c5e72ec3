"""What is usual is learned from what ended, and new requests are planned by it."""

import pytest

from consumer.app.values import plan_of
from consumer.core.fact import FactName, Witness
from consumer.core.policy import Policies
from consumer.errors import LedgerUnavailable
from consumer.sweeps.usual import Learned, LearnUsual
from tests.handlers.stage import ENDPOINT, SECOND, T0, Stage


def request_id(number: int) -> str:
    return f"019f7085-1439-7320-9a28-0000000000{number:02d}"


async def test_a_slow_endpoint_is_asked_about_later(stage: Stage):
    """After enough jobs of 80 s a new one is first due at 100 s; before, at the default."""
    learned = Learned()
    sweep = LearnUsual(stage.ledger, learned)
    for number in range(12):
        await stage.tracked(request_id(number))
    stage.clock.advance(80 * SECOND)
    for number in range(12):
        await stage.webhook(request_id=request_id(number))
    await stage.catch_up()
    await stage.tracked(request_id(20))
    new, policies = await stage.request(request_id(20)), Policies()
    before = plan_of(policies, new, T0, learned=learned)

    assert 0 == await sweep.round()

    after = plan_of(policies, new, T0, learned=learned)
    assert (T0 + 60 * SECOND, T0 + 100 * SECOND) == (before.check_at, after.check_at)


async def test_what_was_learned_stands_while_the_ledger_is_away(stage: Stage):
    """A round that fails changes nothing."""
    learned = Learned({ENDPOINT: None})
    stage.ledger.refuse_next(LedgerUnavailable("away"))

    with pytest.raises(LedgerUnavailable):
        await LearnUsual(stage.ledger, learned).round()

    assert [ENDPOINT] == list(learned.usual)


async def test_stored_payloads_are_asked_about_more_rarely(stage: Stage):
    """A submit that asks fal to store its payload lets later questions be rarer."""
    await stage.fact(
        FactName.SUBMITTED, Witness.SUBMIT, detail={"endpoint": ENDPOINT, "store_io": True}
    )

    assert (await stage.request()).keeps_payload
