"""
A record is not proof: judging a webhook completion again before it counts.

Whoever can write a topic could invent a record, so the worker trusts none of its
attributes: the signature is checked at `ce_time` with keys from trusted sets, then the
account, then the path token.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from consumer.core.completion import delivery_from
from consumer.core.event import Event
from consumer.core.keys import KeySet, PublicKey
from consumer.core.projection import Judgement
from consumer.core.signature import verify
from consumer.core.token import Token, parse_token
from consumer.errors import BadSignature, BadToken, UnverifiedDelivery


@dataclass(frozen=True, slots=True)
class Refuted:
    """The record is no evidence, and no later key can make it any. `reason` is a stable code."""

    reason: str


@dataclass(frozen=True, slots=True)
class UnknownKey:
    """The record names a key that no trusted set holds (yet)."""


Verdict = Judgement | Refuted | UnknownKey


def judge(
    event: Event,
    key_sets: Iterable[KeySet],
    *,
    accounts: frozenset[str],
    secrets: Sequence[bytes],
) -> Verdict:
    """
    Return what a webhook completion is worth, judged at its own `ce_time`.

    With no account configured it is genuine but does not count. Raises UndecodableEvent
    when it carries no evidence, and nothing else.
    """
    delivery = delivery_from(event)
    named = event.extensions.get("falkey", "")
    keys = _keys(key_sets, named)
    try:
        verified = verify(delivery, keys, now=event.time)
    except BadSignature:
        is_known = any(key.text == named for key in keys)
        return Refuted("unverified") if is_known else UnknownKey()
    except UnverifiedDelivery:
        return Refuted("unverified")
    if accounts and verified.account not in accounts:
        return Refuted("foreign_account")
    counts = verified.account in accounts
    return Judgement(counts, _maybe_token(event, secrets) if counts else None)


def _keys(key_sets: Iterable[KeySet], named: str) -> tuple[PublicKey, ...]:
    """
    Return every trusted key once, the one that the record names first: it is nearly always right.
    """
    distinct = {key.raw: key for key_set in key_sets for key in key_set.keys}
    return tuple(sorted(distinct.values(), key=lambda key: key.text != named))


def _maybe_token(event: Event, secrets: Sequence[bytes]) -> Token | None:
    raw = event.extensions.get("faltoken")
    if not raw:
        return None
    try:
        return parse_token(raw, secrets)
    except BadToken:
        return None
