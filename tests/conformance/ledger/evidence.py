"""What the ledger promises about signed deliveries and the accounts they are for."""

from dataclasses import replace
from datetime import timedelta
from hashlib import sha256

from nacl.signing import SigningKey

from consumer.core.delivery import Delivery, SignedHeaders
from consumer.core.fact import FactName
from consumer.core.keys import public_key
from consumer.core.signature import signed_message, verify
from consumer.core.standing import State
from tests.conformance.ledger.entries import told, webhook
from tests.conformance.ledger.stage import R1, R2, SECOND, T0, Stage, due


async def retries_are_kept_apart_and_facts_once(stage: Stage) -> None:
    """Each retry of one delivery is evidence of its own; what it tells is one fact."""
    first, again = webhook(at=T0), webhook(at=T0 + 30 * SECOND)

    recorded = [await stage.ledger.record(entry) for entry in (again, first)]

    assert [True, True] == [one.is_new for one in recorded]
    assert [first.evidence, again.evidence] == await stage.ledger.evidence(R1)
    assert 1 == len(await stage.ledger.timeline(R1))


async def evidence_verifies_from_the_ledger_alone(stage: Stage) -> None:
    """What evidence() returns is enough to verify the signature again."""
    signing = SigningKey.generate()
    body, digest = (
        b'{"request_id": "x"}\x00\xff',
        sha256(b'{"request_id": "x"}\x00\xff').hexdigest(),
    )
    headers = SignedHeaders(R1, "ours", str(int(T0.timestamp())), "0" * 128)
    signature = signing.sign(signed_message(headers, digest)).signature.hex()
    entry = webhook(body=body)
    key = public_key(bytes(signing.verify_key)).text
    await stage.ledger.record(
        replace(entry, evidence=replace(entry.evidence, signature=signature, key=key))
    )

    (held,) = await (await stage.reopen()).evidence(R1)

    raw = public_key(bytes(signing.verify_key))
    delivery = Delivery(
        SignedHeaders(held.request_id, held.user_id, held.timestamp, held.signature),
        held.body,
        held.received_at,
    )
    assert raw.text == held.key
    assert R1 == verify(delivery, (raw,), now=held.received_at).request_id


async def unproven_counts_after_recount(stage: Stage) -> None:
    """Facts and deliveries of a foreign account change nothing until the account is ours."""
    entry = webhook(account="later", counts=False)
    await stage.ledger.record(entry)
    await stage.ledger.record(webhook(R2, account="stranger", counts=False))
    assert State.SEEN is (await stage.ledger.request(R1)).state
    assert [] == await due(stage.ledger)

    assert 1 == await stage.ledger.recount(["later", "nobody"])
    stage.clock.advance(timedelta(minutes=2))

    assert State.SUCCEEDED is (await stage.ledger.request(R1)).state
    assert State.SEEN is (await stage.ledger.request(R2)).state
    assert [replace(entry.evidence, counts=True)] == await stage.ledger.evidence(R1)
    assert [R1] == await due(stage.ledger)
    assert 0 == await stage.ledger.recount(["later"])
    assert 0 == await stage.ledger.recount([])


async def proven_copy_of_an_unproven_fact_counts(stage: Stage) -> None:
    """The same completion judged once without and once with the account ends as counting."""
    unproven, proven = (webhook(account="later", counts=counts) for counts in (False, True))
    await stage.ledger.record(told(FactName.FAILED))
    await stage.ledger.record(unproven)

    recorded = await stage.ledger.record(proven)

    assert (True, True) == (recorded.is_new, recorded.became_conflicted)
    assert State.SUCCEEDED is recorded.request.state
    assert not (await stage.ledger.record(unproven)).is_new
    assert recorded.request == await stage.ledger.request(R1)
    assert [proven.evidence] == await stage.ledger.evidence(R1)


async def retry_of_a_body_shares_it(stage: Stage) -> None:
    """Deliveries with equal bodies give back that body each, also of different requests."""
    for request_id in (R1, R2):
        await stage.ledger.record(webhook(request_id, body=b"same"))

    bodies = [(await stage.ledger.evidence(request_id))[0].body for request_id in (R1, R2)]

    assert [b"same", b"same"] == bodies
