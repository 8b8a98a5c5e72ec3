"""What the ledger need not keep any longer: removed a little at a time."""

from datetime import timedelta

from consumer.ports import Ledger
from consumer.telemetry import get_logger

BATCH = 1
"""A round that removed anything is followed by the next one at once."""

EVERY = timedelta(hours=1)

_log = get_logger()


class TrimLedger:
    """One round over facts and evidence that are older than `keep`."""

    def __init__(self, ledger: Ledger, keep: timedelta) -> None:
        self._ledger = ledger
        self._keep = keep

    async def round(self) -> int:
        """Remove some of what is old, and over; return how much. Raises Unavailable."""
        removed = await self._ledger.trim(self._keep)
        if removed:
            _log.info("ledger.trimmed", rows=removed)
        return removed
