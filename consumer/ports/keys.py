"""The seam to fal's public keys, for the receiver and for the worker."""

from collections.abc import Sequence
from typing import Protocol

from consumer.core.keys import KeySet


class Keys(Protocol):
    """The key set in force, kept fresh in the background."""

    async def current(self) -> KeySet:
        """
        Return the set to judge with. Raises KeysUnavailable past the hard expiry, or while there
        is none.
        """
        ...

    async def refetched(self, tried: KeySet) -> KeySet:
        """
        Return the set to judge a delivery with that no key of `tried` verified.

        Refetches once: single flight, at most once a minute, failed tries count; otherwise,
        or when too many wait already, returns the set at hand.
        """
        ...


class TrustedKeys(Protocol):
    """
    Every key set that the worker trusts, newest first: what it fetched and what carries our proof.
    """

    async def sets(self) -> Sequence[KeySet]: ...

    async def refetch(self) -> None:
        """Fetch once more, within the limits of `Keys.refetched`."""
        ...
