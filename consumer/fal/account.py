"""
What fal last said of our key and account, and whether a call is worth making.

A key that was refused, and a locked account, are asked about again sparingly: one call per
span, so that a rotated key and a lifted lock are noticed without a restart, and nobody is
hammered. Reads go on under a lock (fal docs and recorded answers, 2026): it stops what costs.
"""

import asyncio
import time
from collections.abc import Callable

from consumer.errors import FalRefused
from consumer.fal import wire
from consumer.fal.call import Answer, Call
from consumer.fal.credentials import Credential
from consumer.fal.transport import FalLimits
from consumer.telemetry import get_logger

_log = get_logger()


class Account:
    """The key in force and the standing of its account. The clock gives monotonic seconds."""

    def __init__(
        self,
        credential: Credential,
        limits: FalLimits,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._credential = credential
        self._limits = limits
        self._clock = clock
        self._refused_key: str | None = None
        self._is_locked = False
        self._ask_key_at = 0.0
        self._ask_lock_at = 0.0
        self._lock_gap_s = limits.probe_s

    @property
    def is_locked(self) -> bool:
        """Tell whether fal last said that the account is locked; a taken submit ends it."""
        return self._is_locked

    @property
    def key(self) -> str | None:
        """The key in force, None without one."""
        return self._credential.key

    def problems(self) -> tuple[str, ...]:
        """Return what only a human can mend, for readiness: `locked`, `unauthorized`, `no_key`."""
        found = {
            "locked": self._is_locked,
            "unauthorized": self._refused_key is not None,
            "no_key": self._credential.key is None,
        }
        return tuple(word for word, is_so in found.items() if is_so)

    @property
    def holds_back(self) -> str:
        """Why a call that costs would not be made now; empty also where one may find out."""
        now = self._clock()
        if self._is_locked and now < self._ask_lock_at:
            return "locked"
        is_refused = self._refused_key is not None and now < self._ask_key_at
        return "unauthorized" if is_refused else ""

    async def reread(self) -> None:
        """Read the key again where it is kept."""
        await asyncio.to_thread(self._credential.reread)

    async def admit(self) -> None:
        """
        Return when a call may carry the key.

        Raises FalRefused 0 `no_key` without one, and FalRefused 401 `unauthorized` while the
        key is one that fal refused and its time to be tried again has not come.
        """
        if self._credential.key is None or self._refused_key is not None:
            await self.reread()
        key = self._credential.key
        if key is None:
            raise FalRefused(0, "no_key")
        if key != self._refused_key:
            return
        if self._clock() < self._ask_key_at:
            raise FalRefused(401, "unauthorized")
        self._ask_key_at = self._clock() + self._limits.probe_s

    def may_spend(self) -> bool:
        """
        Tell whether a call that costs may be made. Under a lock one is let through per span.
        """
        if not self._is_locked:
            return True
        if self._clock() < self._ask_lock_at:
            return False
        self._ask_lock_at = self._clock() + self._lock_gap_s
        return True

    def note(self, call: Call, answer: Answer) -> None:
        """Remember what an answer says of the key and the account."""
        if call.is_public:
            return
        if wire.is_unauthorized(answer):
            self._note_refused_key()
        elif answer.http_status < 500 and self._refused_key is not None:
            self._refused_key = None
            _log.info("fal.key_taken")
        if wire.is_locked(answer):
            self._note_lock()

    def note_taken(self) -> None:
        """Remember that fal took a job: whatever locked the account is over."""
        if self._is_locked:
            _log.info("fal.account_unlocked")
        self._is_locked = False
        self._lock_gap_s = self._limits.probe_s

    def _note_refused_key(self) -> None:
        if self._refused_key is None:
            _log.error("fal.key_refused")
        self._refused_key = self._credential.key
        self._ask_key_at = self._clock() + self._limits.probe_s

    def _note_lock(self) -> None:
        if self._is_locked:
            self._lock_gap_s = min(2 * self._lock_gap_s, self._limits.max_probe_s)
        else:
            _log.error("fal.account_locked")
            self._lock_gap_s = self._limits.probe_s
        self._is_locked = True
        self._ask_lock_at = self._clock() + self._lock_gap_s
