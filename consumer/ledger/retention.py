"""
What is old goes: facts and evidence of requests that are over, and nothing else of theirs.

The row of a request, its results and its claims stay. What belongs to a request or a
submission with work left, or heard of since, stays whole; so does what does not count yet,
for configuring its account later derives it anew.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, bindparam, text

from consumer.ledger.partitions import BODIES, DELIVERIES, FACTS, Month, partitions_of
from consumer.ledger.rows import micros

MAX_ROWS = 1_000
# Removed in one transaction; between two of them other writers have their turn.

Old = Mapping[str, Sequence[str]]
"""Keys of rows to remove, by table."""

_OF_A_REQUEST = """
    EXISTS (SELECT 1 FROM requests r WHERE r.request_id = o.request_id
            AND (r.is_open OR r.last_at >= :before))
    OR NOT o.counts
    OR EXISTS (SELECT 1 FROM facts u WHERE o.request_id <> '' AND u.request_id = o.request_id
               AND NOT u.counts)
"""
_OF_A_SUBMISSION = """
    EXISTS (SELECT 1 FROM submissions s LEFT JOIN requests r ON r.request_id = s.request_id
            WHERE o.submission_id <> '' AND s.submission_id = o.submission_id
            AND (s.state IN ('intended', 'sending', 'unknown') OR s.last_at >= :before
                 OR (s.state <> 'submitted' AND s.result_revision IS NULL)
                 OR (r.request_id IS NOT NULL AND (r.is_open OR r.last_at >= :before))))
"""
# A body goes with the last delivery that had it, whenever that was.
_OF_A_DELIVERY = "EXISTS (SELECT 1 FROM deliveries d WHERE d.body_sha256 = o.sha256)"
_KEPT = {
    FACTS: f"({_OF_A_REQUEST} OR {_OF_A_SUBMISSION})",
    DELIVERIES: f"({_OF_A_REQUEST})",
    BODIES: f"({_OF_A_DELIVERY})",
}
_KEYS = {FACTS: "id", DELIVERIES: "id", BODIES: "sha256"}
_TIMES = {FACTS: "o.at < :before AND", DELIVERIES: "o.received_at < :before AND", BODIES: ""}
_MONTH = re.compile(r"_y(\d{4})m(\d{2})$")


def find_before(connection: Connection, before: datetime) -> tuple[datetime, Old]:
    """
    Return that instant, and some of what may go that is older.

    A long look, in a session that nobody waits for.
    """
    found = {}
    for table, key in _KEYS.items():
        query = f"SELECT o.{key} FROM {table} o WHERE {_TIMES[table]} NOT {_KEPT[table]}"  # noqa: S608  words of ours
        rows = connection.execute(_bound(f"{query} LIMIT {MAX_ROWS}", before))
        found[table] = list(rows.scalars())
    return before, found


def remove_old(connection: Connection, found: Old, before: datetime) -> int:
    """
    Remove what was found, as far as it may still go; return how much.

    On PostgreSQL a month of which nothing is kept goes whole. Runs while no other writer of
    the projection does.
    """
    if connection.dialect.name == "postgresql" and _drop_a_month(connection, before):
        return MAX_ROWS
    removed = 0
    for table, keys in found.items():
        if keys:
            key = _KEYS[table]
            chosen = f"{table} AS o WHERE o.{key} IN :keys AND NOT {_KEPT[table]}"
            statement = _bound(f"DELETE FROM {chosen}", before)  # noqa: S608  words of ours
            statement = statement.bindparams(bindparam("keys", list(keys), expanding=True))
            removed += int(connection.execute(statement).rowcount)
    return removed


def _drop_a_month(connection: Connection, before: datetime) -> bool:
    """Drop one partition that is old enough, and holds nothing that is kept; tell whether."""
    for table in _KEYS:
        for relation, name in partitions_of(connection, table).items():
            found = _MONTH.search(relation)
            if found is None or Month(int(found[1]), int(found[2])).ends > before:
                continue
            kept = f"SELECT 1 FROM {name} o WHERE {_KEPT[table]} LIMIT 1"  # noqa: S608  names of ours
            if connection.execute(_bound(kept, before)).first() is None:
                connection.exec_driver_sql(f"DROP TABLE {name}")
                return True
    return False


def _bound(statement: str, before: datetime) -> Any:
    """Return a statement that knows the instant, where it asks for it."""
    made = text(statement)
    return made.bindparams(before=micros(before)) if ":before" in statement else made
