"""
Putting copies back on a log, so many a second, and telling it as facts.

Each copy is durable before it counts. What was asked for is a fact before the first copy,
what was done is one after. Twice is harmless, so that a replay that was cut is simply asked
for again.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass
from typing import Any

from consumer.core.event import NewRecord, encode
from consumer.core.fact import FactName
from consumer.core.replay import Replay, marked, replay_event
from consumer.errors import LogUnavailable, RecordRefused
from consumer.ports import Clock, Log, Position
from consumer.replaying.spans import Span, Tally, chosen, place_text, plain

_TRIES = 4
_TELL_BUDGET_S = 5.0

Shown = Callable[[Tally], None]


@dataclass(frozen=True, slots=True)
class Copy:
    """A record to put back, where it stands now, and its size."""

    of: str
    record: NewRecord


@dataclass(frozen=True, slots=True)
class Pace:
    """
    How fast records are put back: so many a second, and together; the first pause before a log
    that does not answer is asked again, which doubles.
    """

    per_second: int
    max_at_once: int = 100
    max_bytes_at_once: int = 16 * 1024 * 1024
    first_pause_s: float = 0.5


class Replayer:
    """
    Puts records back on a log, at its pace, and tells what it did as facts.

    `tally` is right at any moment; `shown` hears of it after every few records.
    """

    def __init__(
        self, log: Log, by: Replay, *, clock: Clock, pace: Pace, shown: Shown = lambda _: None
    ) -> None:
        self._log = log
        self._by = by
        self._clock = clock
        self._pace = pace
        self._shown = shown
        self._parts = 0
        self._due = 0.0
        self.tally = Tally()

    async def replay_span(self, span: Span, *, handler: str = "") -> None:
        """
        Put back the records of a span, for one handler or for all that read the topic.

        Per key in order. Raises LogUnavailable; what was put back until then is in `tally`.
        """
        await self.ask({**span.describes(), "handler": handler or None})
        try:
            async with aclosing(chosen(self._log, span, self.tally)) as records:
                waiting: list[Copy] = []
                async for record in records:
                    of = place_text(record.position)
                    copy = Copy(of, marked(plain(record), self._by, of=of, handler=handler))
                    if self.is_full(waiting, copy):
                        await self.put_back(waiting)
                        waiting = []
                    waiting.append(copy)
                await self.put_back(waiting)
        except BaseException:  # on its way out it tells how far it came, if it still can
            with suppress(LogUnavailable):
                await self.tell({})
            raise
        await self.tell({})

    async def ask(self, what: Mapping[str, Any]) -> None:
        """Tell, before anything is put back, what was asked for and why. Raises LogUnavailable."""
        await self._publish(FactName.REPLAY_ASKED, what, 0)

    async def tell(self, what: Mapping[str, Any]) -> None:
        """Tell what was put back by now. Raises LogUnavailable."""
        counts = {
            "records": self.tally.replayed,
            "were_replays": self.tally.were_replays,
            "refused": len(self.tally.refused),
        }
        self._parts += 1
        try:
            async with asyncio.timeout(_TELL_BUDGET_S):
                await self._publish(FactName.REPLAYED, {**counts, **what}, self._parts)
        except TimeoutError as exc:
            raise LogUnavailable("the log took too long") from exc

    async def put_back(self, copies: Sequence[Copy]) -> Sequence[str]:
        """
        Make these copies durable and return where those stand that the log took.

        A log that does not answer is asked again for a while; then raises LogUnavailable.
        """
        if not copies:
            return []
        await self._wait_for_turn(len(copies))
        refused: dict[str, str] = {}
        left = copies
        for attempt in range(_TRIES):
            left, problem = await self._try(left, refused)
            if problem is None:
                break
            if attempt == _TRIES - 1:
                raise problem
            await asyncio.sleep(self._pace.first_pause_s * 2**attempt)
        self.tally.refused += [f"{of}: {why}" for of, why in refused.items()]
        done = [copy.of for copy in copies if copy.of not in refused]
        self.tally.replayed += len(done)
        self._shown(self.tally)
        return done

    async def _try(
        self, copies: Sequence[Copy], refused: dict[str, str]
    ) -> tuple[Sequence[Copy], LogUnavailable | None]:
        """Append copies together; return what must be tried again, whole keys, and why."""
        # Started in turn, they keep their order per key.
        answers: list[Position | BaseException] = await asyncio.gather(
            *(self._log.append(copy.record) for copy in copies), return_exceptions=True
        )
        problem, keys, again = None, set[str](), []
        for copy, answer in zip(copies, answers, strict=True):
            if isinstance(answer, RecordRefused):
                refused[copy.of] = str(answer)
                continue
            if isinstance(answer, LogUnavailable):
                problem = answer
                keys.add(copy.record.key)
            elif isinstance(answer, BaseException):
                raise answer
            if copy.record.key in keys:
                again.append(copy)
        return again, problem

    def is_full(self, waiting: Sequence[Copy], one_more: Copy) -> bool:
        """Tell whether what waits must be put back before one more is taken in hand."""
        most = max(1, min(self._pace.max_at_once, self._pace.per_second // 5))
        size = sum(copy.record.size for copy in waiting) + one_more.record.size
        return bool(waiting) and (len(waiting) >= most or size > self._pace.max_bytes_at_once)

    async def _wait_for_turn(self, count: int) -> None:
        now = asyncio.get_running_loop().time()
        await asyncio.sleep(max(0.0, self._due - now))
        self._due = max(self._due, now) + count / self._pace.per_second

    async def _publish(self, name: FactName, detail: Mapping[str, Any], part: int) -> None:
        event = replay_event(name, self._by, at=self._clock(), detail=detail, part=part)
        await self._log.append(encode(event))
