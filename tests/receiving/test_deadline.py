"""The hot path's deadline does what `asyncio.timeout_at` does."""

import asyncio

import pytest

from consumer.receiving.deadline import in_time


def soon():
    return asyncio.get_running_loop().time() + 0.01


def much_later():
    return asyncio.get_running_loop().time() + 60


async def value():
    return 7


async def test_work_in_time_returns_its_value():
    """Work that ends in time is as if there were no deadline."""
    assert 7 == await in_time(value(), much_later())


async def test_late_work_is_cancelled():
    """Work that is late is cancelled, and TimeoutError says so; the task goes on uncancelled."""
    with pytest.raises(TimeoutError):
        await in_time(asyncio.Event().wait(), soon())

    assert 0 == asyncio.current_task().cancelling()


async def test_a_cancellation_from_outside_stays_one():
    """A task that is cancelled from outside ends cancelled, not late."""
    task = asyncio.create_task(in_time(asyncio.Event().wait(), much_later()))
    await asyncio.sleep(0)
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task


async def test_an_error_of_the_work_passes():
    """What the work raises comes out as it is."""

    async def fails():
        raise KeyError

    with pytest.raises(KeyError):
        await in_time(fails(), much_later())
