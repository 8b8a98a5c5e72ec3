"""
What is done on a schedule: due rows of the ledger, claimed with leases.

`run_sweep` is the loop; each module is one round. They know `core` and `ports`, never a
backend.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import TypeVar

from consumer.errors import ConsumerError, Unavailable
from consumer.telemetry import get_logger

_log = get_logger()

Round = Callable[[], Awaitable[int]]
"""One round of a sweep; returns how many rows it took, so that a full round is followed at once."""

_Item = TypeVar("_Item")
_Answer = TypeVar("_Answer")

_MAX_PAUSE = timedelta(seconds=60)
_STOP_BUDGET = timedelta(seconds=5)
# What a round may still take after the stop; then it is cut, which a sweep survives like any
# other death.


async def run_sweep(  # noqa: PLR0913  a loop with its round and four spans
    name: str,
    sweep_round: Round,
    stop: asyncio.Event,
    *,
    every: timedelta,
    batch: int,
    stop_budget: timedelta = _STOP_BUDGET,
) -> None:
    """
    Run rounds until `stop`: at once after a full one, else after `every`; slower while it fails.

    The stop is prompt: a pause ends at once, a round in hand has `stop_budget`.
    """
    failures = 0
    while not stop.is_set():
        try:
            taken = await _run_round(sweep_round, stop, stop_budget)
            failures = 0
        except ConsumerError as exc:
            failures += 1
            taken = 0
            level = _log.warning if isinstance(exc, Unavailable) else _log.error
            level("sweep.failed", sweep=name, error=exc.code, problem=str(exc))
        except Exception as exc:  # noqa: BLE001  the outermost loop of a sweep: log, go on slower
            failures += 1
            taken = 0
            _log.error("invariant.broken", sweep=name, error=type(exc).__name__, exc_info=exc)
        if taken >= batch:
            continue
        pause = min(every * 2 ** min(failures, 10), max(_MAX_PAUSE, every))
        await _wait(stop, pause)


async def each(
    step: Callable[[_Item], Awaitable[_Answer]], items: Sequence[_Item], *, at_once: int
) -> list[_Answer]:
    """Run `step` on every item, `at_once` at a time; only then raise the first error there was."""
    slots = asyncio.Semaphore(at_once)

    async def within(item: _Item) -> _Answer:
        async with slots:
            return await step(item)

    answers = await asyncio.gather(*(within(item) for item in items), return_exceptions=True)
    good: list[_Answer] = []
    for answer in answers:
        if isinstance(answer, BaseException):
            raise answer
        good.append(answer)
    return good


async def _run_round(sweep_round: Round, stop: asyncio.Event, budget: timedelta) -> int:
    """Return what the round took; 0 when it was cut, its budget spent after the stop."""
    running = asyncio.ensure_future(sweep_round())
    stopped = asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait({running, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if not running.done():
            await asyncio.wait({running}, timeout=budget.total_seconds())
        return running.result() if running.done() else 0
    finally:
        running.cancel()
        stopped.cancel()
        await asyncio.gather(running, stopped, return_exceptions=True)


async def _wait(stop: asyncio.Event, pause: timedelta) -> None:
    try:
        async with asyncio.timeout(pause.total_seconds()):
            await stop.wait()
    except TimeoutError:
        return
