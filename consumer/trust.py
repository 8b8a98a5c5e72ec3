"""
The key sets that the worker trusts: what this process fetched, and what carries our proof.

Proven sets come from the ledger, where `record` put them after checking the proof, so
that a delivery signed with a key that has since left fal's set can still be judged.
"""

from collections.abc import Sequence

from consumer.core.keys import KeySet, parse_keys
from consumer.core.projection import KeySetEntry
from consumer.errors import BadKeySet, KeysUnavailable
from consumer.ports import Keys, Ledger


class TrustedKeySets:
    """Every trusted set, newest first; the ledger is read again when a key is not among them."""

    def __init__(self, keys: Keys, ledger: Ledger, *, url: str) -> None:
        self._keys = keys
        self._ledger = ledger
        self._url = url
        self._proven: dict[str, KeySet] = {}
        self._fetched: dict[str, KeySet] = {}
        self._has_read = False

    async def sets(self) -> Sequence[KeySet]:
        """Return the sets at hand. Raises LedgerUnavailable at the first reading only."""
        if not self._has_read:
            await self._read_ledger()
        try:
            current = await self._keys.current()
            self._fetched[current.sha256] = current
        except KeysUnavailable:
            pass  # what was proven before is still evidence
        both = {**self._proven, **self._fetched}
        return sorted(both.values(), key=lambda held: held.fetched_at, reverse=True)

    async def refetch(self) -> None:
        """Look once more: in the ledger for proven sets, at fal for a new one."""
        await self._read_ledger()
        try:
            tried = await self._keys.current()
            fetched = await self._keys.refetched(tried)
            self._fetched[fetched.sha256] = fetched
        except KeysUnavailable:
            return

    async def _read_ledger(self) -> None:
        for entry in await self._ledger.key_sets(self._url):
            if entry.sha256 not in self._proven:
                parsed = _maybe_key_set(entry)
                if parsed is not None:
                    self._proven[entry.sha256] = parsed
        self._has_read = True


def _maybe_key_set(entry: KeySetEntry) -> KeySet | None:
    try:
        return KeySet(parse_keys(entry.document), entry.document, entry.url, entry.fetched_at)
    except BadKeySet:
        return None
