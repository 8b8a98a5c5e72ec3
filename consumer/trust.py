"""
The key sets that the worker trusts: what this process fetched, and what carries our proof.

Proven sets come from the ledger, where `record` put them after checking the proof, so
that a delivery signed with a key that has since left fal's set can still be judged.
"""

from collections.abc import Sequence

from consumer.core.keys import KeySet, parse_keys
from consumer.core.projection import KeySetEntry
from consumer.errors import BadKeySet
from consumer.ports import Ledger, TrustedKeys


class TrustedKeySets:
    """
    Every trusted set, newest first; the ledger is read again when a key is not among them.

    `fetched` are the sets of this process. `urls` are the addresses that a proven set may
    come from: the configured one, and its fallback where it has one.
    """

    def __init__(self, fetched: TrustedKeys, ledger: Ledger, *, urls: frozenset[str]) -> None:
        self._fetched = fetched
        self._ledger = ledger
        self._urls = urls
        self._proven: dict[str, KeySet] = {}
        self._has_read = False

    async def sets(self) -> Sequence[KeySet]:
        """Return the sets at hand. Raises LedgerUnavailable at the first reading only."""
        if not self._has_read:
            await self._read_ledger()
        fetched = {held.sha256: held for held in await self._fetched.sets()}
        both = {**self._proven, **fetched}
        return sorted(both.values(), key=lambda held: held.fetched_at, reverse=True)

    async def refetch(self) -> None:
        """Look once more: in the ledger for proven sets, at fal for a new one."""
        await self._read_ledger()
        await self._fetched.refetch()

    async def _read_ledger(self) -> None:
        for url in sorted(self._urls):
            for entry in await self._ledger.key_sets(url):
                parsed = None if entry.sha256 in self._proven else _maybe_key_set(entry)
                if parsed is not None:
                    self._proven[entry.sha256] = parsed
        self._has_read = True


def _maybe_key_set(entry: KeySetEntry) -> KeySet | None:
    try:
        return KeySet(parse_keys(entry.document), entry.document, entry.url, entry.fetched_at)
    except BadKeySet:
        return None
