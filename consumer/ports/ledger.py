"""The seam to the ledger: the projection, and the operational rows beside it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Protocol

from consumer.core.event import NewRecord
from consumer.core.fact import Fact
from consumer.core.projection import Entry, Evidence, KeySetEntry
from consumer.core.standing import Request, Series, State, Submission, SubmissionState
from consumer.ports.log import Record


class ClaimKind(StrEnum):
    """The two effects that must be unique."""

    SUBMISSION = "submission"
    RESULT = "result"


class StampKind(StrEnum):
    """Why a ledger may have forgotten claims that were made."""

    COPIED = "copied"
    RESTORED = "restored"
    REBUILT = "rebuilt"


@dataclass(frozen=True, slots=True)
class Claim:
    """
    A row that reserves an effect before it happens.

    `key` names the effect (submission id; or request id, or submission id, of a result).
    `revision` is 1 for submissions. `fingerprint` tells the same effect from another one
    under the same key (hash of the input). `detail` is JSON that the claimer keeps.
    `event` is the encoded event that the effect ends in, None until it is known; it is
    held until `is_published`. `deadline_at` is when a claim without an event is overdue.
    """

    kind: ClaimKind
    key: str
    revision: int
    fingerprint: str
    detail: Mapping[str, Any]
    claimed_at: datetime
    deadline_at: datetime
    event: NewRecord | None = None
    is_published: bool = False


@dataclass(frozen=True, slots=True)
class Due:
    """
    One leased row of a schedule. Every write of it names the fence, which a later lease raises.
    """

    schedule: str
    subject: str
    attempt: int
    fence: int
    lease_until: datetime


@dataclass(frozen=True, slots=True)
class Parked:
    """A record that waits for its time, whole, for one handler's group."""

    id: str
    group: str
    record: Record
    attempt: int
    reason: str
    parked_at: datetime
    due_at: datetime


@dataclass(frozen=True, slots=True)
class Plan:
    """When a request is next due, as computed from it alone. None: not at all."""

    check_at: datetime | None = None
    cancel_at: datetime | None = None


