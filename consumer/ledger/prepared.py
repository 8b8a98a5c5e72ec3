"""
An entry as rows, made before any transaction and in its caller's own time.

What no database could take fails here, alone, with an error for its caller.
"""

from dataclasses import dataclass, field

from consumer.core.fact import Fact
from consumer.core.projection import Entry, ResultEntry
from consumer.ledger.rows import (
    Row,
    body_row,
    dead_letter_row,
    delivery_row,
    fact_row,
    key_set_row,
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
    facts = [storable_fact(fact) for fact in entry.facts]
    rows = tuple(fact_row(entry.event_id, fact, detail) for fact, detail in facts)
    evidence, result, letter = entry.evidence, entry.result, entry.dead_letter
    result = None if result is None else storable_result(result)
    key_set = None if entry.key_set is None else key_set_row(entry.key_set)
    size = sum(len(row["detail"]) for row in rows)
    size += len(evidence.body) if evidence else 0
    size += len(result.value) if result else 0
    size += len(key_set["document"]) if key_set else 0
    return Prepared(
        facts=tuple(fact for fact, _ in facts),
        fact_rows=rows,
        delivery=None if evidence is None else delivery_row(evidence),
        body=None if evidence is None else body_row(evidence),
        result=result,
        result_row=None if result is None else result_row(result),
        key_set=key_set,
        dead_letter=None if letter is None else dead_letter_row(letter),
        size=size,
    )
