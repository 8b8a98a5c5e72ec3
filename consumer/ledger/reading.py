"""
What the ledger answers: plain reads, each in one short transaction.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Select, bindparam, func, select, text, tuple_, union_all

from consumer.core.fact import Fact
from consumer.core.lifecycle import is_bound
from consumer.core.projection import Evidence, KeySetEntry
from consumer.core.standing import Request, State, Submission, SubmissionState
from consumer.core.text import storable
from consumer.ledger.derived import read_requests, read_submissions
from consumer.ledger.rows import evidence_of, fact_of, key_set_of
from consumer.ledger.tables import (
    HAS_CONFLICT,
    HAS_GROUP,
    HAS_SERIES,
    HAS_SUBMISSION,
    IS_OPEN,
    dead_letters,
    deliveries,
    evidence_bodies,
    facts,
    key_sets,
    parked,
    requests,
    results,
    submissions,
)
from consumer.ports import RequestFilter

_EVIDENCE = (
    select(deliveries, evidence_bodies.c.body)
    .join(evidence_bodies, evidence_bodies.c.sha256 == deliveries.c.body_sha256)
    .where(deliveries.c.request_id == bindparam("of_request"))
    .order_by(deliveries.c.received_at, deliveries.c.id)
)
_RESULT = (
    select(results.c.value)
    .where(results.c.subject == bindparam("of_subject"))
    .order_by(results.c.revision.desc())
    .limit(1)
)
_KEY_SETS = (
    select(key_sets)
    .where(key_sets.c.url == bindparam("of_url"))
    .order_by(key_sets.c.fetched_at.desc(), key_sets.c.sha256)
)
_SUBMISSIONS = (
    select(submissions.c.standing)
    .where(submissions.c.state.in_(bindparam("in_states", expanding=True)))
    .order_by(submissions.c.first_at, submissions.c.submission_id)
    .limit(bindparam("at_most"))
)
# Two searches and no OR: each finds its own index.
_OF_REQUEST = select(facts).where(facts.c.request_id == bindparam("of_request"))
_OF_SUBMISSION = select(facts).where(
    facts.c.submission_id == bindparam("of_submission"), text(HAS_SUBMISSION)
)


def request(connection: Connection, request_id: str) -> Request | None:
    """Return the request, or None when nothing names it."""
    name = storable(request_id)
    return read_requests(connection, [name]).get(name)


def submission(connection: Connection, submission_id: str) -> Submission | None:
    """Return the submission, or None when nothing names it."""
    name = storable(submission_id)
    return read_submissions(connection, [name]).get(name)


def listed_requests(connection: Connection, wanted: RequestFilter) -> Sequence[Request]:
    """Return the requests that match, newest first; none when `before` names no request."""
    states = [state.value for state in dict.fromkeys(wanted.states)]
    if len(states) < 2 or wanted.open_only:
        query = _listing(wanted, states)
    else:
        # One state at a time: each is a walk along an index, all together would be a sort.
        parts = [_listing(wanted, [state]).subquery() for state in states]
        found = union_all(*(select(part) for part in parts)).subquery()
        order = (found.c.first_at.desc(), found.c.request_id.desc())
        query = select(found).order_by(*order).limit(max(wanted.limit, 0))
    return [Request.model_validate_json(row.standing) for row in connection.execute(query)]


def _listing(wanted: RequestFilter, states: Sequence[str]) -> Select[Any]:
    columns = requests.c
    query = select(columns.standing, columns.first_at, columns.request_id)
    # Few are open: their own index finds them, which must not lose against those of the others.
    state, endpoint = (
        column.concat("") if wanted.open_only else column
        for column in (columns.state, columns.endpoint)
    )
    if states:
        query = query.where(state.in_(states))
    if wanted.endpoint:
        query = query.where(endpoint == storable(wanted.endpoint))
    if wanted.submission_id:
        query = query.where(
            columns.submission_id == storable(wanted.submission_id), text(HAS_SUBMISSION)
        )
    if wanted.group:
        query = query.where(columns.group_key == storable(wanted.group), text(HAS_GROUP))
    if wanted.supersedes:
        query = query.where(columns.supersedes == storable(wanted.supersedes), text(HAS_SERIES))
    if wanted.open_only:
        query = query.where(text(IS_OPEN))
    if wanted.before:
        last = select(columns.first_at).where(columns.request_id == storable(wanted.before))
        place = tuple_(last.scalar_subquery(), bindparam("before", storable(wanted.before)))
        query = query.where(tuple_(columns.first_at, columns.request_id) < place)
    query = query.order_by(columns.first_at.desc(), columns.request_id.desc())
    return query.limit(max(wanted.limit, 0))


def listed_submissions(
    connection: Connection, states: Sequence[SubmissionState], limit: int
) -> Sequence[Submission]:
    """Return submissions in these states, or in any for none, oldest first."""
    wanted = [state.value for state in states or SubmissionState]
    rows = connection.execute(_SUBMISSIONS, {"in_states": wanted, "at_most": max(limit, 0)})
    return [Submission.model_validate_json(row.standing) for row in rows]


def timeline(connection: Connection, subject: str) -> Sequence[Fact]:
    """Return every fact about a request or a submission and what it is bound to, oldest first."""
    request_id, submission_id = _bound(connection, storable(subject))
    found = {
        fact.id: fact
        for query, wanted in (
            (_OF_REQUEST, {"of_request": request_id}),
            (_OF_SUBMISSION, {"of_submission": submission_id}),
        )
        for fact in map(fact_of, connection.execute(query, wanted))
    }
    return sorted(found.values(), key=lambda fact: (fact.at, fact.id))


def _bound(connection: Connection, subject: str) -> tuple[str, str]:
    """Return the request id and the submission id whose facts make the subject's timeline."""
    held = read_requests(connection, [subject]).get(subject)
    ours = read_submissions(connection, [subject]).get(subject)
    request_id = submission_id = subject
    if held and held.submission:
        name = held.submission.value
        other = read_submissions(connection, [name]).get(name)
        if other and is_bound(held, other):
            submission_id = name
    if ours and ours.request:
        name = ours.request.value
        bound = read_requests(connection, [name]).get(name)
        if bound and is_bound(bound, ours):
            request_id = name
    return request_id, submission_id


