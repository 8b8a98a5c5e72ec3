"""
From a judged event to what it adds to the ledger, as one value.

A rebuild of the ledger is a replay of the log through this function: whatever is written
comes from the event alone, times from the event, ids from hashes.
"""

from dataclasses import dataclass, field
from datetime import datetime

from consumer.core.completion import delivery_from, parse_reconciled, parse_webhook
from consumer.core.event import Event, EventType, event_id, parse_time
from consumer.core.fact import Fact, FactName, Witness, fact_from
from consumer.core.result import published_of, result_from
from consumer.core.standing import Published
from consumer.core.token import Token
from consumer.errors import UndecodableEvent


@dataclass(frozen=True, slots=True)
class Evidence:
    """One verified delivery as it rests in the ledger: enough to verify it again."""

    id: str
    request_id: str
    user_id: str
    timestamp: str
    signature: str
    key: str
    kid: str
    source: str
    received_at: datetime
    body_sha256: str
    counts: bool
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class ResultEntry:
    """One published result revision. `value` is the event's data, whole."""

    event_id: str
    request_id: str
    submission_id: str
    published: Published
    at: datetime
    value: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class KeySetEntry:
    """One published key set."""

    sha256: str
    url: str
    fetched_at: datetime
    document: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class DeadLetterEntry:
    """One record set aside: where it came from and why."""

    id: str
    key: str
    reason: str
    origin: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Entry:
    """What one event adds to the ledger. `event_id` is its idempotency key."""

    event_id: str
    facts: tuple[Fact, ...] = ()
    evidence: Evidence | None = None
    result: ResultEntry | None = None
    key_set: KeySetEntry | None = None
    dead_letter: DeadLetterEntry | None = None


@dataclass(frozen=True, slots=True)
class Judgement:
    """
    What the worker found when it judged a webhook completion again.

    `counts` is true when the account is a configured one; `token` is what the path token
    says, where one of our secrets signed it and the account counts.
    """

    counts: bool
    token: Token | None = None


def entry_of_webhook(event: Event, judgement: Judgement) -> Entry:
    """
    Return what a verified webhook completion adds: evidence, its end, and what its token names.

    A body that nobody can read, or one that names another request, adds the fact
    `unreadable` instead of an end. Raises UndecodableEvent when the event carries no
    evidence.
    """
    delivery = delivery_from(event)
    headers = delivery.headers
    evidence = Evidence(
        id=event_id("delivery", headers.request_id, headers.timestamp, headers.signature),
        request_id=headers.request_id,
        user_id=headers.user_id,
        timestamp=headers.timestamp,
        signature=headers.signature,
        key=event.extensions.get("falkey", ""),
        kid=event.extensions.get("falkid", ""),
        source=event.source,
        received_at=event.time,
        body_sha256=delivery.body_sha256,
        counts=judgement.counts,
        body=delivery.body,
    )
    facts = (_webhook_fact(event, headers.user_id, judgement), *_token_facts(event, judgement))
    return Entry(event.id, facts, evidence)


def entry_of(event: Event) -> Entry:
    """
    Return what an unsigned event adds to the ledger.

    Raises UndecodableEvent, and nothing else. A command adds nothing: what it causes is
    told by facts.
    """
    if event.type is EventType.RECONCILED_COMPLETION:
        return Entry(event.id, (_reconciled_fact(event),))
    if event.type is EventType.RESULT:
        return Entry(event.id, result=_result_entry(event))
    if event.type is EventType.FACT:
        fact = fact_from(event)
        if fact.name is FactName.KEY_SET_FETCHED:
            return Entry(event.id, key_set=_key_set_entry(fact))
        return Entry(event.id, (fact,))
    return Entry(event.id)


def _webhook_fact(event: Event, account: str, judgement: Judgement) -> Fact:
    # An id of its own: a later version may read the body, and its end is news then.
    name, detail, identity = FactName.UNREADABLE, {}, event_id("unreadable", event.id)
    try:
        completion = parse_webhook(event.data, event.subject)
        name, identity = completion.end, event.id
        detail = {
            "http_status": completion.http_status,
            "error": completion.error,
            "error_type": completion.error_type,
        }
    except UndecodableEvent as exc:
        detail = {"part": exc.part, "problem": exc.problem}
    return Fact(
        name,
        Witness.WEBHOOK,
        event.time,
        identity,
        event.subject,
        detail={key: value for key, value in detail.items() if value is not None},
        signed=True,
        account=account,
        counts=judgement.counts,
    )


def _token_facts(event: Event, judgement: Judgement) -> tuple[Fact, ...]:
    token = judgement.token
    if token is None or not judgement.counts:
        return ()
    return (
        Fact(
            FactName.TRACKED,
            Witness.TOKEN,
            event.time,
            event_id("token", event.subject, token.endpoint, token.submission_id),
            event.subject,
            token.submission_id,
            {"endpoint": token.endpoint, "has_callback": True},
        ),
    )


def _reconciled_fact(event: Event) -> Fact:
    completion = parse_reconciled(event)
    witness = Witness.STATUS if completion.output_missing == "expired" else Witness.RESULT
    detail = {
        "http_status": completion.http_status,
        "error": completion.error,
        "error_type": completion.error_type,
        "billable_units": completion.billable_units,
    }
    return Fact(
        completion.end,
        witness,
        event.time,
        event.id,
        event.subject,
        detail={key: value for key, value in detail.items() if value is not None},
    )


def _result_entry(event: Event) -> ResultEntry:
    result = result_from(event)
    return ResultEntry(
        event.id,
        result.request_id or "",
        result.submission_id or "",
        published_of(result),
        event.time,
        event.data,
    )


def _key_set_entry(fact: Fact) -> KeySetEntry:
    try:
        return KeySetEntry(
            str(fact.detail["sha256"]),
            str(fact.detail["url"]),
            parse_time(str(fact.detail["fetched_at"])),
            str(fact.detail["document"]).encode(),
        )
    except (KeyError, ValueError) as exc:
        raise UndecodableEvent("detail", "not a key set") from exc
