"""
The embedded log: one machine, SQLite files in a folder, several processes.

The front of `consumer.log`: what the ports promise is here, on the loop; writing is in
`appender`, reading in `reader`, each in a thread of its own.
"""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from copy import copy
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, Self, TypeVar

from consumer.core.event import NewRecord, Topic
from consumer.errors import ConsumerError, LogUnavailable, RecordRefused
from consumer.log.appender import Appender, Batch, Job, Work
from consumer.log.blocks import pack_head
from consumer.log.files import LogFolder
from consumer.log.groups import Offsets, check_name, hold_group, store_offsets, store_topics
from consumer.log.insert import PendingAppend
from consumer.log.reader import Reader, Stretch, Wanted
from consumer.log.retention import Trim, Trimmed
from consumer.log.room import LogLimits
from consumer.log.subscription import Cursor, EmbeddedSubscription, Source
from consumer.ports import Clock, OnRevoked, Place, Position, Record
from consumer.telemetry import get_logger

__all__ = ["EmbeddedLog", "LogLimits"]

_CLOSE_BUDGET_S = 10.0
_MAX_OFFSET = 1 << 63
_PING_TIMEOUT_S = 2.0
_READ_AT_ONCE = 500
_FOLLOW_TURN = timedelta(seconds=5)
_RETENTION_EVERY_S = 3600.0
_SIZE_CHECK_S = 1.0

T = TypeVar("T")


