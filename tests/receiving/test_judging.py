"""Judging a delivery: the keys, and the account."""

import asyncio
from datetime import timedelta

import pytest

from consumer.errors import ForeignAccount, KeysUnavailable
from consumer.receiving.judging import HASH_OFF_LOOP_BYTES, Judge
from consumer.testing.deliveries import signed_delivery
from consumer.testing.keys import FakeKeys, Signer
from consumer.testing.receiving import ACCOUNT, NOW


def judge(keys, accounts=(ACCOUNT,), budget=1000):
    return Judge(keys, frozenset(accounts), max_unproven_bytes_per_hour=budget)


def answer_at(seconds=60):
    return asyncio.get_running_loop().time() + seconds


@pytest.mark.parametrize("size", [0, HASH_OFF_LOOP_BYTES, HASH_OFF_LOOP_BYTES + 1])
async def test_bodies_of_any_size_are_verified(size):
    """A body hashed off the loop is judged like one hashed on it."""
    signer = Signer()
    delivery = signed_delivery(signer, b"x" * size, at=NOW)

    verified = await judge(FakeKeys(signer)).verified(delivery, answer_at=answer_at())

    assert delivery is verified.delivery


async def test_a_refetch_that_hangs_is_unavailable():
    """A delivery does not wait for keys beyond the time of its answer."""

    class Hanging(FakeKeys):
        async def refetched(self, tried):
            await asyncio.Event().wait()

    delivery = signed_delivery(Signer(), b"x", at=NOW)

    with pytest.raises(KeysUnavailable):
        await judge(Hanging(Signer())).verified(delivery, answer_at=answer_at(0.01))


async def test_the_budget_of_the_unproven_is_shared_per_hour():
    """Unproven bodies spend one budget, whatever the account; a new hour brings a new one."""
    signer = Signer()
    one = judge(FakeKeys(signer), accounts=(), budget=10)

    async def verified(account, later):
        at = NOW + later
        delivery = signed_delivery(signer, b"x" * 6, at=at, account=account)
        return await one.verified(delivery, answer_at=answer_at())

    assert not one.is_ours(await verified("github|1", timedelta()))
    with pytest.raises(ForeignAccount):
        one.is_ours(await verified("github|2", timedelta(minutes=59)))
    assert not one.is_ours(await verified("github|2", timedelta(hours=1)))
