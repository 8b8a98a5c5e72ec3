"""
The seams: what the receiver, the worker, the handlers and the sweeps know of the outside.

Each protocol has a real implementation or two, and a fake in `consumer.testing` that
passes the same conformance suite. No library's exception crosses a port.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Protocol

from consumer.core.event import Headers, NewRecord, Topic
from consumer.core.fact import Fact
from consumer.core.keys import KeySet
from consumer.core.lifecycle import Request, State, Submission, SubmissionState
from consumer.core.projection import Entry, Evidence, KeySetEntry

Clock = Callable[[], datetime]
"""Returns the present instant, aware UTC."""


# ---------------------------------------------------------------- the log


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """Where a record stands. `offset` starts at 0 and only rises within (topic, partition)."""

    topic: Topic
    partition: int
    offset: int


@dataclass(frozen=True, slots=True)
class Record:
    """A record at its position, exactly as it was appended. `appended_at` is the log's own time."""

    position: Position
    key: str
    value: bytes = field(repr=False)
    headers: Headers = field(repr=False)
    appended_at: datetime


class Publisher(Protocol):
    """Takes records for good."""

    async def append(self, record: NewRecord) -> Position:
        """
        Return the record's position once it is durable, never before.

        Raises LogUnavailable when it may be tried again (then the record may or may not be
        in the log) and RecordRefused when this log will never take it.
        """
        ...


class Subscription(Protocol):
    """One group's reading of some topics: at least once, from where it committed."""

    async def poll(self, *, max_records: int, timeout: timedelta) -> Sequence[Record]:
        """
        Return the next records, per partition in order, each once in this subscription.

        Waits at most `timeout` for the first one and then returns none. The first poll of a
        group that never committed starts at the earliest record. Raises LogUnavailable.
        """
        ...

    async def commit(self, offsets: Mapping[tuple[Topic, int], int]) -> None:
        """
        Store durably, per (topic, partition), the next offset to read. Never moves back. Raises
        LogUnavailable.
        """
        ...

    async def lag(self) -> int:
        """Return how many records stand after the committed offsets. Raises LogUnavailable."""
        ...


class Log(Publisher, Protocol):
    """Where events live, in order per partition."""

    def subscribe(
        self, group: str, topics: Sequence[Topic]
    ) -> AbstractAsyncContextManager[Subscription]:
        """
        Open the group's subscription; held by one holder at a time. Raises LogUnavailable when it
        is held elsewhere.
        """
        ...


# ---------------------------------------------------------------- the ledger


class ClaimKind(StrEnum):
    """The two effects that must be unique."""

    SUBMISSION = "submission"
    RESULT = "result"


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


# ---------------------------------------------------------------- fal


@dataclass(frozen=True, slots=True)
class Submitted:
    """fal took the job."""

    request_id: str


@dataclass(frozen=True, slots=True)
class SubmitRefused:
    """A certain no: fal's own 4xx, or a connection that was never made. No job exists."""

    http_status: int | None
    reason: str


@dataclass(frozen=True, slots=True)
class SubmitUnknown:
    """Timeout, cut, 5xx, or an answer without a readable id: a job may exist."""

    reason: str


SubmitAnswer = Submitted | SubmitRefused | SubmitUnknown


class QueueStatus(StrEnum):
    """fal's own words, and its exact answer for an unknown id."""

    IN_QUEUE = "IN_QUEUE"
    IN_PROGRESS = "IN_PROGRESS"
    COMPLETED = "COMPLETED"
    NOT_FOUND = "NOT_FOUND"


@dataclass(frozen=True, slots=True)
class StatusAnswer:
    """
    fal's status of a request. `queue_position` is 0-based; `error` and `error_type` only with
    COMPLETED.
    """

    status: QueueStatus
    queue_position: int | None = None
    error: str | None = None
    error_type: str | None = None


class ResultKind(StrEnum):
    """The answers to a result read that must not be confused."""

    READY = "ready"
    NOT_READY = "not_ready"
    NOT_FOUND = "not_found"


@dataclass(frozen=True, slots=True)
class ResultAnswer:
    """
    fal's result of a request: with READY the model's own status and body, replayed.

    `body` is raw bytes; `billable_units` the header's text, or None.
    """

    kind: ResultKind
    http_status: int = 0
    body: bytes = field(default=b"", repr=False)
    content_type: str = ""
    billable_units: str | None = None


class CancelAnswer(StrEnum):
    """fal's answers to a cancel. Accepted is not cancelled."""

    REMOVED = "OK"
    REQUESTED = "CANCELLATION_REQUESTED"
    ALREADY_COMPLETED = "ALREADY_COMPLETED"
    NOT_FOUND = "NOT_FOUND"


@dataclass(frozen=True, slots=True)
class SubmitOrder:
    """
    What to send. `start_timeout_s` becomes `X-Fal-Request-Start-Timeout`; `callback_url` may be
    empty.
    """

    endpoint: str
    input: Mapping[str, Any] = field(repr=False)
    callback_url: str = field(default="", repr=False)
    start_timeout_s: float | None = None
    tags: Mapping[str, str] = field(default_factory=dict)


class FalQueue(Protocol):
    """
    fal's queue. Every call has a deadline of its own.

    All but `submit` raise FalUnavailable (try again), FalRefused (401, 403, …) and
    SchemaDrift; a `ValueError` never: ids are judged before any URL is built, and one
    outside its grammar is a FalRefused with status 0 and no call.
    """

    @property
    def origin(self) -> str:
        """The origin that answers, for `ce_source`."""
        ...

    async def submit(self, order: SubmitOrder) -> SubmitAnswer:
        """Send the job, once. Never raises for what fal or the network did: that is the answer."""
        ...

    async def status(self, endpoint: str, request_id: str) -> StatusAnswer: ...

    async def result(self, endpoint: str, request_id: str) -> ResultAnswer: ...

    async def cancel(self, endpoint: str, request_id: str) -> CancelAnswer: ...


# ---------------------------------------------------------------- keys


class Keys(Protocol):
    """The key set in force, kept fresh in the background."""

    async def current(self) -> KeySet:
        """
        Return the set to judge with. Raises KeysUnavailable past the hard expiry, or while there
        is none.
        """
        ...

    async def refetched(self, tried: KeySet) -> KeySet:
        """
        Return the set to judge a delivery with that no key of `tried` verified.

        Refetches once: single flight, at most once a minute, failed tries count; otherwise,
        or when too many wait already, returns the set at hand.
        """
        ...


class TrustedKeys(Protocol):
    """
    Every key set that the worker trusts, newest first: what it fetched and what carries our proof.
    """

    async def sets(self) -> Sequence[KeySet]: ...

    async def refetch(self) -> None:
        """Fetch once more, within the limits of `Keys.refetched`."""
        ...
