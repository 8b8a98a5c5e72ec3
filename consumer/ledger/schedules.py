"""
When work is due: rows kept as plans say, leased to one sweep at a time.

A lease is a time and a fence: whoever comes after its end raises the fence, and the late
one's writes no longer find the row.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, bindparam, delete, or_, select, update

from consumer.ledger.derived import among, chunks
from consumer.ledger.engine import insert_new
from consumer.ledger.rows import Row, instant, micros
from consumer.ledger.tables import schedules
from consumer.ports import Due, Plan

CHECK = "check"
CANCEL = "cancel"
MAX_SPAN = timedelta(hours=48)
# No plan reaches further: a longer one is looked at when this is over, and put off again.
# So a time beyond it comes from a clock that stood wrong, and is due.

_SPAN = micros(instant(0) + MAX_SPAN)
_columns = schedules.c

_HELD = (
    select(_columns.schedule, _columns.subject, _columns.planned_at, _columns.due_at)
    .where(among(_columns.subject))
    # In the order of everybody who waits for such rows (`store`); said to PostgreSQL only.
    .order_by(_columns.subject, _columns.schedule)
    .with_for_update()
)
_OF_ROW = and_(
    _columns.schedule == bindparam("of_schedule"), _columns.subject == bindparam("of_subject")
)
_REMOVE = delete(schedules).where(_OF_ROW)
_MOVE = (
    update(schedules)
    .where(_OF_ROW)
    .values(planned_at=bindparam("new_planned_at"), due_at=bindparam("new_due_at"))
)
_AT_FENCE = and_(_OF_ROW, _columns.fence == bindparam("of_fence"))
_IS_FREE = or_(
    _columns.lease_until <= bindparam("now"), _columns.lease_until > bindparam("too_far")
)


def _taking(is_due: ColumnElement[bool]) -> Any:
    """Return the statement that leases free rows of a schedule, and gives them back."""
    due = (
        select(_columns.subject)
        .where(_columns.schedule == bindparam("of_schedule"), is_due, _IS_FREE)
        .order_by(_columns.due_at, _columns.subject)
        .limit(bindparam("at_most"))
        .with_for_update(skip_locked=True)  # said to PostgreSQL only; SQLite has one writer
        .cte("due")
    )
    return (
        update(schedules)
        .where(_columns.schedule == bindparam("of_schedule"), _columns.subject == due.c.subject)
        .values(lease_until=bindparam("new_lease_until"), fence=_columns.fence + 1)
        .returning(_columns.subject, _columns.attempt, _columns.fence, _columns.due_at)
    )


# Two searches and no OR: each walks its own end of the index.
_TAKE_DUE = _taking(_columns.due_at <= bindparam("now"))
_TAKE_FAR = _taking(_columns.due_at > bindparam("too_far"))
_RELEASE = update(schedules).values(lease_until=0, fence=_columns.fence + 1)
_PUT_OFF = (
    update(schedules)
    .where(_AT_FENCE)
    .values(due_at=bindparam("new_due_at"), attempt=_columns.attempt + 1, lease_until=0)
)
_FINISH = delete(schedules).where(_AT_FENCE)


def keep_schedules(connection: Connection, plans: Mapping[str, Plan], now: datetime) -> None:
    """
    Let the rows of these requests be as their plans say.

    No instant: no row. A row that is there keeps its time, because a sweep may have put it
    off, unless its check is wanted at once or its cancel is planned anew: then it comes no
    later than planned.
    """
    held = {
        (row.schedule, row.subject): row
        for chunk in chunks(sorted(plans))
        for row in connection.execute(_HELD, {"wanted": chunk})
    }
    added: list[Row] = []
    moved: list[Row] = []
    removed: list[Row] = []
    for subject, plan in plans.items():
        for schedule, at in ((CHECK, plan.check_at), (CANCEL, plan.cancel_at)):
            row = held.get((schedule, subject))
            place = {"of_schedule": schedule, "of_subject": subject}
            if at is None:
                removed += [place] if row else []
            elif row is None:
                added.append(_new_row(schedule, subject, micros(at), micros(now)))
            else:
                moved += [place | move for move in _moves(row, micros(at), micros(now))]
    if added:
        connection.execute(insert_new(connection.dialect.name, schedules), added)
    for statement, rows in ((_MOVE, moved), (_REMOVE, removed)):
        if rows:
            connection.execute(statement, rows)


def _new_row(schedule: str, subject: str, at: int, now: int) -> Row:
    return {
        "schedule": schedule,
        "subject": subject,
        "planned_at": at,
        "due_at": min(at, now + _SPAN),
        "attempt": 1,
        "lease_until": 0,
        # Begins at the time, not at 0: a row removed and made again must not meet a fence
        # that an earlier holder still remembers.
        "fence": max(now, 0),
    }


def _moves(row: Any, at: int, now: int) -> list[Row]:
    """Return the new times of a row that is there, or nothing when it keeps them."""
    is_moved = at <= now < row.due_at if row.schedule == CHECK else at != row.planned_at
    return [{"new_planned_at": at, "new_due_at": min(at, row.due_at)}] if is_moved else []


def take_due(
    connection: Connection, schedule: str, *, limit: int, lease: timedelta, now: datetime
) -> Sequence[Due]:
    """Lease the rows that are due and return them, longest due first."""
    present = micros(now)
    until = present + micros(instant(0) + lease)
    wanted = {
        "of_schedule": schedule,
        "now": present,
        "too_far": present + _SPAN,
        "new_lease_until": until,
    }
    found: list[Any] = []
    for statement in (_TAKE_DUE, _TAKE_FAR):
        left = max(limit, 0) - len(found)
        if left > 0:
            found += connection.execute(statement, wanted | {"at_most": left})
    rows = sorted(found, key=lambda row: (row.due_at, row.subject))
    return [Due(schedule, row.subject, row.attempt, row.fence, instant(until)) for row in rows]


def put_off(connection: Connection, due: Due, until: timedelta, now: datetime) -> bool:
    """Let the row be due again later; tell whether the lease still held."""
    due_at = micros(now) + min(micros(instant(0) + until), _SPAN)
    place = _place(due) | {"of_fence": due.fence, "new_due_at": due_at}
    return connection.execute(_PUT_OFF, place).rowcount == 1


def finish(connection: Connection, due: Due) -> bool:
    """Remove the row; tell whether the lease still held."""
    return connection.execute(_FINISH, _place(due) | {"of_fence": due.fence}).rowcount == 1


def _place(due: Due) -> Row:
    return {"of_schedule": due.schedule, "of_subject": due.subject}


def release(connection: Connection) -> None:
    """Give back every lease; fences stay, so that a late write of an old holder finds no row."""
    connection.execute(_RELEASE)
