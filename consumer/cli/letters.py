"""Dead letters as people and programs see them: a table, a page, JSON rows; secrets masked."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from consumer.cli.events import headers_of
from consumer.cli.terminal import ago, console, foreign, print_table
from consumer.core.event import format_time
from consumer.ports import Record
from consumer.replaying import FoundLetter

_SECRET_WORDS = ("authorization", "cookie", "password", "proof", "secret", "token")
# A header with one of these in its name is not shown: the path token, the proof of a key set.


def row_of(found: FoundLetter) -> dict[str, Any]:
    """Return a letter as programs read it: flat, instants as RFC 3339 in UTC."""
    letter = found.letter
    return {
        "id": found.id,
        "at": format_time(found.set_aside_at),
        "reason": letter.reason,
        "problem": letter.problem or None,
        "origin": letter.origin,
        "handler": letter.handler or None,
        "attempts": letter.attempts,
        "key": found.key,
        "bytes": found.size,
        "omitted_bytes": letter.omitted_bytes,
        "event_id": letter.event_id or None,
        "event_type": letter.event_type or None,
        "replay": letter.replay or None,
        "replayed_at": format_time(found.replayed_at) if found.replayed_at else None,
    }


def masked(headers: Mapping[str, str]) -> dict[str, str]:
    """Return headers with the values of secrets as `***`."""
    return {
        name: "***" if any(word in name.lower() for word in _SECRET_WORDS) else value
        for name, value in headers.items()
    }


def print_letters(letters: Sequence[FoundLetter]) -> None:
    """Write letters as a table."""
    now = datetime.now(UTC)
    print_table(
        ("ID", "REASON", "ORIGIN", "KEY", "BYTES", "HANDLER", "TRIES", "PUT BACK", "AGE"),
        [
            (
                found.id,
                found.letter.reason,
                found.letter.origin,
                found.key,
                str(found.size),
                found.letter.handler,
                str(found.letter.attempts),
                f"{ago(found.replayed_at, now)} ago" if found.replayed_at else "",
                ago(found.set_aside_at, now),
            )
            for found in letters
        ],
    )


def print_letter(found: FoundLetter, record: Record, *, with_body: bool) -> None:
    """Write a letter as a page, its body only where it was asked for, escaped."""
    out = console()
    for name, value in row_of(found).items():
        if value is not None:
            out.print(foreign(f"{name:<14}{value}"), soft_wrap=True)
    out.print()
    for name, value in masked(headers_of(record)).items():
        out.print(foreign(f"{name}: {value}"), soft_wrap=True)
    if with_body:
        out.print()
        out.print(foreign(record.value.decode("utf-8", "backslashreplace")), soft_wrap=True)
