"""
What fal's account listing tells: requests that nobody registered, ends that nobody heard of,
and which request an unknown submission became.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any

from consumer.core.completion import Completion
from consumer.core.fact import FactName
from consumer.core.result import OutputMissing
from consumer.core.standing import Request, Submission
from consumer.core.text import dump_json

CLOCKS_DIFFER = timedelta(minutes=5)
# A job may seem to be sent so long before we say that we sent it.


@dataclass(frozen=True, slots=True)
class Listed:
    """
    One request of the account's listing. Instants are aware UTC.

    `input` is None where fal keeps none, or was not asked for it.
    """

    request_id: str
    endpoint: str
    sent_at: datetime | None = None
    ended_at: datetime | None = None
    status_code: int | None = None
    input: Any = field(default=None, repr=False)


def is_news(listed: Listed, request: Request | None) -> bool:
    """Tell whether the listing tells of a request what the ledger does not know of it."""
    if request is None or request.endpoint is None:
        return True
    return listed.ended_at is not None and request.end is None and request.listed_end_at is None


def end_of_listed(listed: Listed | None) -> Completion | None:
    """
    Return the end that the listing alone proves, its output gone; None where it tells none.

    Source: fal docs, "Platform APIs, requests by endpoint" (2026-10): `status_code` is the
    HTTP status of the result. 499 is a client that went, which is how fal tells a cancel.
    """
    if listed is None or listed.ended_at is None or listed.status_code is None:
        return None
    name = FactName.SUCCEEDED if 200 <= listed.status_code < 300 else FactName.FAILED
    if listed.status_code == 499:
        name = FactName.CANCELLED
    return Completion(
        listed.request_id.lower(),
        name,
        listed.status_code,
        output_missing=OutputMissing.EXPIRED.value,
    )


def matches(
    unknown: Iterable[Submission], listed: Sequence[Listed], claimed: Collection[str]
) -> list[tuple[Submission, Listed]]:
    """
    Return which unknown submission is which listed request.

    A match counts only when one unknown submission and one request that belongs to nobody
    share that endpoint and input: two of either, and nobody can say which is which.
    """
    wanted: dict[str, list[Submission]] = defaultdict(list)
    for submission in unknown:
        if submission.input_sha256:
            wanted[submission.input_sha256].append(submission)
    found: dict[str, dict[str, Listed]] = defaultdict(dict)
    for item in listed:
        if item.request_id.lower() not in claimed and item.input is not None:
            for name in _input_hashes(item):
                found[name][item.request_id.lower()] = item
    return [
        (submissions[0], next(iter(items.values())))
        for name, submissions in wanted.items()
        if len(submissions) == 1
        and len(items := found.get(name, {})) == 1
        and _may_be(submissions[0], next(iter(items.values())))
    ]


def _may_be(submission: Submission, listed: Listed) -> bool:
    return listed.sent_at is None or listed.sent_at >= submission.first_at - CLOCKS_DIFFER


def _input_hashes(listed: Listed) -> set[str]:
    """
    Return the hash that a submit of this input has: none of one that cannot be written.

    fal may give the keys of an object in another order: then there is no match, and the
    submission stays unknown, which is safe.
    """
    try:
        return {sha256(dump_json([listed.endpoint, listed.input])).hexdigest()}
    except (ValueError, TypeError):
        return set()
