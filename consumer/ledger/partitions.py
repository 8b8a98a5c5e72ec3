"""
Months: on PostgreSQL facts and evidence rest in a partition for each, and old ones go whole.

SQLite has one table for all of them; here it is passed over. A partition is made by whoever
writes the first row of its month, while the writers' turn is his.
"""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import sqlalchemy.exc
from sqlalchemy import Connection, text

from consumer.ledger.rows import instant, micros

FACTS, DELIVERIES, BODIES = "facts", "deliveries", "evidence_bodies"
_OLDEST = datetime(2020, 1, 1, tzinfo=UTC)
_AHEAD = timedelta(days=45)
# A row of a month beyond comes from a clock that stands wrong: it rests in the default partition.

_PARTITIONS = text(
    "SELECT child.relname, inhrelid::regclass::text AS name FROM pg_inherits"
    " JOIN pg_class child ON child.oid = inhrelid"
    " WHERE inhparent = to_regclass(:parent) ORDER BY child.relname"
)
_HOME = text(
    "SELECT relnamespace::regnamespace::text FROM pg_class WHERE oid = to_regclass(:parent)"
)


class Month(NamedTuple):
    """A month in UTC, as it names a partition."""

    year: int
    month: int

    @property
    def begins(self) -> datetime:
        """Its first instant."""
        return datetime(self.year, self.month, 1, tzinfo=UTC)

    @property
    def ends(self) -> datetime:
        """The first instant of the next one."""
        return datetime(self.year + self.month // 12, self.month % 12 + 1, 1, tzinfo=UTC)

    def of(self, table: str) -> str:
        """Return the name of its partition of a table."""
        return f"{table}_y{self.year:04d}m{self.month:02d}"


def ensure_partitions(
    connection: Connection, wanted: Mapping[str, Iterable[int]], now: datetime
) -> None:
    """Make the partitions, by table, that rows of these instants (microseconds) belong into."""
    if connection.dialect.name != "postgresql":
        return
    for table, instants in wanted.items():
        months = {_month_of(at) for at in instants}
        months = {month for month in months if _OLDEST <= month.begins < now + _AHEAD}
        there = partitions_of(connection, table) if months else {}
        for month in sorted(months):
            if month.of(table) not in there:
                _make(connection, table, month)


def partitions_of(connection: Connection, table: str) -> Mapping[str, str]:
    """Return a table's partitions, and how a statement names each."""
    rows = connection.execute(_PARTITIONS, {"parent": table})
    return {row.relname: row.name for row in rows}


def _make(connection: Connection, table: str, month: Month) -> None:
    home = connection.execute(_HOME, {"parent": table}).scalar_one()
    name = f"{home}.{month.of(table)}"
    bounds = f"FROM ({micros(month.begins)}) TO ({micros(month.ends)})"
    try:
        with connection.begin_nested():
            connection.exec_driver_sql(
                f"CREATE TABLE {name} PARTITION OF {table} FOR VALUES {bounds}"
            )
    except sqlalchemy.exc.IntegrityError:
        # The default partition has rows of that month already: so it keeps them all.
        return


def _month_of(stored: int) -> Month:
    try:
        at = instant(stored)
    except OverflowError:
        return Month(1, 1)
    return Month(at.year, at.month)
