"""
Writing in shared transactions: many callers to one of them, one of them at a time.

A commit waits for the disk, so callers that come while one runs share the next. What the
database refuses is tried again alone, and only its own caller is told. What the jobs do is
`recording`, `schedules`, `claims`, `parking`.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import AsyncEngine

from consumer.errors import LedgerUnavailable
from consumer.ledger.engine import InTheWay, take_turn, translated
from consumer.ledger.recording import Prepared
from consumer.ledger.sqlite import Place
from consumer.ports import Recorded

MAX_JOBS = 256
MAX_BATCH_BYTES = 8 * 1024 * 1024
# A transaction's bounds. More jobs gain little, and a caller waits for all of its batch.
MAX_WAITING = 4096
# Callers beyond wait for room: the buffer is theirs, not ours.
_TRIES = 5
# Of a transaction that the database ended for the sake of another process's.

RecordAll = Callable[[Connection, Sequence[Prepared]], list[Recorded]]
Write = Callable[[Connection], Any]


@dataclass(slots=True, eq=False)
class _Job:
    work: Prepared | Write
    order: tuple[str, ...]
    size: int
    done: asyncio.Future[Any] = field(repr=False)


class Writer:
    """
    Runs jobs in shared transactions. `run` is awaited by whoever opened the ledger.

    With `takes_turn` no other writer of the database that does runs meanwhile: needed by
    who writes the projection.
    """

    def __init__(
        self, engine: AsyncEngine, place: Place, record_all: RecordAll, *, takes_turn: bool
    ) -> None:
        self._engine = engine
        self._place = place
        self._record_all = record_all
        self._takes_turn = takes_turn
        self._jobs: deque[_Job] = deque()
        self._room = asyncio.Semaphore(MAX_WAITING)
        self._wake = asyncio.Event()
        self._is_closed = False

    async def record(self, prepared: Prepared) -> Recorded:
        """
        Return what recording changed, once it is durable.

        Raises EventError for what the database will never take, LedgerUnavailable.
        """
        recorded: Recorded = await self._submit(prepared, (), prepared.size)
        return recorded

    async def write(self, work: Write, order: tuple[str, ...]) -> Any:
        """
        Return what `work` returned, once it is durable. Raises as `record` does.

        Jobs of a transaction run in their `order`: writers that lock rows in one order
        never wait for each other in a circle.
        """
        return await self._submit(work, order, 0)

    def close(self) -> None:
        """Take no more jobs; `run` ends when those in hand are done."""
        self._is_closed = True
        self._wake.set()

    async def run(self) -> None:
        """Write until closed. When stopped before, every waiting caller is told so."""
        try:
            while self._jobs or not self._is_closed:
                if not self._jobs:
                    self._wake.clear()
                    await self._wake.wait()
                    continue
                await self._write(self._next_batch())
        finally:
            self._is_closed = True
            _fail(self._jobs, LedgerUnavailable("closed"))
            self._jobs.clear()

    async def _submit(self, work: Prepared | Write, order: tuple[str, ...], size: int) -> Any:
        async with self._room:
            if self._is_closed:
                raise LedgerUnavailable("closed")
            job = _Job(work, order, size, asyncio.get_running_loop().create_future())
            self._jobs.append(job)
            self._wake.set()
            return await job.done

    def _next_batch(self) -> list[_Job]:
        """Take the jobs that fit one transaction, at least one: those that came first."""
        batch: list[_Job] = []
        size = 0
        while self._jobs and len(batch) < MAX_JOBS:
            job = self._jobs[0]
            if batch and size + job.size > MAX_BATCH_BYTES:
                break
            self._jobs.popleft()
            if not job.done.done():  # its caller may have been stopped meanwhile
                batch.append(job)
                size += job.size
        return sorted(batch, key=lambda job: job.order)

    async def _write(self, batch: list[_Job]) -> None:
        if not batch:
            return
        try:
            answers = await self._transact(batch)
        except asyncio.CancelledError:
            _fail(batch, LedgerUnavailable("closed"))
            raise
        except Exception as error:  # noqa: BLE001  it is its caller's, and the writer goes on
            if len(batch) == 1 or isinstance(error, LedgerUnavailable):
                _fail(batch, error)
                return
            for job in batch:
                await self._write([job])
        else:
            for job, answer in zip(batch, answers, strict=True):
                if not job.done.done():
                    job.done.set_result(answer)

    async def _transact(self, batch: list[_Job]) -> list[Any]:
        for left in reversed(range(_TRIES)):
            self._place.check()
            try:
                with translated():
                    async with self._engine.begin() as connection:
                        return await connection.run_sync(self._apply, batch)
            except InTheWay:
                if not left:
                    raise
        raise AssertionError("unreachable")

    def _apply(self, connection: Connection, batch: list[_Job]) -> list[Any]:
        if self._takes_turn:
            take_turn(connection)
        entries = [job.work for job in batch if isinstance(job.work, Prepared)]
        recorded = iter(self._record_all(connection, entries) if entries else [])
        return [
            next(recorded) if isinstance(job.work, Prepared) else job.work(connection)
            for job in batch
        ]


def _fail(jobs: Iterable[_Job], error: Exception) -> None:
    for job in jobs:
        if not job.done.done():
            # Each caller raises an error of its own: one that several raise mixes their traces.
            own = (
                LedgerUnavailable(error.problem) if isinstance(error, LedgerUnavailable) else error
            )
            own.__cause__ = error.__cause__
            job.done.set_exception(own)
