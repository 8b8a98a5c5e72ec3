"""The seam to fal's queue: what can be asked, and the answers that must not be confused."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

from consumer.core.submit_options import SubmitOptions
from consumer.errors import SchemaDrift


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
    """
    Timeout, cut, 5xx, or an answer without a readable id: a job may exist. `drift` holds an
    answer that took the job and named it in a form that this version does not know.
    """

    reason: str
    drift: SchemaDrift | None = field(default=None, compare=False, repr=False)


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
    COMPLETED. `drifts`: what of the answer this version could not read, and did without.
    """

    status: QueueStatus
    queue_position: int | None = None
    error: str | None = None
    error_type: str | None = None
    drifts: tuple[SchemaDrift, ...] = field(default=(), compare=False, repr=False)


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
    options: SubmitOptions = field(default_factory=SubmitOptions)


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

    @property
    def holds_back(self) -> str:
        """
        Why a submit would be refused now without a call, as a word; empty where it would be sent.

        `locked` or `unauthorized`. From time to time it is empty all the same, so that
        one submit finds out whether that has passed.
        """
        ...

    async def submit(self, order: SubmitOrder) -> SubmitAnswer:
        """Send the job, once. Never raises for what fal or the network did: that is the answer."""
        ...

    async def status(self, endpoint: str, request_id: str) -> StatusAnswer: ...

    async def result(self, endpoint: str, request_id: str) -> ResultAnswer: ...

    async def cancel(self, endpoint: str, request_id: str) -> CancelAnswer: ...
