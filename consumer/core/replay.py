"""
Replays: records put back on their topic, marked; and what a dead letter was before it died.

Marks are CloudEvents attributes beside the record's own, which stay as they are: the same
`ce_id`, time and evidence. What a handler makes of a marked record is the handler's.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from types import MappingProxyType
from typing import Any

from consumer.core.event import (
    HOME,
    Event,
    EventType,
    Headers,
    NewRecord,
    Topic,
    event_id,
    format_time,
    parse_time,
)
from consumer.core.fact import Fact, FactName, Witness, fact_event
from consumer.errors import UndecodableEvent

MARKS = MappingProxyType(
    {
        "falreplay": "id of the replay that put the record there",
        "falreplayreason": "why, in the words of whoever asked for it",
        "falreplayat": "when, RFC 3339 in UTC",
        "falreplayof": "where the record stood: topic/partition/offset",
        "falreplayhandler": "the one handler that acts on it; absent: all of them",
        "falreplayattempts": "how often the record was tried before, where it was a dead letter",
    }
)
"""The attributes of a replayed record, without `ce_`, and what each says."""

LETTER_HEADERS = MappingProxyType(
    {
        "dlreason": "why the record was set aside, a word",
        "dlproblem": "why, a sentence",
        "dlhandler": "the handler that set it aside; absent: the receiver",
        "dlattempts": "how often it was tried, over all its replays",
        "dlorigin": "where it stood: topic/partition/offset, or `receiver`",
        "dltime": "when the receiver set it aside, RFC 3339 in UTC",
        "dloperation": "schema drift: the call to fal whose answer drifted",
        "dlendpoint": "schema drift: the endpoint that it was about",
        "dlwhere": "schema drift: the field of the answer",
        "dlexpected": "schema drift: what was expected there",
        "dlcame": "schema drift: what kind of value came",
        "dlomitted": "the size of the value, where the letter had to leave it out",
    }
)
"""The headers that a dead letter has beside those of its record."""

HANDLERS = frozenset({"commands", "fetch", "record"})
"""Who acts on records: the handlers by name, which are the service's own groups."""

REPLAYS = event_id("replays")
"""The key of every fact about replays on `fal.lifecycle`: read by it, they come in order."""

MAX_REASON_CHARS = 200

_MARKS = frozenset(f"ce_{name}" for name in MARKS)


@dataclass(frozen=True, slots=True)
class Replay:
    """
    One replay: `reason` as `checked_reason` returns it, `at` aware UTC, `source` what asked.
    """

    id: str
    reason: str
    at: datetime
    source: str


def checked_reason(text: str) -> str:
    """
    Return a reason as it may stand in a header and on any terminal.

    Raises ValueError that says what is expected, and nothing else.
    """
    reason = " ".join(text.split())
    if not reason or len(reason) > MAX_REASON_CHARS or not reason.isprintable():
        raise ValueError(f"1 to {MAX_REASON_CHARS} printable characters")
    return reason


# ---------------------------------------------------------------- marks


def marked(
    record: NewRecord, by: Replay, *, of: str, handler: str = "", attempts: int = 0
) -> NewRecord:
    """
    Return the record as a replay puts it back: all that it had, and marks instead of older ones.

    `of` says where it stood, `handler` who alone acts on it (empty: all), `attempts` how
    often it was tried before.
    """
    marks = {
        "falreplay": by.id,
        "falreplayreason": by.reason,
        "falreplayat": format_time(by.at),
        "falreplayof": of,
        "falreplayhandler": handler,
        "falreplayattempts": str(attempts or ""),
    }
    kept = tuple(header for header in record.headers if header[0] not in _MARKS)
    new = tuple((f"ce_{name}", text.encode()) for name, text in marks.items() if text)
    return replace(record, headers=kept + new)


def replay_in(headers: Headers) -> str | None:
    """Return the id of the replay that put a record there, or None for one of its own life."""
    return _texts(headers).get("ce_falreplay")


def is_for_readers(headers: Headers) -> bool:
    """Tell whether a record is for everybody who reads its topic, not for one handler of ours."""
    return "ce_falreplayhandler" not in _texts(headers)


def is_replayed(attributes: Mapping[str, str]) -> bool:
    """Tell whether an event with these attributes was put there by a replay."""
    return "falreplay" in attributes


