"""
fal's public keys as the plain client shows them: held, with their age and next refresh.

For people and programs that verify by themselves. The service's own keys are held elsewhere.
"""

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta

from consumer.core.keys import KeySet, parse_keys
from consumer.errors import BadKeySet
from consumer.fal import wire
from consumer.fal.answers import HeldKeySet, PublicKeyEntry
from consumer.fal.call import Answer, Call, Host
from consumer.fal.caller import Caller
from consumer.fal.reading import drift

SOFT_EXPIRY = timedelta(hours=1)
# fal allows to keep the keys for 24 h (fal docs, "Webhooks", 2026-09); a rotation is then
# seen within the hour.
_MAX_BYTES = 64 * 1024
_FETCH_S = 10.0


class KeySetReader:
    """Fetches the key set where none younger than an hour is held."""

    def __init__(self, caller: Caller, url: str, clock: Callable[[], datetime]) -> None:
        self._caller = caller
        self._url = url
        self._clock = clock
        self._held: KeySet | None = None
        self._flight = asyncio.Lock()

    async def read(self, *, is_fresh: bool = False) -> HeldKeySet:
        """
        Return the key set, fetched now where `is_fresh` is asked for or none is held.

        Raises FalUnavailable, FalRefused, and SchemaDrift for a set without a usable key.
        """
        async with self._flight:
            held = self._held
            if held is None or is_fresh or self._clock() - held.fetched_at >= SOFT_EXPIRY:
                call = Call("jwks", "GET", "", _MAX_BYTES, host=Host.JWKS, is_public=True)
                held = self._held = await self._caller.ask(call, _FETCH_S, self._judge)
        return HeldKeySet(
            url=held.url,
            keys=[PublicKeyEntry(kid=key.kid, x=key.text) for key in held.keys],
            fetched_at=held.fetched_at,
            age_s=(self._clock() - held.fetched_at).total_seconds(),
            refresh_at=held.fetched_at + SOFT_EXPIRY,
        )

    def _judge(self, answer: Answer) -> KeySet:
        wire.raise_unless_ok(answer)
        try:
            keys = parse_keys(answer.body)
        except BadKeySet as exc:
            raise drift("jwks", "keys", answer.body, expected="usable Ed25519 keys") from exc
        return KeySet(keys, answer.body, self._url, self._clock())
