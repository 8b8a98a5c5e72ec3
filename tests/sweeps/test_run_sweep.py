"""The loop of a sweep: how often it runs, what an error does to it, and how it stops."""

import asyncio
from datetime import timedelta

import pytest

from consumer.errors import FalUnavailable, InvariantBroken
from consumer.sweeps import each, run_sweep

SOON_S = 30
QUICK = timedelta(milliseconds=1)
HOUR = timedelta(hours=1)


class Rounds:
    """Rounds that end as the test says, one after another; after the last it stops the loop."""

    def __init__(self, *ends):
        self.ends = list(ends)
        self.begun = asyncio.Event()
        self.stop = asyncio.Event()
        self.times = []

    async def __call__(self) -> int:
        self.times.append(asyncio.get_running_loop().time())
        self.begun.set()
        end = self.ends.pop(0)
        if not self.ends:
            self.stop.set()
        if isinstance(end, Exception):
            raise end
        return end

    @property
    def gaps(self) -> list[float]:
        """The pauses between rounds, in seconds."""
        return [after - before for before, after in zip(self.times, self.times[1:], strict=False)]


async def run(rounds: Rounds, *, every: timedelta, batch: int = 10) -> None:
    async with asyncio.timeout(SOON_S):
        await run_sweep("tested", rounds, rounds.stop, every=every, batch=batch)


async def test_a_full_round_is_followed_at_once():
    """After a full round there is no pause: more may be waiting."""
    rounds = Rounds(10, 10, 0)

    await run(rounds, every=HOUR)

    assert 3 == len(rounds.times)


@pytest.mark.parametrize("error", [FalUnavailable("down"), InvariantBroken("ours"), KeyError("x")])
async def test_an_error_slows_the_sweep_down_and_ends_nothing(error):
    """Each error in a row doubles the pause; a good round ends that."""
    rounds = Rounds(error, error, error, 0, 0)

    await run(rounds, every=timedelta(milliseconds=20))

    first, second, third, after = rounds.gaps
    assert (True, True, True) == (first >= 0.039, second >= 0.079, third >= 0.159)
    assert after < third


async def test_a_pause_ends_at_the_stop():
    """A stop ends a pause at once."""
    rounds, stop = Rounds(0, 0), asyncio.Event()
    running = asyncio.create_task(run_sweep("tested", rounds, stop, every=HOUR, batch=10))
    await rounds.begun.wait()

    stop.set()
    async with asyncio.timeout(SOON_S):
        await running

    assert 1 == len(rounds.times)


async def test_a_round_in_hand_is_finished_within_the_budget():
    """A stop lets the round in hand end by itself."""
    stop, gate, ended = asyncio.Event(), asyncio.Event(), []

    async def slow() -> int:
        stop.set()
        await gate.wait()
        ended.append(True)
        return 0

    running = asyncio.create_task(run_sweep("tested", slow, stop, every=QUICK, batch=1))
    await stop.wait()
    gate.set()
    async with asyncio.timeout(SOON_S):
        await running

    assert [True] == ended


async def test_a_round_past_the_budget_is_cut():
    """A round that does not end after the stop is cancelled, and awaited."""
    stop, cut = asyncio.Event(), []

    async def hangs() -> int:
        stop.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cut.append(True)
            raise
        return 0

    async with asyncio.timeout(SOON_S):
        await run_sweep("tested", hangs, stop, every=QUICK, batch=1, stop_budget=QUICK)

    assert [True] == cut


async def test_cancelling_the_loop_cancels_its_round():
    """A loop that is cancelled leaves no round running behind."""
    begun, cut = asyncio.Event(), []

    async def hangs() -> int:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            cut.append(True)
        return 0

    running = asyncio.create_task(run_sweep("tested", hangs, asyncio.Event(), every=QUICK, batch=1))
    await begun.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running

    assert [True] == cut


async def test_each_item_has_its_turn_before_an_error_is_raised():
    """An error of one item is raised only after all the others were tried."""
    done = []

    async def step(item: int) -> int:
        if item == 0:
            raise FalUnavailable("down")
        done.append(item)
        return item

    with pytest.raises(FalUnavailable):
        await each(step, range(20), at_once=3)

    assert list(range(1, 20)) == sorted(done)


async def test_no_more_run_at_once_than_allowed():
    """Items are tried `at_once` at a time."""
    running, most = 0, 0

    async def step(item: int) -> int:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1
        return item

    assert list(range(20)) == await each(step, range(20), at_once=4)
    assert 4 == most
