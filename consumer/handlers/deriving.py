"""
Claims as events tell of them, for a ledger that lost its own.

What was claimed once was told on the log: every submission that was intended, every result
that was published. A claim derived from that keeps both from happening again.
"""

from datetime import datetime
from uuid import uuid4

from consumer.core.event import Event, EventType, NewRecord, Topic, decode, event_id
from consumer.core.fact import Fact, FactName, fact_from
from consumer.core.result import published_of, result_from
from consumer.errors import EventError
from consumer.ports import Claim, ClaimKind, Ledger, Record

_BEGUN = frozenset({FactName.INTENDED, FactName.SENDING})
_ENDED = frozenset({FactName.SUBMITTED, FactName.REFUSED, FactName.UNKNOWN, FactName.STOPPED})


async def derive_claim(ledger: Ledger, record: Record) -> None:
    """
    Claim what the record tells of, unless a claim is there. Raises LedgerUnavailable.

    A submission of which only the beginning is told becomes an overdue claim: it may have
    been sent, so it is told as unknown, and never sent.
    """
    if record.position.topic not in (Topic.LIFECYCLE, Topic.RESULTS):
        return
    try:
        event = decode(record.headers, record.value)
        claim = _claim_of(event, record)
    except EventError:
        return
    if claim is None:
        return
    stands = await ledger.claim(claim)
    if claim.event is not None and stands.event is None:
        await ledger.settle_claim(stands, claim.event, claim.detail)
        await ledger.mark_published(stands)


def _claim_of(event: Event, record: Record) -> Claim | None:
    held = NewRecord(record.position.topic, record.key, record.value, record.headers)
    if event.type is EventType.RESULT:
        result = result_from(event)
        subject = result.request_id or result.submission_id or ""
        detail = published_of(result).model_dump()
        fingerprint = event_id(event.data)
        return Claim(
            ClaimKind.RESULT,
            subject,
            result.revision,
            fingerprint,
            detail,
            event.time,
            event.time,
            held,
            is_published=True,
        )
    if event.type is not EventType.FACT:
        return None
    return _claim_of_fact(fact_from(event), held, event.time)


def _claim_of_fact(fact: Fact, held: NewRecord, at: datetime) -> Claim | None:
    fingerprint = str(fact.detail.get("input_sha256", ""))
    if not fact.submission_id or not fingerprint or fact.name not in _BEGUN | _ENDED:
        return None  # without its input's hash it is no word of whoever claimed it
    has_ended = fact.name in _ENDED
    detail = {**fact.detail, "nonce": uuid4().hex}
    if has_ended:
        detail["request_id"] = fact.request_id or None
    return Claim(
        ClaimKind.SUBMISSION,
        fact.submission_id,
        1,
        fingerprint,
        detail,
        at,
        at,
        held if has_ended else None,
        is_published=has_ended,
    )
