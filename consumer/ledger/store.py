"""
The ledger on SQLAlchemy: the port's names, each bound to its transaction.

What happens inside a transaction is in the modules beside this one. Writes pass the one
writer, or on PostgreSQL two: one for the projection, whose writers take turns, and one for
the operational rows. Reads have connections of their own and never wait for either.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, Self, TypeVar

from sqlalchemy import URL, Connection, select
from sqlalchemy.ext.asyncio import AsyncEngine

from consumer.core.event import NewRecord
from consumer.core.fact import Fact
from consumer.core.projection import Entry, Evidence, KeySetEntry
from consumer.core.standing import Request, Series, Submission, SubmissionState
from consumer.errors import LedgerUnavailable
from consumer.ledger import claims, keyed, numbers, parking, reading, schedules, stamping
from consumer.ledger.engine import (
    instant_of,
    is_postgres,
    ledger_url,
    open_engine,
    translated,
)
from consumer.ledger.operational_rows import claim_row, parked_row
from consumer.ledger.prepared import Prepared, prepare
from consumer.ledger.recording import record_all
from consumer.ledger.recounting import recount_some
from consumer.ledger.retention import find_before, remove_old
from consumer.ledger.schema import check_schema
from consumer.ledger.sqlite import Place, probe
from consumer.ledger.writer import Writer
from consumer.ports import (
    Claim,
    ClaimKind,
    Clock,
    Due,
    Parked,
    Planner,
    Recorded,
    RequestFilter,
    StampKind,
)

_READERS = 2
_NOTHING = Prepared()  # what a command adds: it need not wait for a transaction
_Answer = TypeVar("_Answer")
_LAST = ("~",)  # after all that waits for a row: taking due rows skips those that others hold


class Ledger:
    """`ports.Ledger` on SQLite or PostgreSQL. Every method raises LedgerUnavailable."""

    def __init__(
        self,
        engines: tuple[AsyncEngine, AsyncEngine],
        url: URL,
        *,
        plan: Planner,
        clock: Clock,
    ) -> None:
        writing, self._reading = engines
        self._plan = plan
        self._clock = clock
        self._place = Place(url)
        self._writer = Writer(writing, self._place, self._record_all, takes_turn=True)
        self._second = self._writer
        if is_postgres(url):
            self._second = Writer(writing, self._place, self._record_all, takes_turn=False)

    @classmethod
    @asynccontextmanager
    async def open(
        cls, url: str | Path, *, plan: Planner, clock: Clock, schema: str = ""
    ) -> AsyncIterator[Self]:
        """
        Open the ledger at a database's URL, or in a SQLite file.

        What is in hand at the end is finished. Raises ConfigError when the schema is not
        the one this version knows, LedgerUnavailable when the database does not answer.
        """
        parsed = ledger_url(url)
        if not await asyncio.to_thread(probe, parsed):
            raise LedgerUnavailable("no such file")
        writers = 2 if is_postgres(parsed) else 1
        writing = open_engine(parsed, connections=writers, schema=schema)
        reading_engine = open_engine(parsed, connections=_READERS, read_only=True, schema=schema)
        try:
            # By the reading side: who only looks must not wait for the writers' lock.
            await check_schema(reading_engine)
            ledger = cls((writing, reading_engine), parsed, plan=plan, clock=clock)
            async with ledger._running():
                yield ledger
        finally:
            await reading_engine.dispose()
            await writing.dispose()

    @asynccontextmanager
    async def _running(self) -> AsyncIterator[None]:
        writers = {self._writer, self._second}
        running = [asyncio.create_task(writer.run(), name="ledger writer") for writer in writers]
        try:
            yield
        finally:
            for writer in writers:
                writer.close()
            await asyncio.gather(*running)

    async def record(self, entry: Entry) -> Recorded:
        """As the port says."""
        prepared = prepare(entry)
        if prepared == _NOTHING:
            return Recorded(is_new=False)
        return await self._writer.record(prepared)

    async def recount(self, accounts: Sequence[str]) -> int:
        """As the port says."""
        changed = 0
        while True:
            found: int = await self._writer.write(
                lambda connection: recount_some(
                    connection, accounts, plan=self._plan, now=self._now(connection)
                ),
                (),
            )
            if not found:
                return changed
            changed += found

    async def trim(self, keep: timedelta) -> int:
        """As the port says."""
        before, found = await self._read(
            lambda connection: find_before(connection, self._now(connection) - keep)
        )
        removed: int = await self._writer.write(
            lambda connection: remove_old(connection, found, before), ()
        )
        return removed

    async def request(self, request_id: str) -> Request | None:
        """As the port says."""
        return await self._read(reading.request, request_id)

    async def submission(self, submission_id: str) -> Submission | None:
        """As the port says."""
        return await self._read(reading.submission, submission_id)

    async def requests(self, wanted: RequestFilter) -> Sequence[Request]:
        """As the port says."""
        return await self._read(reading.listed_requests, wanted)

    async def submissions(
        self, *, states: Sequence[SubmissionState] = (), limit: int = 100
    ) -> Sequence[Submission]:
        """As the port says."""
        return await self._read(reading.listed_submissions, states, limit)

    async def unended(self, group: str) -> Sequence[Submission]:
        """As the port says."""
        return await self._read(keyed.unended, group)

    async def outnumbered(
        self, place: Series, limit: int
    ) -> tuple[Sequence[Request], Sequence[Submission]]:
        """As the port says."""
        return await self._read(keyed.outnumbered, place, limit)

    async def outnumbering(self, place: Series) -> Request | None:
        """As the port says."""
        return await self._read(keyed.outnumbering, place)

    async def knows_fact(self, fact_id: str) -> bool:
        """As the port says."""
        return await self._read(keyed.knows_fact, fact_id)

    async def open_work(self, limit: int) -> int:
        """As the port says."""
        return await self._read(keyed.open_work, limit)

    async def timeline(self, subject: str) -> Sequence[Fact]:
        """As the port says."""
        return await self._read(reading.timeline, subject)

    async def evidence(self, request_id: str) -> Sequence[Evidence]:
        """As the port says."""
        return await self._read(reading.evidence, request_id)

    async def result(self, subject: str) -> bytes | None:
        """As the port says."""
        return await self._read(reading.result, subject)

    async def key_sets(self, url: str) -> Sequence[KeySetEntry]:
        """As the port says."""
        return await self._read(reading.sets_of, url)

    async def counts(self) -> Mapping[str, int]:
        """As the port says."""
        return await self._read(reading.counts)

    async def claim(self, claim: Claim) -> Claim:
        """As the port says."""
        order = _claim_order(claim)
        return await self._write(order, partial(claims.claim, wanted=claim_row(claim)))

    async def latest_claim(self, kind: ClaimKind, key: str) -> Claim | None:
        """As the port says."""
        return await self._read(claims.latest_claim, kind, key)

    async def settle_claim(self, claim: Claim, event: NewRecord, detail: Mapping[str, Any]) -> None:
        """As the port says."""
        row = claims.settled(claim, event, detail)
        await self._write(_claim_order(claim), partial(claims.settle, row=row))

    async def mark_published(self, claim: Claim) -> None:
        """As the port says."""
        await self._write(_claim_order(claim), partial(claims.mark_published, claim=claim))

    async def open_claims(self, kind: ClaimKind, limit: int) -> Sequence[Claim]:
        """As the port says."""
        return await self._read(
            lambda connection: claims.open_claims(connection, kind, limit, self._now(connection))
        )

    async def stamp(self, kind: StampKind) -> datetime:
        """As the port says."""
        return await self._write(
            _LAST, lambda connection: stamping.stamp(connection, kind, self._now(connection))
        )

    async def stamped_at(self) -> datetime | None:
        """As the port says."""
        return await self._read(stamping.stamped_at)

    async def number_of(self, supersedes: str, subject: str) -> int:
        """As the port says."""
        work = partial(numbers.number_of, supersedes=supersedes, subject=subject)
        return await self._write(("series", supersedes), work)

    async def allow(self, name: str, limit: int, span: timedelta) -> bool:
        """As the port says."""
        return await self._write(
            ("allowances", name),
            lambda connection: numbers.allow(
                connection, name, limit=limit, span=span, now=self._now(connection)
            ),
        )

    async def reserve(self, key: str, fingerprint: str) -> str:
        """As the port says."""
        return await self._write(
            ("idempotency_keys", key),
            lambda connection: numbers.reserve(connection, key, fingerprint, self._now(connection)),
        )

    async def take_due(self, schedule: str, *, limit: int, lease: timedelta) -> Sequence[Due]:
        """As the port says."""
        return await self._write(
            _LAST,
            lambda connection: schedules.take_due(
                connection,
                schedule,
                limit=limit,
                lease=lease,
                now=self._now(connection),
            ),
        )

    async def put_off(self, due: Due, until: timedelta) -> bool:
        """As the port says."""
        return await self._write(
            _due_order(due),
            lambda connection: schedules.put_off(connection, due, until, self._now(connection)),
        )

    async def finish(self, due: Due) -> bool:
        """As the port says."""
        return await self._write(_due_order(due), partial(schedules.finish, due=due))

    async def release_leases(self) -> None:
        """Give back every lease: for a process that knows that it is the only one."""
        await self._write(_LAST, schedules.release)

    async def park(self, parked: Parked) -> None:
        """As the port says."""
        work = partial(parking.park, row=parked_row(parked))
        await self._write(("parked", parked.id), work)

    async def take_parked(self, group: str, *, limit: int) -> Sequence[Parked]:
        """As the port says."""
        return await self._read(
            lambda connection: parking.take_parked(
                connection, group, limit=limit, now=self._now(connection)
            )
        )

    async def unpark(self, parked: Parked) -> None:
        """As the port says."""
        work = partial(parking.unpark, parked_id=parked.id)
        await self._write(("parked", parked.id), work)

    async def ping(self) -> None:
        """As the port says."""
        await self._read(lambda connection: connection.execute(select(1)).scalar_one())

    def _record_all(self, connection: Connection, entries: Sequence[Prepared]) -> list[Recorded]:
        now = self._now(connection)
        return record_all(connection, entries, plan=self._plan, now=now)

    def _now(self, connection: Connection) -> datetime:
        return instant_of(connection, self._clock)

    async def _write(
        self, order: tuple[str, ...], work: Callable[[Connection], _Answer]
    ) -> _Answer:
        answer: _Answer = await self._second.write(work, order)
        return answer

    async def _read(self, work: Callable[..., _Answer], *arguments: Any) -> _Answer:
        self._place.check()
        with translated():
            async with self._reading.begin() as connection:
                return await connection.run_sync(work, *arguments)


def _claim_order(claim: Claim) -> tuple[str, ...]:
    return ("claims", claim.kind.value, claim.key, f"{claim.revision:020d}")


def _due_order(due: Due) -> tuple[str, ...]:
    # As `keep_schedules` locks them.
    return ("schedules", due.subject, due.schedule)
