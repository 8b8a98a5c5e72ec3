"""
The thread that writes the embedded log, in groups.

Everything that waits while a commit runs goes together into the next one. The event loop
hears of each commit with one call, which answers all its waiters. Nothing else writes.
"""

import asyncio
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from queue import Empty, SimpleQueue
from typing import Any

from consumer.errors import ConfigError, ConsumerError, LogUnavailable
from consumer.log.current import CurrentFile
from consumer.log.files import LogFolder
from consumer.log.insert import PendingAppend, insert_appends
from consumer.log.room import LogLimits, Room
from consumer.ports import Clock, Position
from consumer.telemetry import get_logger

_MAX_BATCH_RECORDS = 1024
_MAX_BATCH_BYTES = 8 << 20
"""Of one transaction; what is over waits for the next."""

_COMMIT_BYTES = 3 * 4096
_JOB_BYTES = 4096
_LONE_JOB_BYTES = 1 << 20
"""What goes into the WAL with any commit (a counter, a leaf, a pointer map), and with jobs."""

_GATHER_S = 0.002
"""How long a batch waits for company after one that had some. A commit costs the processor ten
times what a record in it costs, and where the disk is quick no queue builds up by itself; a
lone writer never waits."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

Work = Callable[[sqlite3.Connection, int], Any]
"""What a job does inside a transaction, given the connection and the file's number."""


@dataclass(slots=True, eq=False)
class Job:
    """
    Other work for the appender's transactions.

    One that `shares` goes into the transaction of the appends that wait beside it.
    """

    work: Work
    shares: bool
    answer: asyncio.Future[Any]


@dataclass(slots=True, eq=False)
class Batch:
    """What goes into one transaction, and then how it ended."""

    appends: list[PendingAppend] = field(default_factory=list)
    jobs: list[Job] = field(default_factory=list)
    size: int = 0
    positions: Sequence[Position] = ()
    results: Sequence[Any] = ()
    append_error: ConsumerError | None = None
    job_error: ConsumerError | None = None

    def take(self, item: PendingAppend | Job) -> None:
        """Put an item in."""
        if isinstance(item, Job):
            self.jobs.append(item)
        else:
            self.appends.append(item)
            self.size += item.size

    def is_closed_to(self, item: PendingAppend | Job) -> bool:
        """Return whether an item must go into another transaction than this one."""
        if not self.appends and not self.jobs:
            return False
        if isinstance(item, Job) and not item.shares:
            return True
        is_full = self.size >= _MAX_BATCH_BYTES or len(self.appends) >= _MAX_BATCH_RECORDS
        return is_full or any(not job.shares for job in self.jobs)


