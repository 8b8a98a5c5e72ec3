"""
Requests and submissions as rows: held ones read, changed ones written, or folded anew.

The joins are `core.lifecycle`; here is only where their operands rest.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Column, Connection, bindparam, select, text

from consumer.core.fact import Fact
from consumer.core.lifecycle import join_request, join_result, join_submission
from consumer.core.standing import Published, Request, Submission
from consumer.ledger.engine import upsert
from consumer.ledger.rows import fact_of, instant, request_row, submission_row
from consumer.ledger.tables import HAS_SUBMISSION, facts, requests, results, submissions

MAX_IN_LIST = 1_024
# Values in one IN list; SQLite takes 32,766 parameters in a statement.


def chunks(values: Iterable[str]) -> Iterable[list[str]]:
    """
    Yield the values in lists that fit one statement.

    Each is filled up with its last value to a power of two: a database plans a statement for
    each length of its list, and so there are few of them.
    """
    listed = list(values)
    for start in range(0, len(listed), MAX_IN_LIST):
        chunk = listed[start : start + MAX_IN_LIST]
        yield chunk + chunk[-1:] * ((1 << (len(chunk) - 1).bit_length()) - len(chunk))


def among(column: Column[Any]) -> Any:
    """Return the condition that a column is one of the values bound as `wanted`."""
    return column.in_(bindparam("wanted", expanding=True))


_REQUESTS = select(requests.c.standing).where(among(requests.c.request_id))
_SUBMISSIONS = select(submissions.c.standing).where(among(submissions.c.submission_id))


def read_requests(connection: Connection, ids: Iterable[str]) -> dict[str, Request]:
    """Return the requests that exist among `ids`."""
    found = (
        Request.model_validate_json(row.standing)
        for chunk in chunks(ids)
        for row in connection.execute(_REQUESTS, {"wanted": chunk})
    )
    return {request.request_id: request for request in found}


def read_submissions(connection: Connection, ids: Iterable[str]) -> dict[str, Submission]:
    """Return the submissions that exist among `ids`."""
    found = (
        Submission.model_validate_json(row.standing)
        for chunk in chunks(ids)
        for row in connection.execute(_SUBMISSIONS, {"wanted": chunk})
    )
    return {submission.submission_id: submission for submission in found}


def write_requests(connection: Connection, changed: Sequence[Request]) -> None:
    """Write the rows of requests, new and old."""
    if changed:
        rows = [request_row(request) for request in changed]
        connection.execute(upsert(connection.dialect.name, requests), rows)


def write_submissions(connection: Connection, changed: Sequence[Submission]) -> None:
    """Write the rows of submissions, new and old."""
    if changed:
        rows = [submission_row(submission) for submission in changed]
        connection.execute(upsert(connection.dialect.name, submissions), rows)


_FACTS_OF_REQUESTS = select(facts).where(among(facts.c.request_id)).order_by(facts.c.at, facts.c.id)
_FACTS_OF_SUBMISSIONS = (
    select(facts)
    .where(among(facts.c.submission_id), text(HAS_SUBMISSION))
    .order_by(facts.c.at, facts.c.id)
)
_RESULTS_OF = (
    select(results.c.subject, results.c.request_id, results.c.published, results.c.at)
    .where(among(results.c.subject))
    .order_by(results.c.revision)
)


def fold_requests(connection: Connection, ids: Sequence[str]) -> dict[str, Request]:
    """Return requests as all their facts and results make them, whatever their rows say."""
    folded: dict[str, Request] = {}
    told = _facts_by(connection, _FACTS_OF_REQUESTS, ids, "request_id")
    for request_id, found in told.items():
        for fact in found:
            folded[request_id] = join_request(folded.get(request_id), fact)
    for row in _results_of(connection, ids):
        if row.request_id:
            at = instant(row.at)
            held = folded.get(row.subject) or Request(
                request_id=row.subject, first_at=at, last_at=at
            )
            published = Published.model_validate_json(row.published)
            folded[row.subject] = join_result(held, published, at)
    return folded


def fold_submissions(connection: Connection, ids: Sequence[str]) -> dict[str, Submission]:
    """Return submissions as all their facts and results make them, whatever their rows say."""
    folded: dict[str, Submission] = {}
    told = _facts_by(connection, _FACTS_OF_SUBMISSIONS, ids, "submission_id")
    for submission_id, found in told.items():
        for fact in found:
            folded[submission_id] = join_submission(folded.get(submission_id), fact)
    for row in _results_of(connection, ids):
        if not row.request_id:
            at = instant(row.at)
            held = folded.get(row.subject) or Submission(
                submission_id=row.subject, first_at=at, last_at=at
            )
            published = Published.model_validate_json(row.published)
            folded[row.subject] = join_result(held, published, at)
    return folded


def _facts_by(
    connection: Connection, query: Any, ids: Sequence[str], subject: str
) -> dict[str, list[Fact]]:
    told: dict[str, list[Fact]] = defaultdict(list)
    for chunk in chunks(ids):
        for row in connection.execute(query, {"wanted": chunk}):
            told[getattr(row, subject)].append(fact_of(row))
    return told


def _results_of(connection: Connection, ids: Sequence[str]) -> list[Any]:
    return [
        row for chunk in chunks(ids) for row in connection.execute(_RESULTS_OF, {"wanted": chunk})
    ]
