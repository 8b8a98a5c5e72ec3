"""
An entry as rows, made before any transaction and in its caller's own time.

What no database could take fails here, alone, with an error for its caller.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from consumer.core.fact import Fact
from consumer.core.projection import Entry, ResultEntry
from consumer.core.text import storable
from consumer.ledger.rows import (
    Row,
    delivery_row,
    fact_row,
    key_set_row,
    micros,
    result_row,
    storable_fact,
    storable_result,
)


@dataclass(frozen=True, slots=True)
class Prepared:
    """
    What one entry adds, ready to be written; `size` in bytes is about what it costs to write.

    Each row of `fact_rows` belongs to the fact of the same place.
    """

    facts: tuple[Fact, ...] = ()
    fact_rows: tuple[Row, ...] = field(default=(), repr=False)
    delivery: Row | None = field(default=None, repr=False)
    body: Row | None = field(default=None, repr=False)
    result: ResultEntry | None = None
    result_row: Row | None = field(default=None, repr=False)
    key_set: Row | None = field(default=None, repr=False)
    dead_letter: Row | None = field(default=None, repr=False)
    size: int = 0

    @property
    def request_ids(self) -> tuple[str, ...]:
        """The requests that it touches, the one to report first."""
        named = [fact.request_id for fact in self.facts]
        named.append(self.result.request_id if self.result else "")
        named.append(self.delivery["request_id"] if self.delivery else "")
        return tuple(dict.fromkeys(name for name in named if name))

    @property
    def submission_ids(self) -> tuple[str, ...]:
        """The submissions that it touches, the one to report first."""
        named = [fact.submission_id for fact in self.facts]
        if self.result and not self.result.request_id:
            named.append(self.result.submission_id)
        return tuple(dict.fromkeys(name for name in named if name))


def prepare(entry: Entry) -> Prepared:
    """Return the rows of an entry. Raises UndecodableEvent when it holds what cannot be kept."""
    kept = [storable_fact(fact) for fact in entry.facts]
    rows = tuple(fact_row(entry.event_id, fact, detail) for fact, detail in kept)
    prepared = Prepared(
        facts=tuple(fact for fact, _ in kept),
        fact_rows=rows,
        size=sum(len(row["detail"]) for row in rows),
    )
    for add in _ADDITIONS:
        prepared = add(prepared, entry)
    return prepared


def _with_evidence(prepared: Prepared, entry: Entry) -> Prepared:
    if entry.evidence is None:
        return prepared
    delivery, body = delivery_row(entry.evidence), entry.evidence.body
    return replace(
        prepared,
        delivery=delivery,
        body={"sha256": delivery["body_sha256"], "body": body},
        size=prepared.size + len(body),
    )


def _with_result(prepared: Prepared, entry: Entry) -> Prepared:
    if entry.result is None:
        return prepared
    result = storable_result(entry.result)
    return replace(
        prepared,
        result=result,
        result_row=result_row(result),
        size=prepared.size + len(result.value),
    )


def _with_key_set(prepared: Prepared, entry: Entry) -> Prepared:
    if entry.key_set is None:
        return prepared
    row = key_set_row(entry.key_set)
    return replace(prepared, key_set=row, size=prepared.size + len(row["document"]))


def _with_dead_letter(prepared: Prepared, entry: Entry) -> Prepared:
    letter = entry.dead_letter
    if letter is None:
        return prepared
    names = ("id", "key", "reason", "origin")
    row: Row = {name: storable(getattr(letter, name)) for name in names}
    return replace(prepared, dead_letter=row | {"at": micros(letter.at)})


_ADDITIONS: tuple[Callable[[Prepared, Entry], Prepared], ...] = (
    _with_evidence,
    _with_result,
    _with_key_set,
    _with_dead_letter,
)