class Appender:
    """
    Writes from a thread of its own, from its making until `stop`.

    `settle` is called on the loop for each batch. `stopped` is done when the thread is.
    """

    def __init__(
        self,
        folder: LogFolder,
        *,
        clock: Clock,
        limits: LogLimits,
        settle: Callable[[Batch], None],
    ) -> None:
        self._clock = clock
        self._settle = settle
        self._room = Room(folder, limits)
        self._probe = min(limits.max_record_bytes, limits.max_bytes // 20)
        self._file = CurrentFile(folder, self._room)
        self._folder = folder
        self._inbox: SimpleQueue[PendingAppend | Job | None] = SimpleQueue()
        self._held: PendingAppend | Job | None = None
        self._in_hand: Batch | None = None
        self._is_stopping = False
        self._is_crowded = False
        self._is_refusing = False
        self._log = get_logger()
        self._loop = asyncio.get_running_loop()
        self.stopped: asyncio.Future[None] = self._loop.create_future()
        self.put = self._inbox.put
        # A daemon, so that a disk that hangs does not hang the exit.
        threading.Thread(target=self._run, name="log-appender", daemon=True).start()

    def stop(self) -> None:
        """Let the thread finish what was put before, and end."""
        self._inbox.put(None)

    def abandon(self) -> None:
        """Tell everybody who still waits that nothing will come; on the loop."""
        rest = self._in_hand or Batch()
        batch = Batch(appends=list(rest.appends), jobs=list(rest.jobs))
        if self._held is not None:
            batch.take(self._held)
        with suppress(Empty):
            while True:
                item = self._inbox.get_nowait()
                if item is not None:
                    batch.take(item)
        batch.append_error = batch.job_error = LogUnavailable("the log is closed")
        self._settle(batch)

    @property
    def wants_trimming(self) -> bool:
        """The log is close to its size limit."""
        return self._room.wants_trimming

    # ------------------------------------------------------------ the thread

    def _run(self) -> None:
        try:
            while batch := self._next_batch():
                self._in_hand = batch
                self._is_crowded = len(batch.appends) > 1
                self._write(batch)
                self._in_hand = None
                self._call(self._settle, batch)
                self._file.maybe_checkpoint()
        finally:
            # Whatever ended the thread, nobody may wait for it for ever.
            self._file.drop()
            self._call(self._end)

    def _end(self) -> None:
        self.stopped.set_result(None)
        self.abandon()

    def _call(self, function: Callable[..., None], *arguments: Any) -> None:
        # RuntimeError: the loop is closed, and with it everybody who waited.
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(function, *arguments)

    def _next_batch(self) -> Batch | None:
        """Return the next batch once there is one; None when all is done."""
        batch = Batch()
        item, self._held = self._held, None
        if item is None:
            item = None if self._is_stopping else self._inbox.get()
            if self._is_crowded and isinstance(item, PendingAppend):
                time.sleep(_GATHER_S)
        while item is not None:
            if batch.is_closed_to(item):
                self._held = item
                return batch
            batch.take(item)
            try:
                item = self._inbox.get_nowait()
            except Empty:
                return batch
        self._is_stopping = True
        return batch if batch.appends or batch.jobs else None

    def _write(self, batch: Batch) -> None:
        """Write a batch, in the next file when this one breaks; errors end in the batch."""
        try:
            try:
                self._transact(batch)
            except sqlite3.Error as exc:
                self._file.give_up(exc)
                self._transact(batch)
        except sqlite3.Error as exc:
            batch.append_error = batch.job_error = self._file.translate(exc)
        except ConfigError as exc:
            batch.append_error, batch.job_error = LogUnavailable(str(exc)), exc
        except LogUnavailable as exc:
            batch.append_error = batch.job_error = exc
        except OSError as exc:
            problem = f"cannot use {self._folder.path}: {exc.strerror}"
            batch.append_error = batch.job_error = LogUnavailable(problem)
        self._note_refusal(batch)

    def _transact(self, batch: Batch) -> None:
        connection = self._file.open()
        refusal = self._refusal(connection, batch)
        batch.append_error = LogUnavailable(refusal) if refusal else None
        appends = [] if refusal else batch.appends
        if not appends and not batch.jobs:
            return
        connection.execute("BEGIN IMMEDIATE")
        try:
            instant = (self._clock() - _EPOCH) // _MICROSECOND
            batch.positions = insert_appends(
                connection, self._file.number, appends, appended_at=instant
            )
            batch.results = [job.work(connection, self._file.number) for job in batch.jobs]
            connection.execute("COMMIT")
        except BaseException:
            _roll_back(connection)
            raise
        if appends or not all(job.shares for job in batch.jobs):
            self._room.grew(batch.size if appends else 0)
        jobs = sum(_JOB_BYTES if job.shares else _LONE_JOB_BYTES for job in batch.jobs)
        self._file.wrote(batch.size + jobs + _COMMIT_BYTES)

    def _refusal(self, connection: sqlite3.Connection, batch: Batch) -> str | None:
        if not batch.appends:
            return None
        return self._room.refusal(connection, self._file.number, batch.size)

    def look(self, connection: sqlite3.Connection, number: int) -> None:
        """Raise LogUnavailable when a large record would be refused now: a job's work."""
        if self._room.is_known_full():
            raise LogUnavailable("the disk is full")
        if problem := self._room.refusal(connection, number, self._probe):
            raise LogUnavailable(problem)

    def _note_refusal(self, batch: Batch) -> None:
        error = batch.append_error
        if error is not None and not self._is_refusing:
            self._log.error("log.unavailable", error=error.code, problem=str(error))
        if batch.appends or error is not None:
            self._is_refusing = error is not None


def _roll_back(connection: sqlite3.Connection) -> None:
    with suppress(sqlite3.Error):
        if connection.in_transaction:
            connection.execute("ROLLBACK")