def is_meant_for(attributes: Mapping[str, str], handler: str) -> bool:
    """Tell whether a handler acts on an event: on a replay for another one it does not."""
    return attributes.get("falreplayhandler", handler) == handler


def replayed_at(attributes: Mapping[str, str], now: datetime) -> datetime | None:
    """Return when an event was replayed, or None where it was not, or says what cannot be."""
    try:
        at = parse_time(attributes.get("falreplayat", ""))
    except ValueError:
        return None
    return at if at <= now else None


def attempts_before(headers: Headers) -> int:
    """Return how often a record was tried before it was replayed; 0 for one that never was."""
    return _count(_texts(headers).get("ce_falreplayattempts", ""), 0)


# ---------------------------------------------------------------- dead letters


@dataclass(frozen=True, slots=True)
class Letter:
    """
    What a dead letter says of itself. `attempts` counts from 1; `handler` is empty where the
    receiver set it aside, `replay` where its record was none; `omitted_bytes` is None where the
    letter is whole.
    """

    reason: str
    problem: str
    handler: str
    origin: str
    attempts: int
    set_aside_at: datetime | None
    omitted_bytes: int | None
    event_id: str
    event_type: str
    replay: str


def letter_of(headers: Headers) -> Letter:
    """Return what the headers of a dead letter say; what is missing or unreadable is empty."""
    texts = _texts(headers)
    try:
        at = parse_time(texts.get("dltime", ""))
    except ValueError:
        at = None
    return Letter(
        texts.get("dlreason", ""),
        texts.get("dlproblem", ""),
        texts.get("dlhandler", ""),
        texts.get("dlorigin", ""),
        _count(texts.get("dlattempts", ""), 1),
        at,
        _count(texts["dlomitted"], 0) if "dlomitted" in texts else None,
        texts.get("ce_id", ""),
        texts.get("ce_type", ""),
        texts.get("ce_falreplay", ""),
    )


def origin_place(letter: Letter) -> tuple[Topic, int, int] | None:
    """Return the position of the record that a letter was, or None where it never had one."""
    parts = letter.origin.split("/")
    try:
        topic, partition, offset = Topic(parts[0]), int(parts[1]), int(parts[2])
    except (ValueError, IndexError):
        return None
    return topic, partition, offset


def original_of(record: NewRecord) -> NewRecord:
    """
    Return the record that a dead letter was: its bytes and headers, on its own topic.

    Raises UndecodableEvent where the letter has no bytes or tells no topic, and nothing else.
    """
    letter = letter_of(record.headers)
    if letter.omitted_bytes is not None:
        raise UndecodableEvent("dlomitted", "the letter is without its bytes")
    place = origin_place(letter)
    home = place[0] if place else _home(letter.event_type)
    if home is Topic.DEAD_LETTERS:
        raise UndecodableEvent("dlorigin", "a dead letter of a dead letter")
    kept = tuple(header for header in record.headers if header[0] not in LETTER_HEADERS)
    return replace(record, topic=home, headers=kept)


def _home(event_type: str) -> Topic:
    try:
        return HOME[EventType(event_type)]
    except ValueError as exc:
        raise UndecodableEvent("dlorigin", "tells no topic, and no event type does") from exc


# ---------------------------------------------------------------- facts


def replay_event(
    name: FactName,
    by: Replay,
    *,
    at: datetime,
    detail: Mapping[str, Any],
    part: int = 0,
) -> Event:
    """
    Return the event of a fact about a replay: asked for, or (a part of it) done.

    It is about no request; its key is `REPLAYS`.
    """
    identity = event_id(EventType.FACT.value, "replay", by.id, name.value, str(part))
    told = {"replay": by.id, "reason": by.reason, **detail}
    fact = Fact(name, Witness.OPERATOR, at, identity, detail=told)
    return replace(fact_event(fact, by.source), subject=REPLAYS)


def replayed_letters(fact: Fact) -> Sequence[str]:
    """Return the dead letters, as partition/offset, that a fact tells to be replayed."""
    letters = fact.detail.get("letters") if fact.name is FactName.REPLAYED else None
    return [str(place) for place in letters] if isinstance(letters, list) else []


def _texts(headers: Iterable[tuple[str, bytes]]) -> dict[str, str]:
    """Return headers as text; of a name that stands twice the last, which is ours."""
    return {name: value.decode("utf-8", "replace") for name, value in headers}


def _count(text: str, otherwise: int) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else otherwise
