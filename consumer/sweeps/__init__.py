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


async def run_sweep(
    name: str, sweep_round: Round, stop: asyncio.Event, *, every: timedelta, batch: int
) -> None:
    """
    Run rounds until `stop`: at once after a full one, else after `every`; slower while it fails.
    """
    failures = 0
    while not stop.is_set():
        try:
            taken = await sweep_round()
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


async def _wait(stop: asyncio.Event, pause: timedelta) -> None:
    try:
        async with asyncio.timeout(pause.total_seconds()):
            await stop.wait()
    except TimeoutError:
        return
