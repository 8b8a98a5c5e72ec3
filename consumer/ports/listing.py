"""The seam to the account's listing: what fal itself says was run with our key."""

from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import Protocol

from consumer.core.listing import Listed


class FalListing(Protocol):
    """
    Requests of the account, by endpoint. What still waits in the queue may be absent.

    Raises FalUnavailable, FalRefused (a key without the right to it) and SchemaDrift.
    """

    def since(
        self, endpoints: Sequence[str], start: datetime, *, has_inputs: bool
    ) -> AsyncIterator[Listed]:
        """Give the requests of these endpoints since an instant, the latest ends first."""
        ...

    async def find(self, endpoint: str, request_id: str) -> Listed | None:
        """Return one request, or None where the listing does not have it."""
        ...
