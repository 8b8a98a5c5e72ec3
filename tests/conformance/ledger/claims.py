"""What claims promise: one stands under each name, and holds its event."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from consumer.errors import UndecodableEvent
from consumer.ports import ClaimKind
from tests.conformance.ledger.entries import EVENT, claimed
from tests.conformance.ledger.stage import HOSTILE, SECOND, T0, Stage


async def one_of_two_claims_stands(stage: Stage) -> None:
    """Of two claims made at once under one key one stands, and both callers see it."""
    mine = [claimed(fingerprint=letter * 64, detail={"by": letter}) for letter in "ab"]

    standing = await asyncio.gather(*(stage.ledger.claim(claim) for claim in mine))

    assert standing[0] == standing[1]
    assert standing[0] in mine
    assert standing[0] == await (await stage.reopen()).claim(mine[0])


async def claims_of_other_keys_stand_beside(stage: Stage) -> None:
    """Kind, key and revision name a claim; the latest has the highest revision."""
    claims = [
        claimed("k", kind=ClaimKind.RESULT, revision=2),
        claimed("k", kind=ClaimKind.RESULT, revision=1),
        claimed("k"),
        claimed("k2", detail={"text": HOSTILE, "n": int("9" * 400)}),
    ]

    assert claims == [await stage.ledger.claim(claim) for claim in claims]

    assert claims[0] == await stage.ledger.latest_claim(ClaimKind.RESULT, "k")
    assert claims[3] == await stage.ledger.latest_claim(ClaimKind.SUBMISSION, "k2")
    assert None is await stage.ledger.latest_claim(ClaimKind.RESULT, "k2")


async def claim_holds_its_event_until_published(stage: Stage) -> None:
    """The first event of a claim stands, byte for byte, and is open until it is published."""
    claim = await stage.ledger.claim(claimed())
    other = replace(EVENT, value=b"another")

    await stage.ledger.settle_claim(claim, EVENT, {"by": "settled"})
    await stage.ledger.settle_claim(claim, other, {"by": "late"})

    settled = replace(claim, event=EVENT, detail={"by": "settled"})
    ledger = await stage.reopen()
    assert [settled] == await ledger.open_claims(ClaimKind.SUBMISSION, 10)
    await ledger.mark_published(claim)
    assert [] == await ledger.open_claims(ClaimKind.SUBMISSION, 10)
    assert replace(settled, is_published=True) == await ledger.claim(claim)


async def claim_without_event_is_open_when_overdue(stage: Stage) -> None:
    """A claim nobody finished is open once its deadline has passed; oldest first, per kind."""
    for n in (2, 1, 3):
        await stage.ledger.claim(claimed(f"k{n}", at=T0 + n * SECOND))
    await stage.ledger.claim(claimed("k0", kind=ClaimKind.RESULT))
    await stage.ledger.mark_published(claimed("k1"))
    assert [] == await stage.ledger.open_claims(ClaimKind.SUBMISSION, 10)

    stage.clock.advance(timedelta(minutes=1, seconds=2))

    overdue = await stage.ledger.open_claims(ClaimKind.SUBMISSION, 10)
    assert ["k1", "k2"] == [claim.key for claim in overdue]
    assert ["k1"] == [c.key for c in await stage.ledger.open_claims(ClaimKind.SUBMISSION, 1)]


async def refused_detail_is_told(stage: Stage) -> None:
    """A claim whose detail is no JSON is refused, and none stands."""
    with pytest.raises(UndecodableEvent):
        await stage.ledger.claim(claimed(detail={"n": float("nan")}))

    assert None is await stage.ledger.latest_claim(ClaimKind.SUBMISSION, "submission-1")
