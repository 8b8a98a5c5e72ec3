"""
Troubles that stand until somebody lifts them: rate limits, a locked account, streams that are cut.

Plain state; `door` asks it at every call. What meets the next calls only is in `faults`.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum


class Api(StrEnum):
    """The two hosts with limits and error forms of their own."""

    QUEUE = "queue"
    PLATFORM = "platform"


class Hint(StrEnum):
    """What a 429 says about when to come back."""

    RETRY_AFTER = "retry_after"  # header Retry-After, whole seconds
    RESET = "reset"  # header x-ratelimit-reset, whole seconds until the window ends
    NONE = "none"


class LockReason(StrEnum):
    """Why an account is locked."""

    EXHAUSTED_BALANCE = "exhausted_balance"
    ADMIN_LOCK = "admin_lock"
    TOP_UP = "top_up"

    @property
    def text(self) -> str:
        """
        What fal says about it.

        Source: recorded answers and reports of users, 2026.
        """
        reasons = {
            LockReason.EXHAUSTED_BALANCE: "Exhausted balance. "
            "Top up your balance at fal.ai/dashboard/billing.",
            LockReason.ADMIN_LOCK: "Admin lock. Please contact support@fal.ai",
            LockReason.TOP_UP: "TOP_UP",
        }
        return f"User is locked. Reason: {reasons[self]}"


@dataclass(frozen=True, slots=True)
class RateLimit:
    """
    At most `calls` in each window of `window_s` real seconds, which are counted from 0.

    Callers with a key share one count, for they are one account; callers without one share
    another. Source: fal documents windows of a minute with a header that tells their end, and
    publishes no figures (docs, Rate limits, read 2026-10).
    """

    calls: int
    window_s: float = 1.0
    hint: Hint = Hint.RETRY_AFTER

    def __post_init__(self) -> None:
        if self.calls < 1 or not 0 < self.window_s < math.inf:
            raise ValueError("a rate limit: expected at least 1 call and a window above 0 s")

    def headers(self, seconds_left: float) -> dict[str, str]:
        """Return what a 429 carries, given the seconds until the window ends."""
        names = {Hint.RETRY_AFTER: "Retry-After", Hint.RESET: "x-ratelimit-reset"}
        name = names.get(self.hint)
        return {} if name is None else {name: str(max(1, math.ceil(seconds_left)))}


@dataclass(slots=True)
class _Window:
    number: int = -1
    calls: int = 0


@dataclass(slots=True)
class Standing:
    """What every call meets until it is lifted; `clock` is monotonic, in real seconds."""

    clock: Callable[[], float]
    lock: LockReason | None = None
    stream_cut_s: float | None = None
    limits: dict[Api, RateLimit] = field(default_factory=dict)
    _windows: dict[tuple[Api, bool], _Window] = field(default_factory=dict)

    def exceeded(self, api: Api, *, is_anonymous: bool) -> dict[str, str] | None:
        """Count a call; return the headers of its 429, None when it is within the limit."""
        limit = self.limits.get(api)
        if limit is None:
            return None
        now = self.clock()
        window = self._windows.setdefault((api, is_anonymous), _Window())
        number = math.floor(now / limit.window_s)
        if window.number != number:
            window.number, window.calls = number, 0
        window.calls += 1
        if window.calls <= limit.calls:
            return None
        return limit.headers((number + 1) * limit.window_s - now)
