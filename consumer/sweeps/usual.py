"""
What the jobs of each endpoint usually take, learned again and again from those that ended.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from consumer.core.standing import State
from consumer.core.usual import Usual, learn
from consumer.ports import Ledger, RequestFilter

BATCH = 1
EVERY = timedelta(seconds=60)
SAMPLES = 1000
# The newest ends that are looked at: all endpoints together.


@dataclass(slots=True)
class Learned:
    """What is usual now, for whoever plans; nothing before the first round."""

    usual: Mapping[str, Usual] = field(default_factory=dict)


class LearnUsual:
    """One round: read the newest ends and learn from them."""

    def __init__(self, ledger: Ledger, learned: Learned) -> None:
        self._ledger = ledger
        self._learned = learned

    async def round(self) -> int:
        """Learn. Raises LedgerUnavailable, and what was learned before stands."""
        ended = await self._ledger.requests(
            RequestFilter(states=(State.SUCCEEDED, State.FAILED), limit=SAMPLES)
        )
        self._learned.usual = learn(ended)
        return 0
