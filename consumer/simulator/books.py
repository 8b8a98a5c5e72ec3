"""
The books: what the simulator did, request by request, for a test to hold against a ledger.

Plain values that turn into JSON; nothing here acts. Times are unix seconds as floats.
"""

from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from consumer.simulator.queue_bodies import CancelStatus

_MAX_ANSWERS_KEPT = 100_000  # one by one; the counts go on


@dataclass(frozen=True, slots=True)
class Change:
    """The queue's status of a request changed."""

    at: float
    status: str

    def as_dict(self) -> dict[str, Any]:
        """Return the fields by name."""
        return {"at": self.at, "status": self.status}


@dataclass(frozen=True, slots=True)
class Attempt:
    """
    One POST to a webhook URL.

    `kind` is `genuine`, `duplicate`, `unreadable`, `other_id`, `forged:<how>`,
    `foreign:account` or `extra`; `attempt` counts from 1 within one delivery. `answer` is the
    HTTP status, or None with `error` being `timeout` or `network`.
    """

    at: float
    kind: str
    attempt: int
    answer: int | None
    error: str | None = None

    @property
    def is_retryable(self) -> bool:
        """
        True for timeouts, network errors, 4xx and 5xx; a redirect is final.

        Source: fal docs, Webhooks, on retries (read 2026-09-27).
        """
        return self.answer is None or self.answer >= 400

    def as_dict(self) -> dict[str, Any]:
        """Return the fields by name."""
        return {
            "at": self.at,
            "kind": self.kind,
            "attempt": self.attempt,
            "answer": self.answer,
            "error": self.error,
        }


@dataclass(frozen=True, slots=True)
class CancelCall:
    """Somebody asked to cancel, and this was the answer."""

    at: float
    http_status: int
    status: CancelStatus

    def as_dict(self) -> dict[str, Any]:
        """Return the fields by name."""
        return {"at": self.at, "http_status": self.http_status, "status": self.status}


@dataclass(frozen=True, slots=True)
class Answered:
    """One call of queue or platform was answered; without a status the connection was cut."""

    at: float
    operation: str
    http_status: int | None


@dataclass(slots=True)
class RequestEntry:
    """
    The page of one request; `end` is `open`, `succeeded`, `failed` or `cancelled`.

    `headers` are those of the submit that fal reads, by their names in lower case.
    `http_status` is that of the result, `billable_units` what its header names; both
    None while the request is open.
    """

    request_id: str
    endpoint: str
    scenario: str
    input_sha256: str
    tags: str | None
    has_webhook: bool
    headers: Mapping[str, str] = field(default_factory=dict)
    end: str = "open"
    http_status: int | None = None
    billable_units: float | None = None
    result_reads: int = 0
    changes: list[Change] = field(default_factory=list)
    attempts: list[Attempt] = field(default_factory=list)
    cancels: list[CancelCall] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """Return the whole page as plain values."""
        return {
            "request_id": self.request_id,
            "endpoint": self.endpoint,
            "scenario": self.scenario,
            "input_sha256": self.input_sha256,
            "tags": self.tags,
            "has_webhook": self.has_webhook,
            "headers": dict(self.headers),
            "end": self.end,
            "http_status": self.http_status,
            "billable_units": self.billable_units,
            "result_reads": self.result_reads,
            "changes": [change.as_dict() for change in self.changes],
            "attempts": [attempt.as_dict() for attempt in self.attempts],
            "cancels": [cancel.as_dict() for cancel in self.cancels],
        }


@dataclass(slots=True)
class Books:
    """
    Every request, and what has no request of its own.

    `ends` counts the requests by their end and is kept as they move, so that reading it
    costs nothing. `submits_by_webhook` counts accepted submits per distinct `fal_webhook`.
    `other_attempts` are deliveries sent by hand about no request of this simulator.
    `answers` counts what each operation was answered with, by HTTP status (`cut` for a
    connection that died first); a stream counts when it begins.
    """

    requests: dict[str, RequestEntry] = field(default_factory=dict)
    ends: Counter[str] = field(default_factory=Counter)
    submits_by_webhook: Counter[str] = field(default_factory=Counter)
    submits_refused: int = 0
    jwks_fetches: int = 0
    other_attempts: list[Attempt] = field(default_factory=list)
    answers: dict[str, Counter[str]] = field(default_factory=dict)
    _latest: deque[Answered] = field(default_factory=lambda: deque(maxlen=_MAX_ANSWERS_KEPT))

    def note_answer(self, answered: Answered) -> None:
        """Count one answer of queue or platform."""
        self._latest.append(answered)
        status = "cut" if answered.http_status is None else str(answered.http_status)
        self.answers.setdefault(answered.operation, Counter())[status] += 1

    def answers_since(self, at: float) -> list[Answered]:
        """Return the answers from that instant on, oldest first; the latest 100,000 are kept."""
        return [answered for answered in self._latest if answered.at >= at]

    def totals(self) -> dict[str, Any]:
        """Return the counts alone; cheap at any size."""
        return {
            "count": len(self.requests),
            "ends": {end: count for end, count in self.ends.items() if count},
            "submits_refused": self.submits_refused,
            "jwks_fetches": self.jwks_fetches,
            "answers": {name: dict(counts) for name, counts in self.answers.items()},
        }

    def as_dict(self) -> dict[str, Any]:
        """Return the totals and every page as plain values, ready for JSON."""
        return self.totals() | {
            "requests": {key: entry.as_dict() for key, entry in self.requests.items()},
            "submits_by_webhook": dict(self.submits_by_webhook),
            "other_attempts": [attempt.as_dict() for attempt in self.other_attempts],
        }
