"""
Parked records: one that cannot be handled yet waits here, whole, until its time.
"""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Connection, bindparam, delete, or_, select

from consumer.core.text import storable
from consumer.ledger.engine import upsert
from consumer.ledger.operational_rows import parked_of
from consumer.ledger.rows import Row, micros
from consumer.ledger.schedules import MAX_SPAN
from consumer.ledger.tables import parked
from consumer.ports import Parked

_columns = parked.c
_DUE = (
    select(parked)
    .where(
        _columns.handler_group == bindparam("of_group"),
        or_(_columns.due_at <= bindparam("now"), _columns.due_at > bindparam("too_far")),
    )
    .order_by(_columns.due_at, _columns.id)
    .limit(bindparam("at_most"))
)
_UNPARK = delete(parked).where(_columns.id == bindparam("of_id"))


def park(connection: Connection, row: Row) -> None:
    """Keep the record, or move the one with the same id."""
    moved = upsert(connection.dialect.name, parked, "attempt", "reason", "due_at")
    connection.execute(moved, row)


def take_parked(
    connection: Connection, group: str, *, limit: int, now: datetime
) -> Sequence[Parked]:
    """Return the group's records that are due, oldest first."""
    wanted = {
        "of_group": storable(group),
        "now": micros(now),
        "too_far": micros(now + MAX_SPAN),
        "at_most": max(limit, 0),
    }
    return [parked_of(row) for row in connection.execute(_DUE, wanted)]


def unpark(connection: Connection, parked_id: str) -> None:
    """Remove the record."""
    connection.execute(_UNPARK, {"of_id": storable(parked_id)})
