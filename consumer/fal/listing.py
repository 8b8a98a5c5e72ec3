"""fal's account listing as handlers and sweeps use it: the port over the platform client."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from datetime import datetime

from consumer.core.listing import Listed
from consumer.fal.answers import ListedRequest
from consumer.fal.client import FalClient
from consumer.fal.platform import Span

_PAGE = 100


class FalListingClient:
    """`ports.FalListing` over fal's platform API."""

    def __init__(self, client: FalClient) -> None:
        self._client = client

    async def since(
        self, endpoints: Sequence[str], start: datetime, *, has_inputs: bool
    ) -> AsyncGenerator[Listed, None]:
        """As the port says."""
        found = self._client.requests_by_endpoint(
            endpoints, span=Span(start), has_payloads=has_inputs, page_size=_PAGE
        )
        async with aclosing(found) as items:
            async for item in items:
                yield _listed(item)

    async def find(self, endpoint: str, request_id: str) -> Listed | None:
        """As the port says."""
        found = self._client.requests_by_endpoint([endpoint], request_id=request_id)
        async with aclosing(found) as items:
            async for item in items:
                if item.request_id.lower() == request_id.lower():
                    return _listed(item)
        return None


def _listed(item: ListedRequest) -> Listed:
    return Listed(
        item.request_id.lower(),
        item.endpoint_id,
        item.sent_at,
        item.ended_at,
        item.status_code,
        item.json_input,
    )
