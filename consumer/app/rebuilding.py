"""
`ledger rebuild`: the whole log through the handler that records, into a new ledger.

The handler is the one that workers run; only what it would publish is on the log already.
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import cast

from yarl import URL

from consumer.app.backends import key_source
from consumer.app.ledgers import ledger_name, ledger_place
from consumer.app.reading import open_log
from consumer.app.values import plan_of, policies_of, token_secrets, utc_now
from consumer.core.event import NewRecord, Topic
from consumer.core.policy import RetryAt
from consumer.errors import ConsumerError, EventError, LogUnavailable
from consumer.folder import DataFolder
from consumer.handlers.deriving import derive_claim
from consumer.handlers.judging import Judge
from consumer.handlers.record import RecordEvents
from consumer.handlers.results import Facts
from consumer.jwks import JwksKeys, KeyParts
from consumer.ledger.rebuilding import Rebuild, open_rebuild
from consumer.ports import Log, Place, Position, Record
from consumer.settings import Settings
from consumer.telemetry import Metrics, get_logger
from consumer.trust import TrustedKeySets

_MAX_RECORDS = 512
_MAX_BYTES = 16 * 1024 * 1024
# Of the records that are handled at once.

Told = Callable[[int, int], None]
"""Hears how many records were read, and of how many."""


class GapsFound(ConsumerError):
    """Topics no longer hold their beginning: a rebuild would forget what stood there."""

    code = "gaps"

    def __init__(self, gaps: Sequence[str]) -> None:
        super().__init__(gaps)
        self.gaps = tuple(gaps)

    def __str__(self) -> str:
        return "a rebuild would forget what is no longer in the log: " + "; ".join(self.gaps)


@dataclass
class Rebuilt:
    """What a rebuild did."""

    name: str
    records: int = 0
    left_out: int = 0
    waiting: int = 0
    gaps: Sequence[str] = ()
    has_kept_operational: bool = True
    _places: dict[Place, int] = field(default_factory=dict)


async def rebuild_ledger(settings: Settings, *, despite_gaps: bool, tell: Told) -> Rebuilt:
    """
    Build the ledger anew from the topics, and put it in the place of the one in use.

    With SQLite nobody may run on the folder. Raises GapsFound unless `despite_gaps`,
    ConfigError, LogUnavailable, LedgerUnavailable; then the ledger is as it was.
    """
    folder = DataFolder(settings.data_dir)
    async with AsyncExitStack() as stack:
        if settings.is_sqlite:
            stack.enter_context(folder.held())
        log = await stack.enter_async_context(open_log(settings))
        gaps = await _gaps(log)
        if gaps and not despite_gaps:
            raise GapsFound(gaps)
        plan = partial(plan_of, policies_of(settings))
        rebuild = await stack.enter_async_context(
            open_rebuild(ledger_place(settings), plan=plan, clock=utc_now)
        )
        replay = await stack.enter_async_context(_open_replay(settings, log, rebuild, tell))
        replay.done.gaps = gaps
        replay.done.has_kept_operational = await rebuild.has_operational()
        await replay.run()
        await rebuild.swap(replay.run)
        return replay.done


async def _gaps(log: Log) -> list[str]:
    spans = await log.offsets(RecordEvents.topics)
    return [
        f"{topic}/{partition} begins at {span.start}"
        for (topic, partition), span in sorted(spans.items())
        if span.start > 0
    ]


@asynccontextmanager
async def _open_replay(
    settings: Settings, log: Log, rebuild: Rebuild, tell: Told
) -> AsyncIterator["_Replay"]:
    folder, metrics = DataFolder(settings.data_dir), Metrics()
    parts = KeyParts(utc_now, metrics, get_logger())
    async with JwksKeys(key_source(settings, folder), parts) as keys:
        secrets = token_secrets(settings, folder)
        trusted = TrustedKeySets(keys, rebuild.ledger, urls=keys.urls)
        handler = RecordEvents(
            Judge(trusted, accounts=frozenset(settings.accounts), secrets=secrets),
            rebuild.ledger,
            Facts(_Nobody(), source=str(URL(settings.queue_url).origin())),
            key_set_urls=keys.urls,
            secrets=secrets,
            policies=policies_of(settings),
            clock=utc_now,
        )
        yield _Replay(log, handler, rebuild, tell, Rebuilt(ledger_name(settings)))


class _Nobody:
    """Takes what the handler would publish: it was published when the records were new."""

    async def append(self, record: NewRecord) -> Position:
        return Position(record.topic, -1, 0)


class _Replay:
    """Reads on from where it stood, each time it is run, to the end of the log as it is then."""

    def __init__(
        self, log: Log, handler: RecordEvents, rebuild: Rebuild, tell: Told, done: Rebuilt
    ) -> None:
        self._log = log
        self._handler = handler
        self._rebuild = rebuild
        self._tell = tell
        self._places: dict[Place, int] = {}
        self._waiting: list[Record] = []
        self._total = 0
        self.done = done

    async def run(self) -> None:
        """Record what is new in the log. Raises LogUnavailable, LedgerUnavailable."""
        spans = await self._log.offsets(RecordEvents.topics)
        self._total = self.done.records + sum(
            max(0, span.stop - self._places.get(place, span.start)) for place, span in spans.items()
        )
        # Key sets first: what was signed with a key that fal no longer has is known by them.
        rest = [topic for topic in RecordEvents.topics if topic is not Topic.LIFECYCLE]
        for topics in ([Topic.LIFECYCLE], rest):
            await self._read(topics, spans)
        waiting, self._waiting = self._waiting, []
        await self._handle(waiting)  # a key may have become known meanwhile
        self.done.waiting = len(self._waiting)

    async def _read(self, topics: Sequence[Topic], spans: Mapping[Place, range]) -> None:
        batch: list[Record] = []
        size = 0
        read = self._log.read(topics, start=dict(self._places))
        async with aclosing(cast("AsyncGenerator[Record, None]", read)) as records:
            async for record in records:
                place = (record.position.topic, record.position.partition)
                self._places[place] = record.position.offset + 1
                batch.append(record)
                size += len(record.value)
                if len(batch) >= _MAX_RECORDS or size >= _MAX_BYTES:
                    await self._handle_new(batch)
                    batch, size = [], 0
        await self._handle_new(batch)
        for (topic, partition), span in spans.items():
            if topic in topics and self._places.get((topic, partition), span.start) < span.stop:
                problem = f"{topic}/{partition} was not read to its end at {span.stop}"
                raise LogUnavailable(problem)

    async def _handle_new(self, batch: Sequence[Record]) -> None:
        await self._handle(batch)
        self.done.records += len(batch)
        self._tell(self.done.records, self._total)

    async def _handle(self, records: Sequence[Record]) -> None:
        """Handle records as a worker does: those of one key in order, others beside them."""
        chains: dict[str, list[Record]] = defaultdict(list)
        for record in records:
            chains[record.key].append(record)
        async with asyncio.TaskGroup() as tasks:
            for chain in chains.values():
                tasks.create_task(self._handle_chain(chain))

    async def _handle_chain(self, chain: Sequence[Record]) -> None:
        for record in chain:
            try:
                outcome = await self._handler.handle(record, 1)
            except EventError:
                self.done.left_out += 1  # it is a dead letter, and that is on the log too
                continue
            if isinstance(outcome, RetryAt):
                self._waiting.append(record)
            if not self.done.has_kept_operational:
                await derive_claim(self._rebuild.ledger, record)
