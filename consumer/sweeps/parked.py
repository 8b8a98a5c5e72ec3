"""Parked records whose time has come: back through their handler."""

from consumer.ports import Ledger
from consumer.sweeps import each
from consumer.worker import Worker

BATCH = 64
_CONCURRENCY = 16


class HandleParked:
    """One round over the parked records of one worker's group."""

    def __init__(self, worker: Worker, ledger: Ledger) -> None:
        self._worker = worker
        self._ledger = ledger

    async def round(self) -> int:
        """Handle what is due, all at once. Raises Unavailable."""
        due = await self._ledger.take_parked(self._worker.handler.name, limit=BATCH)
        await each(self._worker.handle_parked, due, at_once=_CONCURRENCY)
        return len(due)
