"""Judging records again: no attribute of a record is believed."""

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.core.completion import webhook_event
from consumer.core.judgement import Refuted, UnknownKey, judge
from consumer.core.projection import Judgement
from consumer.core.signature import verify
from consumer.core.token import Token, sign_token
from consumer.errors import UndecodableEvent
from consumer.testing.deliveries import signed_delivery, webhook_body
from consumer.testing.keys import Signer, key_set
from tests.core.strategies import NOW, texts

SECRET, FOREIGN = b"s" * 32, b"f" * 32
TOKEN = Token("a/b", "sub_1")
OURS = frozenset({"github|1"})


def event_of(signer, *, token: str = "", ours: bool = True):
    delivery = signed_delivery(signer, webhook_body(), at=NOW)
    verified = verify(delivery, key_set(signer).keys, now=NOW)
    return webhook_event(verified, source="s", token=None, raw_token=token, ours=ours)


def judged(event, *signers, accounts=OURS):
    return judge(event, [key_set(s) for s in signers], accounts=accounts, secrets=[SECRET])


def test_genuine_record_counts_with_its_token(signer):
    """A genuine record of our account counts, and its token says what it belongs to."""
    event = event_of(signer, token=sign_token(TOKEN, [SECRET]))

    assert judged(event, Signer(), signer) == Judgement(counts=True, token=TOKEN)


def test_unusable_tokens_say_nothing(signer):
    """A record with a foreign token counts, without what the token says; so does one with none."""
    for token in (sign_token(TOKEN, [FOREIGN]), "junk", ""):
        assert judged(event_of(signer, token=token), signer) == Judgement(counts=True)


def test_no_account_configured_is_unproven(signer):
    """With no account configured a genuine record does not count, and its token is ignored."""
    event = event_of(signer, token=sign_token(TOKEN, [SECRET]), ours=True)

    assert judged(event, signer, accounts=frozenset()) == Judgement(counts=False)


def test_foreign_account_is_refuted(signer):
    """A genuine record of another account is refuted, whatever the record says of itself."""
    assert judged(event_of(signer), signer, accounts=frozenset({"x"})) == Refuted("foreign_account")


def test_unknown_key_may_become_known(signer):
    """A record whose key no trusted set holds is not judged yet."""
    assert judged(event_of(signer), Signer()) == UnknownKey()
    assert judged(event_of(signer)) == UnknownKey()


def test_forged_record_is_refuted(signer):
    """A record that its named key does not verify is refuted; another named key changes nothing."""
    event = event_of(signer)
    forged = replace(event, data=b"{}")
    misnamed = replace(event, extensions={**event.extensions, "falkey": "A" * 43})

    assert judged(forged, signer) == Refuted("unverified")
    assert judged(misnamed, signer) == Judgement(counts=True)


@pytest.mark.parametrize("seconds", [-301, 301, 10**9])
def test_evidence_is_judged_at_its_time(signer, seconds):
    """A record whose time is not the signature's is refuted."""
    event = replace(event_of(signer), time=NOW + timedelta(seconds=seconds))

    assert judged(event, signer) == Refuted("unverified")


def test_record_without_evidence_is_undecodable(signer):
    """A record that lacks a signed header is no evidence at all."""
    with pytest.raises(UndecodableEvent) as refused:
        judged(replace(event_of(signer), extensions={}), signer)

    assert str(refused.value) == "ce_faluserid: missing"


@given(st.sampled_from(["falsignature", "faltimestamp", "faluserid", "falkey", "faltoken"]), texts)
def test_no_attribute_makes_a_record_count_otherwise(signer, name, value):
    """A record with any attribute replaced is refused, or is worth what it was."""
    event = event_of(signer)
    changed = replace(event, extensions={**event.extensions, name: value})
    try:
        verdict = judged(changed, signer)
    except UndecodableEvent:
        return
    is_evidence = name in ("falsignature", "faltimestamp", "faluserid")
    assert verdict == (Refuted("unverified") if is_evidence else Judgement(counts=True))
