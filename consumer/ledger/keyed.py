"""
Requests and submissions by the keys that their submitters gave: groups, and series.
"""

from collections.abc import Sequence

from sqlalchemy import Connection, bindparam, func, select, text

from consumer.core.standing import Request, Series, Submission, SubmissionState
from consumer.core.text import storable
from consumer.ledger.tables import (
    HAS_GROUP,
    HAS_SERIES,
    IS_OPEN,
    facts,
    requests,
    submissions,
)

UNENDED = (SubmissionState.INTENDED, SubmissionState.SENDING, SubmissionState.UNKNOWN)
_UNENDED = submissions.c.state.in_([state.value for state in UNENDED])
_OF_GROUP = (
    select(submissions.c.standing)
    .where(submissions.c.group_key == bindparam("of_group"), text(HAS_GROUP), _UNENDED)
    .order_by(submissions.c.submission_id)
)
_LOWER_REQUESTS = (
    select(requests.c.standing)
    .where(
        requests.c.supersedes == bindparam("of_key"),
        requests.c.number < bindparam("of_number"),
        text(HAS_SERIES),
        text(IS_OPEN),
    )
    .order_by(requests.c.number.desc(), requests.c.request_id)
    .limit(bindparam("at_most"))
)
_LOWER_SUBMISSIONS = (
    select(submissions.c.standing)
    .where(
        submissions.c.supersedes == bindparam("of_key"),
        submissions.c.number < bindparam("of_number"),
        text(HAS_SERIES),
        _UNENDED,
    )
    .order_by(submissions.c.number.desc(), submissions.c.submission_id)
    .limit(bindparam("at_most"))
)
_HIGHEST = (
    select(requests.c.standing)
    .where(
        requests.c.supersedes == bindparam("of_key"),
        requests.c.number > bindparam("of_number"),
        text(HAS_SERIES),
    )
    .order_by(requests.c.number.desc(), requests.c.request_id)
    .limit(1)
)
_FACT = select(facts.c.id).where(facts.c.id == bindparam("of_fact"))


def unended(connection: Connection, group: str) -> Sequence[Submission]:
    """Return the submissions of a group that have no end and no request yet."""
    rows = connection.execute(_OF_GROUP, {"of_group": storable(group)})
    return [Submission.model_validate_json(row.standing) for row in rows]


def outnumbered(
    connection: Connection, place: Series, limit: int
) -> tuple[Sequence[Request], Sequence[Submission]]:
    """Return who has a lower number under the same key and no end."""
    wanted = _of(place) | {"at_most": max(limit, 0)}
    found = connection.execute(_LOWER_REQUESTS, wanted)
    ours = connection.execute(_LOWER_SUBMISSIONS, wanted)
    return (
        [Request.model_validate_json(row.standing) for row in found],
        [Submission.model_validate_json(row.standing) for row in ours],
    )


def outnumbering(connection: Connection, place: Series) -> Request | None:
    """Return the request with the highest number under a key, if above this one."""
    row = connection.execute(_HIGHEST, _of(place)).one_or_none()
    return None if row is None else Request.model_validate_json(row.standing)


def knows_fact(connection: Connection, fact_id: str) -> bool:
    """Tell whether a fact was recorded."""
    return connection.execute(_FACT, {"of_fact": storable(fact_id)}).first() is not None


def open_work(connection: Connection, limit: int) -> int:
    """Return how many tracked requests are open, and submissions unended; at most `limit`."""
    ours = select(requests.c.request_id).where(text(IS_OPEN), requests.c.is_tracked)
    sent = select(submissions.c.submission_id).where(_UNENDED)
    found = 0
    for query in (ours, sent):
        counted = select(func.count()).select_from(query.limit(limit).subquery())
        found += int(connection.execute(counted).scalar_one())
    return min(found, limit)


def _of(place: Series) -> dict[str, object]:
    return {"of_key": storable(place.key), "of_number": place.number}