Planner = Callable[[Request, datetime], Plan]
"""Pure: the request and the present instant give its plan (`core.policy.plan`)."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """What recording an entry changed. `is_new` is false for a repetition."""

    is_new: bool
    request: Request | None = None
    submission: Submission | None = None
    became_conflicted: bool = False


@dataclass(frozen=True, slots=True)
class RequestFilter:
    """Which requests to list, newest first. `before` is the request id that ended the last page."""

    states: Sequence[State] = ()
    endpoint: str = ""
    submission_id: str = ""
    group: str = ""
    supersedes: str = ""
    open_only: bool = False
    limit: int = 100
    before: str = ""


class Ledger(Protocol):
    """The projection, written by `record` alone, and the operational rows beside it."""

    # the projection
    async def record(self, entry: Entry) -> Recorded:
        """
        Make the entry durable, each fact once, each delivery once. Concurrent calls share a
        transaction.
        """
        ...

    async def recount(self, accounts: Sequence[str]) -> int:
        """
        Let facts and deliveries of these accounts count that did not; return how many requests
        changed.
        """
        ...

    async def request(self, request_id: str) -> Request | None: ...

    async def submission(self, submission_id: str) -> Submission | None: ...

    async def requests(self, wanted: RequestFilter) -> Sequence[Request]: ...

    async def submissions(
        self, *, states: Sequence[SubmissionState] = (), limit: int = 100
    ) -> Sequence[Submission]:
        """Return submissions in these states (none: all), oldest first."""
        ...

    async def unended(self, group: str) -> Sequence[Submission]:
        """Return the submissions of a group that have no end and no request yet."""
        ...

    async def outnumbered(
        self, place: Series, limit: int
    ) -> tuple[Sequence[Request], Sequence[Submission]]:
        """
        Return who has a lower number under the same key: open requests, and submissions that
        have no end and no request yet. The highest first, at most `limit` of each.
        """
        ...

    async def outnumbering(self, place: Series) -> Request | None:
        """Return the tracked request with the highest number under a key, if above this one."""
        ...

    async def knows_fact(self, fact_id: str) -> bool: ...

    async def open_work(self, limit: int) -> int:
        """Return how many tracked requests are open, and submissions unended; at most `limit`."""
        ...

    async def timeline(self, subject: str) -> Sequence[Fact]:
        """Return every fact about a request id or submission id, oldest first."""
        ...

    async def evidence(self, request_id: str) -> Sequence[Evidence]:
        """Return every delivery of a request with its signed bytes, oldest first."""
        ...

    async def result(self, subject: str) -> bytes | None:
        """Return the data of the subject's highest result revision."""
        ...

    async def key_sets(self, url: str) -> Sequence[KeySetEntry]: ...

    async def counts(self) -> Mapping[str, int]:
        """
        Return how many requests are in each state, and `submission:<state>`, `dead_letters`,
        `parked`, `conflicts`.
        """
        ...

    async def trim(self, keep: timedelta) -> int:
        """
        Remove some facts and evidence older than `keep`, of requests that are over and were not
        heard of since; return how much, 0 when none is left. Rows of requests, results stay.
        """
        ...

    # claims
    async def claim(self, claim: Claim) -> Claim:
        """
        Insert the claim, durably, unless (kind, key, revision) is there; return the one that
        stands.
        """
        ...

    async def latest_claim(self, kind: ClaimKind, key: str) -> Claim | None:
        """Return the claim with the highest revision."""
        ...

    async def settle_claim(self, claim: Claim, event: NewRecord, detail: Mapping[str, Any]) -> None:
        """
        Keep the event that the effect ended in, durably, before it is published. The first one
        stands.
        """
        ...

    async def mark_published(self, claim: Claim) -> None: ...

    async def open_claims(self, kind: ClaimKind, limit: int) -> Sequence[Claim]:
        """
        Return claims that have an unpublished event, or no event and a `deadline_at` that has
        passed; oldest first.
        """
        ...

    # stamps
    async def stamp(self, kind: StampKind) -> datetime:
        """
        Say, durably, that claims from before this instant may be missing; return the instant.
        """
        ...

    async def stamped_at(self) -> datetime | None:
        """Return the latest stamp: a submit from before it without a claim is never sent."""
        ...

    # numbers, allowances, keys
    async def number_of(self, supersedes: str, subject: str) -> int:
        """
        Return the subject's number under a key, from 1: the next one, the first time it is asked.

        Taken under a lock on the key and durable, so that a later caller has a higher one.
        """
        ...

    async def allow(self, name: str, limit: int, span: timedelta) -> bool:
        """Count one use, unless `limit` were counted in the running span; tell whether it was."""
        ...

    async def reserve(self, key: str, fingerprint: str) -> str:
        """Keep what an idempotency key stands for, durably; return what it stood for first."""
        ...

    # schedules
    async def take_due(self, schedule: str, *, limit: int, lease: timedelta) -> Sequence[Due]:
        """Lease the rows of `schedule` (`check`, `cancel`) that are due, raising each fence."""
        ...

    async def put_off(self, due: Due, until: timedelta) -> bool:
        """
        Let the row be due again after `until`, attempt + 1, lease given back; False when the fence
        was passed.
        """
        ...

    async def finish(self, due: Due) -> bool:
        """Remove the row; False when the fence was passed."""
        ...

    # parked records
    async def park(self, parked: Parked) -> None:
        """Keep the record durably until its time; the same id again only moves it."""
        ...

    async def take_parked(self, group: str, *, limit: int) -> Sequence[Parked]:
        """Return the parked records of a group that are due, oldest first."""
        ...

    async def unpark(self, parked: Parked) -> None: ...

    async def ping(self) -> None:
        """Raise LedgerUnavailable unless the database answers."""
        ...
