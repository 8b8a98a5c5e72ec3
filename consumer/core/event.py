"""
Events as CloudEvents 1.0 in binary mode: attributes in record headers, the value is the data.

Encoding is here; what each event type means is in `completion`, `fact`, `result`,
`command`. Attribute names are lower-case letters and digits, as CloudEvents demands.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from hashlib import sha256
from types import MappingProxyType

from consumer.errors import UndecodableEvent, UnsupportedVersion


class Topic(StrEnum):
    """The topics, without the prefix (`fal.` by default) that a log puts in front."""

    COMPLETIONS = "completions"
    RESULTS = "results"
    LIFECYCLE = "lifecycle"
    COMMANDS = "commands"
    DEAD_LETTERS = "dead-letters"


class EventType(StrEnum):
    """Every event type this version writes and reads."""

    WEBHOOK_COMPLETION = "fal-consumer.completion.webhook.v1"
    RECONCILED_COMPLETION = "fal-consumer.completion.reconciled.v1"
    RESULT = "fal-consumer.result.v1"
    FACT = "fal-consumer.fact.v1"
    COMMAND = "fal-consumer.command.v1"


_KNOWN_TYPES = frozenset(kind.value for kind in EventType)

HOME = MappingProxyType(
    {
        EventType.WEBHOOK_COMPLETION: Topic.COMPLETIONS,
        EventType.RECONCILED_COMPLETION: Topic.COMPLETIONS,
        EventType.RESULT: Topic.RESULTS,
        EventType.FACT: Topic.LIFECYCLE,
        EventType.COMMAND: Topic.COMMANDS,
    }
)
"""The topic on which each event type lives."""

FIXED_HEADERS = MappingProxyType(
    {kind: (("ce_specversion", b"1.0"), ("ce_type", kind.value.encode())) for kind in EventType}
)
"""What every record of an event type begins with."""

Headers = tuple[tuple[str, bytes], ...]
"""Record headers in order; a name may stand more than once."""


@dataclass(frozen=True, slots=True)
class NewRecord:
    """A record before the log gives it a position. `key` is text, `value` raw bytes."""

    topic: Topic
    key: str
    value: bytes = field(repr=False)
    headers: Headers = field(repr=False)

    @property
    def size(self) -> int:
        """Bytes that the record brings to a log: key, value, headers, and 16 for each header."""
        headers = sum(len(name) + len(value) + 16 for name, value in self.headers)
        return len(self.key) + len(self.value) + headers


@dataclass(frozen=True, slots=True)
class Event:
    """
    What happened. `time` is aware UTC, `data` the value of the record.

    `extensions` are our CloudEvents extension attributes (`falsignature` …) as text.
    """

    type: EventType
    id: str
    source: str
    subject: str
    time: datetime
    data: bytes = field(repr=False)
    extensions: Mapping[str, str] = field(default_factory=dict, repr=False)
    content_type: str = "application/json"


def event_id(*parts: str | bytes) -> str:
    """
    Return the id of an event: 40 hex digits over its parts, each with its length in front.

    Equal parts give an equal id in every process and for ever: that is what makes a
    repeated event recognisable.
    """
    pieces: list[bytes] = []
    for part in parts:
        raw = part.encode("utf-8", "surrogatepass") if isinstance(part, str) else part
        pieces += (len(raw).to_bytes(8, "big"), raw)
    return sha256(b"".join(pieces)).hexdigest()[:40]


def format_time(instant: datetime) -> str:
    """Return an aware instant as RFC 3339 in UTC, with microseconds and `Z`."""
    # Not `strftime`: on Linux its years before 1000 have too few digits to be read again.
    if instant.tzinfo is not UTC:
        instant = instant.astimezone(UTC)
    return instant.isoformat(timespec="microseconds")[: -len("+00:00")] + "Z"


def parse_time(text: str) -> datetime:
    """
    Return the aware UTC instant of an RFC 3339 text.

    Raises ValueError when it is none or names no offset, and nothing else.
    """
    try:
        instant = datetime.fromisoformat(text)
    except ValueError as exc:
        raise ValueError("not an RFC 3339 time") from exc  # Python's sentence repeats the text
    if instant.tzinfo is None:
        raise ValueError("no offset from UTC")
    try:
        return instant.astimezone(UTC)
    except OverflowError as exc:
        raise ValueError("out of range") from exc


def encode(event: Event) -> NewRecord:
    """Return the record of an event: CloudEvents attributes as `ce_…` headers, key = subject."""
    headers = (
        *FIXED_HEADERS[event.type],
        ("ce_id", event.id.encode()),
        ("ce_source", event.source.encode()),
        ("ce_subject", event.subject.encode()),
        ("ce_time", format_time(event.time).encode()),
        ("content-type", event.content_type.encode()),
        *[("ce_" + name, value.encode()) for name, value in event.extensions.items()],
    )
    return NewRecord(HOME[event.type], event.subject, event.data, headers)


def decode(headers: Iterable[tuple[str, bytes]], value: bytes) -> Event:
    """
    Return the event of a record. Unknown attributes are kept among the extensions.

    Raises UndecodableEvent or UnsupportedVersion, and nothing else.
    """
    attributes = read_attributes(headers)
    try:
        version, raw_type = attributes.pop("specversion"), attributes.pop("type")
        fields = {name: attributes.pop(name) for name in ("id", "source", "subject")}
        time = parse_time(attributes.pop("time"))
    except KeyError as exc:
        raise UndecodableEvent(f"ce_{exc.args[0]}", "missing") from exc
    except ValueError as exc:
        raise UndecodableEvent("ce_time", "not an RFC 3339 time") from exc
    if version != "1.0":
        raise UndecodableEvent("ce_specversion", f"expected 1.0, got {version!r}")
    if raw_type not in _KNOWN_TYPES:
        raise UnsupportedVersion(raw_type)
    content_type = attributes.pop("content-type", "application/json")
    return Event(
        EventType(raw_type),
        time=time,
        data=value,
        extensions=attributes,
        content_type=content_type,
        **fields,
    )


def read_attributes(headers: Iterable[tuple[str, bytes]]) -> dict[str, str]:
    """
    Return the CloudEvents attributes among record headers, without their `ce_`.

    Raises UndecodableEvent when one is sent twice or is not UTF-8, and nothing else.
    """
    attributes: dict[str, str] = {}
    for name, value in headers:
        if not name.startswith("ce_") and name != "content-type":
            continue
        short = name.removeprefix("ce_")
        if short in attributes:
            raise UndecodableEvent(name, "sent twice")
        try:
            attributes[short] = value.decode()
        except UnicodeDecodeError as exc:
            raise UndecodableEvent(name, "not UTF-8") from exc
    return attributes
