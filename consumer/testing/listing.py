"""
The account's listing in memory: what a test says that fal lists, and errors that it scripts.
"""

from collections import deque
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from consumer.core.listing import Listed
from consumer.errors import ConsumerError


@dataclass(slots=True)
class FakeListing:
    """`ports.FalListing` in memory; `asked` are the calls of `since`, as they came."""

    items: list[Listed] = field(default_factory=list)
    asked: list[tuple[tuple[str, ...], datetime, bool]] = field(default_factory=list)
    _refusals: deque[ConsumerError] = field(default_factory=deque)

    def refuse_next(self, error: ConsumerError) -> None:
        """Let the next call raise `error`."""
        self._refusals.append(error)

    async def since(
        self, endpoints: Sequence[str], start: datetime, *, has_inputs: bool
    ) -> AsyncGenerator[Listed, None]:
        """As the port says."""
        self.asked.append((tuple(endpoints), start, has_inputs))
        self._raise()
        for item in self.items:
            is_old = item.ended_at is not None and item.ended_at < start
            if item.endpoint in endpoints and not is_old:
                yield item if has_inputs else replace(item, input=None)

    async def find(self, endpoint: str, request_id: str) -> Listed | None:
        """As the port says."""
        self._raise()
        for item in self.items:
            if (item.endpoint, item.request_id) == (endpoint, request_id):
                return replace(item, input=None)
        return None

    def _raise(self) -> None:
        if self._refusals:
            raise self._refusals.popleft()
