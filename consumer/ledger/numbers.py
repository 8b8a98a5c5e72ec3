"""
Numbers, allowances and idempotency keys: small rows that many take from, one at a time.

Each taking locks the one row that it is about, in either database, so that no two take the
same.
"""

from datetime import datetime, timedelta

from sqlalchemy import Connection, bindparam, func, select, text
from sqlalchemy.dialects import postgresql, sqlite

from consumer.core.text import storable
from consumer.ledger.engine import insert_new
from consumer.ledger.rows import instant, micros
from consumer.ledger.tables import (
    HAS_SERIES,
    allowances,
    idempotency_keys,
    requests,
    series,
    submissions,
)

_HELD = select(series.c.number).where(
    series.c.supersedes == bindparam("of_key"), series.c.subject == bindparam("of_subject")
)
_LAST = select(func.max(series.c.number)).where(series.c.supersedes == bindparam("of_key"))
_LAST_TOLD = [
    select(func.max(table.c.number)).where(
        table.c.supersedes == bindparam("of_key"), text(HAS_SERIES)
    )
    for table in (requests, submissions)
]
# What facts tell of numbers: more than the series knows, where that was lost.
_TOLD = [
    select(table.c.number).where(
        table.c.supersedes == bindparam("of_key"),
        name == bindparam("of_subject"),
        text(HAS_SERIES),
    )
    for table, name in (
        (requests, requests.c.request_id),
        (submissions, submissions.c.submission_id),
    )
]
_LOCK = (
    select(series.c.number)
    .where(series.c.supersedes == bindparam("of_key"), series.c.number == 0)
    .with_for_update()  # said to PostgreSQL only; SQLite has one writer
)
_FINGERPRINT = select(idempotency_keys.c.fingerprint).where(
    idempotency_keys.c.key == bindparam("of_key")
)


def number_of(connection: Connection, supersedes: str, subject: str) -> int:
    """Return the subject's number under a key, the next one where it has none."""
    key = storable(supersedes)
    insert = insert_new(connection.dialect.name, series)
    connection.execute(insert, {"supersedes": key, "number": 0, "subject": ""})
    connection.execute(_LOCK, {"of_key": key})
    wanted = {"of_key": key, "of_subject": storable(subject)}
    for query in (_HELD, *_TOLD):
        held: int | None = connection.execute(query, wanted).scalar_one_or_none()
        if held is not None:
            return held
    last = [
        connection.execute(query, {"of_key": key}).scalar_one() for query in (_LAST, *_LAST_TOLD)
    ]
    number = max(found or 0 for found in last) + 1
    connection.execute(
        series.insert(), {"supersedes": key, "number": number, "subject": storable(subject)}
    )
    return number


def allow(connection: Connection, name: str, *, limit: int, span: timedelta, now: datetime) -> bool:
    """
    Count one use, unless `limit` were counted in the running span; tell whether it was.

    A span begins with its first use. One that begins in the future comes from a clock that
    stood wrong, and is over.
    """
    if limit < 1:
        return False
    present = micros(now)
    begins = present - micros(instant(0) + span)
    is_over = (allowances.c.window_at <= begins) | (allowances.c.window_at > present)
    build = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    new = build(allowances).values(name=storable(name), window_at=present, used=1)
    from_now = new.on_conflict_do_update(
        index_elements=["name"], set_={"window_at": present, "used": 1}, where=is_over
    )
    if connection.execute(from_now).rowcount == 1:
        return True
    counted = (
        allowances.update()
        .where(allowances.c.name == storable(name), allowances.c.used < limit)
        .values(used=allowances.c.used + 1)
    )
    return connection.execute(counted).rowcount == 1


def reserve(connection: Connection, key: str, fingerprint: str, now: datetime) -> str:
    """Keep what an idempotency key stands for; return what it stood for first."""
    row = {"key": storable(key), "fingerprint": storable(fingerprint), "at": micros(now)}
    connection.execute(insert_new(connection.dialect.name, idempotency_keys), row)
    return str(connection.execute(_FINGERPRINT, {"of_key": row["key"]}).scalar_one())