class EmbeddedLog:
    """
    A `consumer.ports.Log` in a folder. Belongs to the loop it was opened on.

    Several processes may append; a group is read by one subscription at a time.
    """

    def __init__(
        self, folder: LogFolder, *, clock: Clock, limits: LogLimits, may_write: bool
    ) -> None:
        self._folder = folder
        self._may_write = may_write
        self._clock = clock
        self._limits = limits
        self._pending_bytes = 0
        self._is_closed = False
        self._loop = asyncio.get_running_loop()
        self._news: asyncio.Future[None] = self._loop.create_future()
        self._appender = Appender(folder, clock=clock, limits=limits, settle=self._settle)
        self._reader = Reader(folder, condemn=self._condemn)
        self._reading = ThreadPoolExecutor(1, thread_name_prefix="log-reader")
        self._log = get_logger()

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        folder: Path,
        *,
        clock: Clock,
        limits: LogLimits | None = None,
        create: bool = True,
    ) -> AsyncIterator[Self]:
        """
        Open the log in `folder`, making both unless `create` is false.

        Leaving finishes the appends in hand, within ten seconds. Raises LogUnavailable, also
        for a folder without a log when `create` is false, and ConfigError for files written
        by a newer version.
        """
        place = LogFolder(folder)
        if create:
            place.make()
        elif not place.list().present:
            raise LogUnavailable(f"{folder} holds no log: has `serve` run there?")
        log = cls(place, clock=clock, limits=limits or LogLimits(), may_write=create)
        try:
            if create:
                await log._write(_do_nothing, shares=False)
            await log._read(log._reader.check)
            yield log
        finally:
            await log._close()

    # ------------------------------------------------------------ appending

    async def append(self, record: NewRecord) -> Position:
        """See `consumer.ports.Publisher`."""
        size = record.size
        if size > self._limits.max_record_bytes:
            raise RecordRefused(record.topic, f"{size} bytes are over the limit")
        if not isinstance(record.value, bytes):
            raise RecordRefused(record.topic, "value is no bytes")
        try:
            head = pack_head(record)
        except UnicodeEncodeError as exc:
            raise RecordRefused(record.topic, "key or header name is no UTF-8 text") from exc
        if self._is_closed or self._appender.stopped.done():
            raise LogUnavailable("the log is closed")
        if self._pending_bytes + size > self._limits.max_pending_bytes:
            raise LogUnavailable("too much waits for its commit")
        self._pending_bytes += size
        answer: asyncio.Future[Position] = self._loop.create_future()
        self._appender.put(PendingAppend(record.topic, head, record.value, size, answer))
        return await answer

    def _settle(self, batch: Batch) -> None:
        """Answer everybody whose work was in a batch; called once for each, on the loop."""
        self._pending_bytes -= batch.size
        _answer(batch.appends, batch.positions, batch.append_error)
        _answer(batch.jobs, batch.results, batch.job_error)
        if batch.positions:
            news, self._news = self._news, self._loop.create_future()
            news.set_result(None)

    async def ping(self) -> None:
        """Return when the log would take a record now; else raise LogUnavailable."""
        try:
            async with asyncio.timeout(_PING_TIMEOUT_S):
                await self._write(self._appender.look, shares=False)
        except TimeoutError as exc:
            raise LogUnavailable("the disk does not answer") from exc

    # ------------------------------------------------------------ reading

    @asynccontextmanager
    async def subscribe(
        self,
        group: str,
        topics: Sequence[Topic],
        *,
        on_revoked: OnRevoked | None = None,  # noqa: ARG002  one holder at a time: none moves
    ) -> AsyncIterator[EmbeddedSubscription]:
        """See `consumer.ports.Log`. Raises ValueError for a name that is no group's."""
        check_name(group)
        with hold_group(self._folder.path, group):
            await self._write(lambda connection, _: store_topics(connection, group, topics))
            committed = await self._read(partial(self._reader.committed, group))
            yield EmbeddedSubscription(
                Cursor(self._source, topics, places=committed, group=group),
                commit=partial(self._commit, group),
                lag=partial(self._lag, topics),
                committed=committed,
            )

    @property
    def _source(self) -> Source:
        return Source(self._fetch, lambda: self._news)

    async def _fetch(self, wanted: Wanted) -> list[Stretch]:
        return await self._read(partial(self._reader.fetch, wanted))

    async def _commit(self, group: str, offsets: Mapping[Place, int]) -> None:
        if not all(0 <= at < _MAX_OFFSET for at in offsets.values()):
            raise ValueError("an offset is 0 or more, and below 2**63")
        kept = dict(offsets)
        await self._write(lambda connection, _: store_offsets(connection, group, kept))

    async def _lag(self, topics: Sequence[Topic], committed: Offsets) -> int:
        spans = await self.offsets(topics)
        return sum(
            max(0, span.stop - max(span.start, committed.get(place, 0)))
            for place, span in spans.items()
        )

    async def offsets(self, topics: Sequence[Topic]) -> dict[Place, range]:
        """See `consumer.ports.Log`."""
        return await self._read(partial(self._reader.spans, tuple(topics)))

    async def committed(self, group: str) -> Offsets:
        """See `consumer.ports.Log`."""
        return await self._read(partial(self._reader.committed, group))

    async def read(
        self,
        topics: Sequence[Topic],
        *,
        key: str | None = None,
        start: Mapping[Place, int] | None = None,
        follow: bool = False,
    ) -> AsyncIterator[Record]:
        """See `consumer.ports.Log`."""
        cursor = Cursor(self._source, topics, places=start or {}, key=key)
        turn = _FOLLOW_TURN if follow else timedelta(0)
        while (records := await cursor.next(max_records=_READ_AT_ONCE, timeout=turn)) or follow:
            for record in records:
                yield record

    # ------------------------------------------------------------ retention

    async def trim(self, now: datetime, *, gives_back: bool = True) -> int:
        """
        Remove what is past its time, or too much; return how many records went.

        Never what a group of our own has not committed. `gives_back` free pages to the disk,
        instead of keeping them for what comes. Raises LogUnavailable.
        """
        trim = Trim(self._folder, self._limits, now, gives_back=gives_back)
        trim = replace(trim, is_by_size=await self._write(trim.is_over, shares=False))
        removed: int = await self._write(trim.remove_files, shares=False)
        trimmed = Trimmed(0, may_go_on=True)
        while trimmed.may_go_on:
            trimmed = await self._write(trim.step, shares=False)
            removed += trimmed.records
        return removed

    async def run_retention(self, stop: asyncio.Event) -> None:
        """Trim every hour, and whenever the size limit is near, until `stop` is set."""
        due = 0.0
        while not stop.is_set():
            if self._loop.time() >= due or self._appender.wants_trimming:
                due = self._loop.time() + _RETENTION_EVERY_S
                with suppress(LogUnavailable):
                    if removed := await self.trim(self._clock()):
                        self._log.info("log.trimmed", records=removed)
            with suppress(TimeoutError):
                async with asyncio.timeout(_SIZE_CHECK_S):
                    await stop.wait()

    # ------------------------------------------------------------ threads

    async def _write(self, work: Work, *, shares: bool = True) -> Any:
        if self._is_closed or self._appender.stopped.done():
            raise LogUnavailable("the log is closed")
        answer: asyncio.Future[Any] = self._loop.create_future()
        self._appender.put(Job(work, shares, answer))
        return await answer

    async def _read(self, question: Callable[[], T]) -> T:
        if self._is_closed:
            raise LogUnavailable("the log is closed")
        return await self._loop.run_in_executor(self._reading, question)

    def _condemn(self, number: int, error: sqlite3.Error) -> None:
        """Let the appender meet the error that a read met, if it appends to that file."""

        def meet(_connection: sqlite3.Connection, current: int) -> None:
            if current == number:
                raise error

        def put() -> None:
            answer: asyncio.Future[Any] = self._loop.create_future()
            answer.add_done_callback(lambda done: done.exception())
            self._appender.put(Job(meet, shares=False, answer=answer))

        if self._may_write:
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(put)

    async def _close(self) -> None:
        self._is_closed = True
        # Readers first: the last to close a file moves its WAL in, and they may not write.
        closing = self._loop.run_in_executor(self._reading, self._reader.close)
        await asyncio.wait({closing}, timeout=_CLOSE_BUDGET_S / 2)
        self._appender.stop()
        await asyncio.wait({self._appender.stopped}, timeout=_CLOSE_BUDGET_S / 2)
        if not self._appender.stopped.done():
            self._appender.abandon()
        self._reading.shutdown(wait=False, cancel_futures=True)


def _answer(
    waiting: Sequence[PendingAppend | Job], results: Sequence[Any], error: ConsumerError | None
) -> None:
    if error is not None:
        for item in waiting:
            if not item.answer.done():
                # A copy for each: every raise hangs its own traceback on what it raises.
                item.answer.set_exception(copy(error))
        return
    for item, result in zip(waiting, results, strict=True):
        if not item.answer.done():
            item.answer.set_result(result)


def _do_nothing(_connection: sqlite3.Connection, _number: int) -> None:
    """Let a transaction go through: that it did is the answer."""
