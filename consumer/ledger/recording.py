"""
What a batch of entries does inside one transaction: the only writer of the projection.

Facts that are new are joined into their request and submission; a repetition changes
nothing. Schedules follow from the joined requests, in the same transaction.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    LargeBinary,
    Text,
    bindparam,
    select,
    text,
    update,
)

from consumer.core.fact import Fact
from consumer.core.lifecycle import join_request, join_result, join_submission
from consumer.core.projection import ResultEntry
from consumer.core.standing import Request, Submission
from consumer.ledger.derived import (
    among,
    chunks,
    fold_requests,
    fold_submissions,
    read_requests,
    read_submissions,
    write_requests,
    write_submissions,
)
from consumer.ledger.engine import insert_new, upsert
from consumer.ledger.partitions import BODIES, DELIVERIES, FACTS, ensure_partitions
from consumer.ledger.prepared import Prepared
from consumer.ledger.rows import Row
from consumer.ledger.schedules import keep_schedules
from consumer.ledger.tables import (
    dead_letters,
    deliveries,
    evidence_bodies,
    facts,
    key_sets,
    results,
)
from consumer.ports import Planner, Recorded

__all__ = ["Prepared", "record_all"]

_KNOWN_FACTS = select(facts.c.id, facts.c.counts).where(among(facts.c.id))
_KNOWN_DELIVERIES = select(deliveries.c.id, deliveries.c.counts).where(among(deliveries.c.id))
_KNOWN_RESULTS = select(results.c.subject, results.c.revision).where(among(results.c.subject))
_KNOWN_KEY_SETS = select(key_sets).where(among(key_sets.c.sha256))
_KNOWN_BODIES = select(evidence_bodies.c.sha256).where(among(evidence_bodies.c.sha256))
_KNOWN_LETTERS = select(dead_letters.c.id).where(among(dead_letters.c.id))


def counting(column: Column[str]) -> Any:
    """Return the UPDATE that lets the rows with the id bound as `proven` count."""
    return update(column.table).where(column == bindparam("proven")).values(counts=True)


def insert_bodies(dialect: str) -> Any:
    """Return the INSERT of bodies; on PostgreSQL with `kept_at`, by which they are partitioned."""
    return _INSERT_DATED if dialect == "postgresql" else insert_new(dialect, evidence_bodies)


_INSERT_DATED = text(
    "INSERT INTO evidence_bodies (sha256, body, kept_at) VALUES (:sha256, :body, :kept_at)"
).bindparams(
    bindparam("sha256", type_=Text),
    bindparam("body", type_=LargeBinary),
    bindparam("kept_at", type_=BigInteger),
)
_PROVE_FACT = counting(facts.c.id)
_PROVE_DELIVERY = counting(deliveries.c.id)


def record_all(
    connection: Connection, entries: Sequence[Prepared], *, plan: Planner, now: datetime
) -> list[Recorded]:
    """
    Write a batch of entries and return what each one changed, in their order.

    Runs inside the caller's transaction, while no other writer runs.
    """
    batch = _Batch(connection, entries, now)
    batch.write_new_rows()
    batch.fold_proven()
    recorded = [batch.join(entry) for entry in entries]
    write_requests(connection, [batch.requests[name] for name in batch.changed_requests])
    write_submissions(connection, [batch.submissions[name] for name in batch.changed_submissions])
    touched = {name: batch.requests[name] for name in batch.changed_requests}
    keep_schedules(connection, {name: plan(item, now) for name, item in touched.items()}, now)
    return recorded


class _Batch:
    """The entries of one transaction, and the rows that they touch as they were before it."""

    def __init__(self, connection: Connection, entries: Sequence[Prepared], now: datetime) -> None:
        self._connection = connection
        self._now = now
        self._facts = _strongest(row for entry in entries for row in entry.fact_rows)
        self._deliveries = _strongest(entry.delivery for entry in entries if entry.delivery)
        self._bodies = {row["sha256"]: row for row in (e.body for e in entries) if row}
        self._results = _first(entries, "result_row", "subject", "revision")
        self._letters = _first(entries, "dead_letter", "id")
        self._key_sets = _newest_key_sets(entries)
        self._read_known()
        self.requests = read_requests(connection, {n: 0 for e in entries for n in e.request_ids})
        self.submissions = read_submissions(
            connection, {n: 0 for e in entries for n in e.submission_ids}
        )
        self._conflicted = {name for name, held in self.requests.items() if held.has_conflict}
        # In order, because rows that two writers lock in one order cannot block each other.
        self.changed_requests: dict[str, None] = {}
        self.changed_submissions: dict[str, None] = {}

    def _read_known(self) -> None:
        """Find what is new; each kind of row is looked up only where the batch has some."""
        read = self._read
        known = {row.id: row.counts for row in read(_KNOWN_FACTS, self._facts)}
        self._new_facts = {name: row for name, row in self._facts.items() if name not in known}
        self._proven_facts = _proven(self._facts, known)
        known = {row.id: row.counts for row in read(_KNOWN_DELIVERIES, self._deliveries)}
        self._new_deliveries = {
            name: row for name, row in self._deliveries.items() if name not in known
        }
        self._proven_deliveries = _proven(self._deliveries, known)
        held = {(row.subject, row.revision) for row in read(_KNOWN_RESULTS, _firsts(self._results))}
        self._new_results = {key: row for key, row in self._results.items() if key not in held}
        letters = {(row.id,) for row in read(_KNOWN_LETTERS, _firsts(self._letters))}
        self._new_letters = {key: row for key, row in self._letters.items() if key not in letters}
        sets = {
            (row.sha256, row.url): row for row in read(_KNOWN_KEY_SETS, _firsts(self._key_sets))
        }
        self._new_key_sets = {
            key: row
            for key, row in self._key_sets.items()
            if key not in sets or sets[key].fetched_at < row["fetched_at"]
        }

    def _read(self, query: Any, wanted: Iterable[str]) -> Iterable[Any]:
        for chunk in chunks(wanted):
            yield from self._connection.execute(query, {"wanted": chunk})

    def write_new_rows(self) -> None:
        """Insert what is new, and let count what is now proven."""
        dialect = self._connection.dialect.name
        bodies = self._new_bodies()
        ensure_partitions(
            self._connection,
            {
                FACTS: (row["at"] for row in self._new_facts.values()),
                DELIVERIES: (row["received_at"] for row in self._new_deliveries.values()),
                BODIES: (row["kept_at"] for row in bodies.values() if "kept_at" in row),
            },
            self._now,
        )
        added = (
            (insert_new(dialect, facts), self._new_facts),
            (insert_bodies(dialect), bodies),
            (insert_new(dialect, deliveries), self._new_deliveries),
            (insert_new(dialect, results), self._new_results),
            (upsert(dialect, key_sets, "fetched_at"), self._new_key_sets),
            (insert_new(dialect, dead_letters), self._new_letters),
        )
        for statement, rows in added:
            if rows:
                self._connection.execute(statement, list(rows.values()))
        for statement, ids in (
            (_PROVE_FACT, self._proven_facts),
            (_PROVE_DELIVERY, self._proven_deliveries),
        ):
            if ids:
                self._connection.execute(statement, [{"proven": name} for name in ids])

    def _new_bodies(self) -> dict[str, Row]:
        """Return the bodies of new deliveries; on SQLite those that are there may be among them."""
        if not self._new_deliveries or self._connection.dialect.name != "postgresql":
            return self._bodies if self._new_deliveries else {}
        # No index there holds a body's hash over all months.
        known = {row.sha256 for row in self._read(_KNOWN_BODIES, self._bodies)}
        found: dict[str, Row] = {}
        for row in self._new_deliveries.values():
            name = row["body_sha256"]
            if name in self._bodies and name not in known and name not in found:
                found[name] = self._bodies[name] | {"kept_at": row["received_at"]}
        return found

    def fold_proven(self) -> None:
        """Derive anew what has a fact that counts only now: a join cannot take back."""
        rows = [self._facts[name] for name in self._proven_facts]
        requests = sorted({row["request_id"] for row in rows if row["request_id"]})
        submissions = sorted({row["submission_id"] for row in rows if row["submission_id"]})
        self.requests |= fold_requests(self._connection, requests)
        self.submissions |= fold_submissions(self._connection, submissions)
        self.changed_requests |= dict.fromkeys(requests)
        self.changed_submissions |= dict.fromkeys(submissions)

    def join(self, entry: Prepared) -> Recorded:
        """Join what the entry adds into its rows, and return what that changed."""
        is_new = self._take_plain(entry)
        for fact in entry.facts:
            fact_is_new = self._new_facts.pop(fact.id, None) is not None
            if fact_is_new:
                # The strongest copy in the batch is the one that was written.
                counts = self._facts[fact.id]["counts"]
                self._join_fact(fact if fact.counts == counts else replace(fact, counts=counts))
            is_new = is_new or fact_is_new or self._proven_facts.pop(fact.id, None) is not None
        if entry.result is not None and entry.result_row is not None:
            key = (entry.result_row["subject"], entry.result_row["revision"])
            if self._new_results.pop(key, None) is not None:
                self._join_result(entry.result)
                is_new = True
        requests = [self.requests[n] for n in entry.request_ids if n in self.requests]
        submissions = [self.submissions[n] for n in entry.submission_ids if n in self.submissions]
        return Recorded(
            is_new,
            requests[0] if requests else None,
            submissions[0] if submissions else None,
            became_conflicted=self._became_conflicted(requests),
        )

    def _take_plain(self, entry: Prepared) -> bool:
        """Tell whether the entry brought a row that no fact is derived from."""
        is_new = False
        if entry.delivery is not None:
            name = entry.delivery["id"]
            is_new |= self._new_deliveries.pop(name, None) is not None
            is_new |= self._proven_deliveries.pop(name, None) is not None
        if entry.key_set is not None:
            key = (entry.key_set["sha256"], entry.key_set["url"])
            is_new |= self._new_key_sets.pop(key, None) is not None
        if entry.dead_letter is not None:
            is_new |= self._new_letters.pop((entry.dead_letter["id"],), None) is not None
        return is_new

    def _join_fact(self, fact: Fact) -> None:
        if fact.request_id:
            held = self.requests.get(fact.request_id)
            self.requests[fact.request_id] = join_request(held, fact)
            self.changed_requests[fact.request_id] = None
        if fact.submission_id:
            before = self.submissions.get(fact.submission_id)
            self.submissions[fact.submission_id] = join_submission(before, fact)
            self.changed_submissions[fact.submission_id] = None

    def _join_result(self, result: ResultEntry) -> None:
        name, at = result.request_id, result.at
        if name:
            held = self.requests.get(name) or Request(request_id=name, first_at=at, last_at=at)
            self.requests[name] = join_result(held, result.published, at)
            self.changed_requests[name] = None
            return
        name = result.submission_id
        before = self.submissions.get(name)
        before = before or Submission(submission_id=name, first_at=at, last_at=at)
        self.submissions[name] = join_result(before, result.published, at)
        self.changed_submissions[name] = None

    def _became_conflicted(self, requests: Iterable[Request]) -> bool:
        """Tell whether one of the requests has a conflict that nobody was told of."""
        conflicted = {request.request_id for request in requests if request.has_conflict}
        is_news = not conflicted <= self._conflicted
        self._conflicted |= conflicted
        return is_news


def _strongest(rows: Iterable[Row]) -> dict[str, Row]:
    """Return the rows by id, each once; of two copies the one that counts."""
    found: dict[str, Row] = {}
    for row in rows:
        held = found.get(row["id"])
        if held is None:
            found[row["id"]] = row
        elif row["counts"] and not held["counts"]:
            found[row["id"]] = held | {"counts": True}
    return found


def _proven(rows: Mapping[str, Row], known: Mapping[str, bool]) -> dict[str, Row]:
    """Return the rows that count now and are known as ones that did not."""
    return {name: row for name, row in rows.items() if row["counts"] and not known.get(name, True)}


def _first(entries: Iterable[Prepared], attribute: str, *key: str) -> dict[tuple[Any, ...], Row]:
    """Return one kind of row by its key, the first of each."""
    found: dict[tuple[Any, ...], Row] = {}
    for entry in entries:
        row = getattr(entry, attribute)
        if row is not None:
            found.setdefault(tuple(row[name] for name in key), row)
    return found


def _newest_key_sets(entries: Iterable[Prepared]) -> dict[tuple[Any, ...], Row]:
    rows = [entry.key_set for entry in entries if entry.key_set is not None]
    rows.sort(key=lambda row: int(row["fetched_at"]))
    return {(row["sha256"], row["url"]): row for row in rows}


def _firsts(keys: Iterable[tuple[Any, ...]]) -> list[str]:
    """Return the first part of each key, once."""
    return list(dict.fromkeys(key[0] for key in keys))
