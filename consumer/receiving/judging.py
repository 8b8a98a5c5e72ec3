"""
Does a delivery count? Signature against the keys in force, then the account.

The order is the receiver's: what a stranger can make us do is bounded, and only what
fal signed reaches the account and the budget of the unproven.
"""

import asyncio
from datetime import datetime, timedelta

from consumer.core.delivery import Delivery
from consumer.core.signature import VerifiedDelivery, verify
from consumer.errors import BadSignature, ForeignAccount, KeysUnavailable
from consumer.ports import Keys

HASH_OFF_LOOP_BYTES = 256 * 1024
# SHA-256 of so much takes about 0.2 to 1 ms; larger bodies would hold up the others.
_MAX_HASHING = 2


class Judge:
    """Judges deliveries. `accounts` empty means that none is configured yet: `unproven` mode."""

    def __init__(
        self, keys: Keys, accounts: frozenset[str], *, max_unproven_bytes_per_hour: int
    ) -> None:
        self.accounts = accounts
        self._keys = keys
        self._budget = _HourlyBudget(max_unproven_bytes_per_hour)
        self._hashing = asyncio.Semaphore(_MAX_HASHING)

    async def verified(self, delivery: Delivery, *, answer_at: float) -> VerifiedDelivery:
        """
        Return the delivery as verified, judged at its `received_at`.

        When no key matches, the key set is asked for once more, by `answer_at` (loop time).
        Raises UnverifiedDelivery and KeysUnavailable.
        """
        if len(delivery.body) > HASH_OFF_LOOP_BYTES:
            async with self._hashing:
                await asyncio.to_thread(lambda: delivery.body_sha256)
        held = await self._keys.current()
        try:
            return verify(delivery, held.keys, now=delivery.received_at)
        except BadSignature:
            try:
                async with asyncio.timeout_at(answer_at):
                    fresh = await self._keys.refetched(held)
            except TimeoutError as exc:
                raise KeysUnavailable("the refetch took too long") from exc
            if fresh is held:
                raise
        return verify(delivery, fresh.keys, now=delivery.received_at)

    def is_ours(self, verified: VerifiedDelivery) -> bool:
        """
        Tell whether the account is a configured one; False only while none is configured.

        Raises ForeignAccount for any other, and when unproven bodies are over their budget.
        """
        if verified.account in self.accounts:
            return True
        delivery = verified.delivery
        if self.accounts or not self._budget.maybe_spend(len(delivery.body), delivery.received_at):
            raise ForeignAccount(verified.account)
        return False


class _HourlyBudget:
    """Bytes per hour, counted in windows that begin with their first spending."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._spent_bytes = 0
        self._since: datetime | None = None

    def maybe_spend(self, size: int, now: datetime) -> bool:
        if self._since is None or abs(now - self._since) >= timedelta(hours=1):
            self._since, self._spent_bytes = now, 0
        if self._spent_bytes + size > self._max_bytes:
            return False
        self._spent_bytes += size
        return True