def evidence(connection: Connection, request_id: str) -> Sequence[Evidence]:
    """Return every delivery of a request with its signed bytes, oldest first."""
    rows = connection.execute(_EVIDENCE, {"of_request": storable(request_id)})
    return [evidence_of(row) for row in rows]


def result(connection: Connection, subject: str) -> bytes | None:
    """Return the data of the subject's highest result revision."""
    found = connection.execute(_RESULT, {"of_subject": storable(subject)}).scalar_one_or_none()
    return None if found is None else bytes(found)


def sets_of(connection: Connection, url: str) -> Sequence[KeySetEntry]:
    """Return the key sets published for an address, newest first."""
    return [key_set_of(row) for row in connection.execute(_KEY_SETS, {"of_url": storable(url)})]


def counts(connection: Connection) -> Mapping[str, int]:
    """Return how many rows are in each state; every state is named, also where it has none."""
    found = {state.value: 0 for state in State}
    found |= {f"submission:{state.value}": 0 for state in SubmissionState}
    for prefix, table in (("", requests), ("submission:", submissions)):
        grouped = select(table.c.state, func.count()).group_by(table.c.state)
        found |= {prefix + state: number for state, number in connection.execute(grouped)}
    for name, table in (("dead_letters", dead_letters), ("parked", parked)):
        found[name] = _count(connection, select(func.count()).select_from(table))
    conflicted = select(func.count()).select_from(requests).where(text(HAS_CONFLICT))
    return found | {"conflicts": _count(connection, conflicted)}


def _count(connection: Connection, query: Any) -> int:
    return int(connection.execute(query).scalar_one())
