"""The hot path's deadlines do what `asyncio.timeout_at` does, for one wait and for many."""

import asyncio

import pytest

from consumer.deadlines import SharedDeadline, Wait, in_time


async def test_work_in_time_returns():
    """What is done in time comes back, errors too."""
    deadline = SharedDeadline(60)

    async def broken():
        raise LookupError("broken")

    assert "done" == await deadline.in_time(Wait(), asyncio.sleep(0, "done"))
    with pytest.raises(LookupError):
        await deadline.in_time(Wait(), broken())


async def test_late_work_is_cut():
    """What takes too long is cancelled, each wait at its own time and no other with it."""
    deadline = SharedDeadline(0.05)
    never = asyncio.get_running_loop().create_future()
    started = asyncio.get_running_loop().time()
    waits = [asyncio.create_task(deadline.in_time(Wait(), asyncio.shield(never)))]
    await asyncio.sleep(0.03)
    waits.append(asyncio.create_task(deadline.in_time(Wait(), asyncio.shield(never))))

    done, _ = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    assert {waits[0]} == done
    await asyncio.wait(waits)

    assert asyncio.get_running_loop().time() - started >= 0.08
    for wait in waits:
        with pytest.raises(TimeoutError):
            await wait
    never.cancel()


async def test_a_cancellation_from_outside_stays_one():
    """Who is cancelled by somebody else sees that, not a timeout."""
    deadline = SharedDeadline(60)
    waiting = asyncio.create_task(deadline.in_time(Wait(), asyncio.Event().wait()))
    await asyncio.sleep(0)
    waiting.cancel()

    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_both_at_once_is_a_cancellation():
    """Cut and cancelled in the same moment: the cancellation counts."""
    deadline = SharedDeadline(0.02)
    waiting = asyncio.create_task(deadline.in_time(Wait(), _cancels_its_caller()))

    with pytest.raises(asyncio.CancelledError):
        await waiting


async def _cancels_its_caller():
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        raise


def soon():
    return asyncio.get_running_loop().time() + 0.01


def much_later():
    return asyncio.get_running_loop().time() + 60


async def value():
    return 7


async def test_a_single_wait_returns_its_value():
    """Work that ends in time is as if there were no deadline."""
    assert 7 == await in_time(value(), much_later())


async def test_a_single_late_wait_is_cancelled():
    """Work that is late is cancelled, and TimeoutError says so; the task goes on uncancelled."""
    with pytest.raises(TimeoutError):
        await in_time(asyncio.Event().wait(), soon())

    assert 0 == asyncio.current_task().cancelling()


async def test_a_single_wait_that_is_cancelled_stays_so():
    """A task that is cancelled from outside ends cancelled, not late."""
    task = asyncio.create_task(in_time(asyncio.Event().wait(), much_later()))
    await asyncio.sleep(0)
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task


async def test_an_error_of_a_single_wait_passes():
    """What the work raises comes out as it is."""

    async def fails():
        raise KeyError

    with pytest.raises(KeyError):
        await in_time(fails(), much_later())
