"""Publishing: what is remembered as durable, and what is a dead letter."""

import asyncio

from consumer.core.signature import verify
from consumer.receiving.limits import ReceiverLimits
from consumer.receiving.publishing import Desk, Envelope, Verdict
from consumer.testing.deliveries import signed_delivery, webhook_body
from consumer.testing.receiving import NOW, Setting


def desk(setting, **limits):
    return Desk(
        setting.log,
        source="https://keys.example",
        token_secrets=(),
        clock=setting.clock,
        limits=ReceiverLimits(**limits),
    )


def envelope(setting, request_id, path_token=""):
    body = webhook_body(request_id)
    delivery = signed_delivery(setting.signer, body, at=NOW, request_id=request_id)
    return Envelope(verify(delivery, setting.keys.held.keys, now=NOW), path_token, is_ours=True)


async def test_only_so_many_copies_are_remembered():
    """The oldest durable delivery is forgotten first; its copy is published again."""
    setting = Setting()
    small = desk(setting, max_copies=2)
    answer_at = asyncio.get_running_loop().time() + 60

    verdicts = [
        (await small.publish(envelope(setting, request_id), answer_at=answer_at)).verdict
        for request_id in ("a", "b", "a", "c", "a")
    ]

    assert [
        Verdict.ACCEPTED,
        Verdict.ACCEPTED,
        Verdict.COPY,
        Verdict.ACCEPTED,
        Verdict.ACCEPTED,
    ] == verdicts


async def test_a_token_that_cannot_travel_is_left_out():
    """A path token outside of what a header carries costs the delivery nothing."""
    setting = Setting()
    answer_at = asyncio.get_running_loop().time() + 60

    for path_token in ("\udcff", "x" * 3000, "a\x01b"):
        odd = envelope(setting, "a", path_token)
        await desk(setting).publish(odd, answer_at=answer_at)

    names = [name for record in setting.log.records() for name, _ in record.headers]
    assert 3 == len(setting.log.records())
    assert "ce_faltoken" not in names
