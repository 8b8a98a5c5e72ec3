"""
Where a request and a submission stand, as values: states, ends, and what is known of each.

Values of a join (`lifecycle`): nothing here changes one. The ledger keeps them whole.
"""

from datetime import datetime
from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict

from consumer.core.fact import FactName, Witness


class State(StrEnum):
    """Where a request stands, in the order of the ranks."""

    SEEN = "seen"  # named by somebody, nothing known that counts
    SUBMITTED = "submitted"
    QUEUED = "queued"
    RUNNING = "running"
    CANCELLING = "cancelling"
    LOST = "lost"
    CANCELLED = "cancelled"
    FAILED = "failed"
    SUCCEEDED = "succeeded"


class SubmissionState(StrEnum):
    """Where a submission stands, in the order of the ranks."""

    INTENDED = "intended"
    SENDING = "sending"
    UNKNOWN = "unknown"
    LOST = "lost"
    CANCELLED = "cancelled"
    REFUSED = "refused"
    SUBMITTED = "submitted"


class CancelPolicy(StrEnum):
    """Why a request is to be cancelled."""

    ASKED = "asked"
    GROUP = "group"
    SUPERSEDED = "superseded"
    FINISH_DEADLINE = "finish_deadline"
    START_DEADLINE = "start_deadline"
    QUEUE_WAIT = "queue_wait"


RANK = {state: rank for rank, state in enumerate(State)}
SUBMISSION_RANK = {state: rank for rank, state in enumerate(SubmissionState)}
ENDS = frozenset({State.LOST, State.CANCELLED, State.FAILED, State.SUCCEEDED})
SUBMISSION_ENDS = frozenset(
    {
        SubmissionState.LOST,
        SubmissionState.CANCELLED,
        SubmissionState.REFUSED,
        SubmissionState.SUBMITTED,
    }
)

_CREDIBILITY = {
    witness: rank
    for rank, witness in enumerate(
        (
            Witness.SWEEP,
            Witness.CANCEL,
            Witness.LISTING,
            Witness.STATUS,
            Witness.RESULT,
            Witness.WEBHOOK,
        )
    )
}


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Named(_Value):
    """A name that a witness with authority gave: an endpoint, a request id, a submission id."""

    value: str
    authority: int
    at: datetime


class End(_Value):
    """One end of a request, as its best witness told it."""

    state: State
    witness: Witness
    at: datetime
    signed: bool
    counts: bool
    fact_id: str
    account: str = ""


class Published(_Value):
    """The newest result event of a request or submission."""

    revision: int
    outcome: str
    witness: str
    billable_units: str | None = None
    http_status: int | None = None
    output_missing: str | None = None


class Series(_Value):
    """A place in a series: of one key only the highest number is wanted."""

    key: str
    number: int


class CancelNote(_Value):
    """
    What one fact says of a cancellation. `status` is fal's just before the call, `answer` its own.
    """

    name: FactName
    policy: str
    at: datetime
    status: str = ""
    answer: str = ""
    by: str = ""


class Request(_Value):
    """
    Everything the ledger derives about one request. Instants are aware UTC.

    A value of a join: `join_request` only ever adds to it.
    """

    request_id: str
    first_at: datetime
    last_at: datetime
    live: State = State.SEEN
    is_tracked: bool = False
    is_ours: bool = False
    accounts: tuple[str, ...] = ()
    endpoint: Named | None = None
    submission: Named | None = None
    ends: tuple[End, ...] = ()
    result: Published | None = None
    has_callback: bool = False
    queue_position: int | None = None
    queue_position_at: datetime | None = None
    cancel_asked_at: datetime | None = None
    cancel_answered_at: datetime | None = None
    cancels: tuple[CancelNote, ...] = ()
    known_last_at: datetime | None = None
    not_found_last_at: datetime | None = None
    unreadable_at: datetime | None = None
    listed_end_at: datetime | None = None
    start_by: datetime | None = None
    finish_by: datetime | None = None
    tags: dict[str, str] = {}
    command_id: str = ""
    group: str = ""
    series: Series | None = None
    keeps_payload: bool = False  # known to be stored at fal

    @property
    def end(self) -> End | None:
        """The end that stands: the highest that counts, or None while there is none."""
        counting = [end for end in self.ends if end.counts or self.is_ours]
        return max(counting, key=end_key, default=None)

    @property
    def is_unknown(self) -> bool:
        """Whether fal's last word was that it knows no such request."""
        if self.not_found_last_at is None:
            return False
        return self.known_last_at is None or self.known_last_at < self.not_found_last_at

    @property
    def state(self) -> State:
        """Where the request stands."""
        return self.end.state if self.end else self.live

    @property
    def has_conflict(self) -> bool:
        """Whether two different ends were told that count."""
        return len({end.state for end in self.ends if end.counts or self.is_ours}) > 1

    @property
    def is_open(self) -> bool:
        """
        Whether work remains: no end yet, or an end whose result event is missing or outranked.
        """
        end = self.end
        if end is None:
            return self.is_tracked or self.is_ours or self.unreadable_at is not None
        return self.result is None or RANK[State(self.result.outcome)] < RANK[end.state]


class Submission(_Value):
    """Everything the ledger derives about one submission. Instants are aware UTC."""

    submission_id: str
    first_at: datetime
    last_at: datetime
    state: SubmissionState = SubmissionState.INTENDED
    request: Named | None = None
    endpoint: str = ""
    command_id: str = ""
    tags: dict[str, str] = {}
    input_sha256: str = ""
    reason: str = ""
    is_cancel_remembered: bool = False
    cancel_policy: str = ""
    group: str = ""
    series: Series | None = None
    result: Published | None = None


def end_key(end: End) -> tuple[Any, ...]:
    """Order ends: rank, signed, credibility of the witness, the earliest, the id."""
    return (
        RANK[end.state],
        end.signed,
        _CREDIBILITY.get(end.witness, -1),
        -end.at.timestamp(),
        end.fact_id,
    )
