"""
The front of the spool: a `Publisher` on Kafka, with a waiting room on disk behind it.

What is here decides nothing by itself: `gate` says where a record goes. Opening takes a
spool of its own and adopts every other one that nobody holds; `run` drains them.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Protocol, Self

from consumer.core.event import NewRecord, Topic
from consumer.errors import LogUnavailable, RecordRefused
from consumer.log.spool.drain import Drain, DrainParts, note_refused
from consumer.log.spool.gate import Gate
from consumer.log.spool.holding import Holding, OpenSpool
from consumer.log.spool.spool import SpoolLimits
from consumer.ports import Clock, Position, Publisher
from consumer.telemetry import Metrics

_LOOK_EVERY_S = 1.0
"""For wishes of operators, and for a Kafka that is back while nothing waits."""

_PING_TIMEOUT_S = 2.0


class PingedPublisher(Publisher, Protocol):
    """Kafka, as far as the spool knows it."""

    async def ping(self) -> None:
        """Return when a record would be taken now; else raise LogUnavailable."""
        ...


@dataclass(frozen=True, slots=True)
class Lanes:
    """Kafka for live events, and the backlog's own way beside it, with permits of its own."""

    live: PingedPublisher
    drain: Publisher


class SpooledPublisher:
    """
    A `consumer.ports.Publisher`: to Kafka, or to the spool while Kafka does not answer.

    The position of a record that waits has partition -1. `run` must run beside it: without
    it nothing that waits is sent.
    """

    def __init__(self, lanes: Lanes, gate: Gate, holding: Holding, parts: DrainParts) -> None:
        self._kafka = lanes.live
        self._gate = gate
        self._metrics = parts.metrics
        self._holding = holding
        self._own = holding.all[0].spool
        self._drains = {opened: Drain(opened.spool, parts) for opened in holding.all}
        self._measure(parts.clock)

    @classmethod
    @asynccontextmanager
    async def open(
        cls, lanes: Lanes, folder: Path, *, clock: Clock, limits: SpoolLimits, metrics: Metrics
    ) -> AsyncIterator[Self]:
        """
        Open on the spools in `folder`; Kafka may be away.

        The first spool that nobody holds is taken as this process's own, or a new one made;
        every other free one is adopted, drained and then removed. Raises LogUnavailable, and
        ConfigError for files written by a newer version.
        """
        gate = Gate()
        parts = DrainParts(lanes.drain, gate, clock, metrics, limits.stop_budget)
        async with Holding.of_free(folder, clock=clock, limits=limits) as holding:
            if not holding.all:
                await holding.make_one()
            yield cls(lanes, gate, holding, parts)

    # ------------------------------------------------------------ appending

    async def append(self, record: NewRecord) -> Position:
        """
        See `consumer.ports.Publisher`. Raises LogUnavailable when neither Kafka nor the spool
        takes it.
        """
        course = self._gate.course(record.topic)
        if not course.is_direct:
            return await self._append_while_away(record)
        try:
            position = await self._kafka.append(record)
        except LogUnavailable as exc:
            self._gate.missed(record.topic, course.epoch, exc.problem)
            return await self._spool(record, exc.problem)
        except RecordRefused as exc:
            return await self._refuse(record, exc)
        self._gate.took(record.topic)
        return position

    async def _refuse(self, record: NewRecord, error: RecordRefused) -> Position:
        """Keep a dead letter that Kafka refuses; any other record is the caller's to judge."""
        if record.topic is not Topic.DEAD_LETTERS:
            raise error
        position = await self._own.refuse(record, error.problem)
        note_refused(record, error.problem)
        return position

    async def _spool(self, record: NewRecord, problem: str) -> Position:
        try:
            position = await self._own.append(record)
        except LogUnavailable as exc:
            raise LogUnavailable(f"Kafka: {problem}; spool: {exc.problem}") from exc
        self._metrics.spooled.inc()
        return position

    async def _append_while_away(self, record: NewRecord) -> Position:
        """Put the record into the spool; where that is full or broken, Kafka may be back."""
        try:
            return await self._spool(record, self._problem_of(record.topic))
        except LogUnavailable as exc:
            async with self._gate.turn_if_free(record.topic) as may_try:
                if not may_try:
                    raise
                return await self._try(record, exc)

    async def _try(self, record: NewRecord, full: LogUnavailable) -> Position:
        try:
            position = await self._kafka.append(record)
        except LogUnavailable as exc:
            self._gate.failed(record.topic, exc.problem)
            raise full from exc
        except RecordRefused as exc:
            return await self._refuse(record, exc)
        self._gate.took(record.topic)
        return position

    def _problem_of(self, topic: Topic) -> str:
        return dict(self._gate.away()).get(topic, "")

    # ------------------------------------------------------------ what others see

    async def ping(self) -> None:
        """Return when a delivery would be taken now, by either; else raise LogUnavailable."""
        if self._gate.course(Topic.COMPLETIONS).is_direct:
            with suppress(LogUnavailable):
                return await self._kafka.ping()
        try:
            await self._own.ping()
        except LogUnavailable as exc:
            problem = self._problem_of(Topic.COMPLETIONS) or "does not answer"
            raise LogUnavailable(f"Kafka: {problem}; spool: {exc.problem}") from exc
        return None

    @property
    def waiting(self) -> int:
        """How many records wait in this process's spools."""
        return sum(opened.spool.waiting.total() for opened in self._holding.all)

    @property
    def refused(self) -> int:
        """How many records Kafka refused, dead letters and all."""
        return sum(opened.spool.refused_count for opened in self._holding.all)

    def describes(self) -> Sequence[str]:
        """Return what an operator should know, one sentence each."""
        said = [
            f"Kafka does not take {topic}: {problem or 'does not answer'}; events go to the spool"
            for topic, problem in self._gate.away()
        ]
        if waiting := self.waiting:
            said.append(f"{waiting} events wait in the spool")
        if refused := self.refused:
            said.append(f"{refused} records are refused by Kafka: see `fal-consumer spool show`")
        return said

    def _measure(self, clock: Clock) -> None:
        def oldest_s() -> float:
            found = [at for drain in self._drains.values() if (at := drain.oldest_at) is not None]
            return (clock() - min(found)) / timedelta(seconds=1) if found else 0.0

        def size() -> int:
            return sum(opened.spool.waiting_bytes for opened in self._holding.all)

        metrics = self._metrics
        metrics.spool_records.set_function(lambda: self.waiting)
        metrics.spool_refused_records.set_function(lambda: self.refused)
        metrics.spool_bytes.set_function(size)
        metrics.spool_oldest_seconds.set_function(oldest_s)

    # ------------------------------------------------------------ draining

    async def run(self, stop: asyncio.Event) -> None:
        """Send what waits until `stop`; then end within the stop budget, Kafka or no Kafka."""
        async with asyncio.TaskGroup() as tasks:
            looking = tasks.create_task(self._look_on())
            running = [tasks.create_task(self._empty(opened, stop)) for opened in self._holding.all]
            await stop.wait()
            await asyncio.wait(running)
            looking.cancel()

    async def _empty(self, opened: OpenSpool, stop: asyncio.Event) -> None:
        """Drain a spool; let an adopted one go when nothing is left in it."""
        spool, drain = opened.spool, self._drains[opened]
        if spool is self._own:
            await drain.run(stop)
            return
        await drain.run(stop, is_over=lambda: spool.is_empty)
        if not stop.is_set():
            del self._drains[opened]
            await self._holding.let_go(opened)

    async def _look_on(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_EVERY_S)
            for opened in tuple(self._holding.all):
                with suppress(LogUnavailable):
                    await opened.spool.fulfil_retry()
            await self._maybe_return()

    async def _maybe_return(self) -> None:
        """Let new events go to Kafka again where nothing waits that could find out."""
        idle = [
            topic
            for topic, _ in self._gate.away()
            if not any(o.spool.waiting[topic] for o in self._holding.all)
        ]
        if not idle:
            return
        with suppress(LogUnavailable, TimeoutError):
            async with asyncio.timeout(_PING_TIMEOUT_S):
                await self._kafka.ping()
            for topic in idle:
                self._gate.answered(topic)
