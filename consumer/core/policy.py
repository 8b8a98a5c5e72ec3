"""
Decisions about time and trouble, as functions that return values.

When is a request due, what follows from fal's answer, what becomes of a record whose
handling failed. No clock: `now` is an argument.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from consumer.core.fact import FactName
from consumer.core.standing import CancelPolicy, Request
from consumer.errors import (
    ConsumerError,
    EventError,
    FalRefused,
    RecordRefused,
    SchemaDrift,
    Unavailable,
)


@dataclass(frozen=True, slots=True)
class Policies:
    """
    Every span that a decision rests on. Defaults are the product's; tests shorten them.

    Sources: 60 s and the growth, design; 4 minutes between checks at most, because fal keeps
    a result of 10 KB or more for 6 minutes only while payload storage is off (fal docs,
    "Queue", 2026-10); two NOT_FOUND 5 minutes apart, design.
    """

    first_check: timedelta = timedelta(seconds=60)
    first_check_without_callback: timedelta = timedelta(seconds=1)
    max_check_gap: timedelta = timedelta(minutes=4)
    max_check_gap_stored: timedelta = timedelta(minutes=30)
    min_first_check: timedelta = timedelta(seconds=5)
    max_first_check: timedelta = timedelta(hours=1)
    settle_after: timedelta = timedelta(seconds=60)
    not_found_gap: timedelta = timedelta(minutes=5)
    unconfirmed_horizon: timedelta = timedelta(hours=24)
    submit_deadline: timedelta = timedelta(seconds=60)
    fetch_patience: timedelta = timedelta(minutes=10)
    unverified_patience: timedelta = timedelta(hours=24)
    retry_base: timedelta = timedelta(seconds=1)
    max_retry_gap: timedelta = timedelta(minutes=5)
    cancel_queued_after: timedelta | None = None
    max_cancels_a_minute: int = 100
    max_commands_a_minute: int | None = None
    max_open_requests: int | None = None
    cancel_running: frozenset[CancelPolicy] = frozenset(
        {CancelPolicy.ASKED, CancelPolicy.GROUP, CancelPolicy.FINISH_DEADLINE}
    )


ACCOUNT_REASONS = frozenset({"locked", "unauthorized", "no_key", "rate_limited", "too_many_calls"})
"""Certain refusals that somebody else's hand, or time, ends. Words of the client to fal."""

MAX_WAITS = 300
# Of a record that waits for its account; at gaps of up to 5 minutes that is about a day.

# ---------------------------------------------------------------- outcomes of a record


@dataclass(frozen=True, slots=True)
class Done:
    """The record's effect is durable."""


@dataclass(frozen=True, slots=True)
class RetryAt:
    """Handle the record again at this instant."""

    when: datetime
    reason: str


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """Set the record aside, whole, for a human."""

    reason: str
    problem: str = ""


Outcome = Done | RetryAt | DeadLetter


def outcome_of_error(
    error: ConsumerError, *, attempt: int, now: datetime, policies: Policies
) -> Outcome:
    """Return what becomes of a record whose handling raised `error`; `attempt` counts from 1."""
    if isinstance(error, Unavailable):
        gap = retry_gap(attempt, policies)
        if error.retry_after_s is not None:
            gap = max(gap, timedelta(seconds=min(error.retry_after_s, 3600)))
        return RetryAt(now + gap, error.code)
    if isinstance(error, FalRefused) and waits_for_account(error.reason, attempt):
        return RetryAt(now + retry_gap(attempt, policies), error.reason)
    if isinstance(error, (EventError, FalRefused, SchemaDrift, RecordRefused)):
        return DeadLetter(error.code, str(error))
    raise error


def waits_for_account(reason: str, attempt: int) -> bool:
    """
    Tell whether a refusal is about the key, the account or its rate and not about the call.

    Then nothing is given up: a key is rotated, a lock lifted, a limit passes. After
    `MAX_WAITS` attempts, about a day, it is a refusal like any other.
    """
    return reason in ACCOUNT_REASONS and attempt < MAX_WAITS


def retry_gap(attempt: int, policies: Policies) -> timedelta:
    """Return the wait before the next attempt: doubling from `retry_base` to `max_retry_gap`."""
    return min(policies.retry_base * _doubled(attempt - 1), policies.max_retry_gap)


# ---------------------------------------------------------------- when a request is due


def check_at(
    request: Request, now: datetime, policies: Policies, first: timedelta | None = None
) -> datetime | None:
    """
    Return when a request that has no schedule yet should first be looked at, or None.

    `first` is the wait of one that has no end, where it is learned (`usual.first_gap`).
    At once where its webhook could not be read, or where fal lists it as ended; after
    `settle_after` where an end is known and only its result event is missing (usually another
    hand is at it).
    """
    if not request.is_open:
        return None
    if request.end is not None:
        return now + policies.settle_after
    if request.unreadable_at is not None or request.listed_end_at is not None:
        return now
    if first is None:
        without = policies.first_check_without_callback
        first = policies.first_check if request.has_callback else without
    return now + first


def next_check_gap(request: Request, attempt: int, policies: Policies) -> timedelta:
    """
    Return the wait after the check with this number (from 1): growing to `max_check_gap`.

    Without a callback it doubles from 1 s to 60 s; with one from 60 s to 4 minutes, and where
    fal is known to store its payload to `max_check_gap_stored`: nothing expires meanwhile.
    """
    growth = _doubled(attempt)
    if request.has_callback:
        stored = policies.max_check_gap_stored
        longest = stored if request.keeps_payload else policies.max_check_gap
        return min(policies.first_check * growth, longest)
    longest = min(policies.first_check, policies.max_check_gap)
    return min(policies.first_check_without_callback * growth, longest)


# ---------------------------------------------------------------- what an unknown id means


def end_of_not_found(request: Request, now: datetime, policies: Policies) -> FactName | None:
    """
    Return the end that fal's exact NOT_FOUND proves, answered now, or None for not yet.

    After a cancel was asked it means `cancelled`; otherwise `lost`, and only when it was
    fal's last word before too, `not_found_gap` or more ago: a status between the two makes
    the older one a mistake of fal's.
    """
    if request.cancel_asked_at is not None:
        return FactName.CANCELLED
    last = request.not_found_last_at
    if last is not None and request.is_unknown and now - last >= policies.not_found_gap:
        return FactName.LOST
    return None


ALARM_NOT_FOUND = 10
# So many unknown ids in one round, and nothing but unknown ids: rather a key of another
# account or a wrong address than so many lost requests.


def is_alarming(not_found: int, asked: int) -> bool:
    """Tell whether a round of checks looks like a wrong key or address instead of lost requests."""
    return not_found >= ALARM_NOT_FOUND and not_found * 2 > asked


def _doubled(times: int) -> int:
    """Return 2 to the power of `times`, which is bounded so that no span overflows."""
    return 1 << min(max(times, 0), 30)
