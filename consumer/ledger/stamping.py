"""
Stamps: instants before which this ledger may have forgotten claims.

Copied, restored from a backup, or derived from the log: a submit from before the stamp that
has no claim may have been sent all the same.
"""

from datetime import datetime

from sqlalchemy import Connection, func, select

from consumer.ledger.engine import insert_new
from consumer.ledger.rows import instant, micros
from consumer.ledger.tables import stamps
from consumer.ports import StampKind

_LATEST = select(func.max(stamps.c.at))


def stamp(connection: Connection, kind: StampKind, now: datetime) -> datetime:
    """Write a stamp and return its instant."""
    row = {"kind": kind.value, "at": micros(now)}
    connection.execute(insert_new(connection.dialect.name, stamps), row)
    return now


def stamped_at(connection: Connection) -> datetime | None:
    """Return the latest stamp, None where there is none."""
    found = connection.execute(_LATEST).scalar_one()
    return None if found is None else instant(found)
