"""Connections at the edge: which never end, how many there may be, and what stops."""

import asyncio
from datetime import timedelta

import pytest

from consumer.testing.deliveries import REQUEST_ID
from consumer.testing.receiving import Setting, as_request, running_receiver, status_of
from tests.receiving.edge import BODY, DEADLINE_S, POST, limited, opened

# ---------------------------------------------------------------- deadlines and senders that leave


@pytest.mark.parametrize("begun", [b"", b"POST", POST])
async def test_a_head_that_does_not_end_closes_the_connection(begun):
    """A connection whose request headers are not whole in time is closed without an answer."""
    setting = Setting()
    hasty = limited(head_deadline=timedelta(milliseconds=50))

    async with running_receiver(setting, hasty) as (caller, _):
        assert b"" == await caller.exchange(begun)


async def test_a_second_head_that_does_not_end_closes_the_connection():
    """The clock of a request's headers starts anew on a kept connection."""
    setting = Setting()
    hasty = limited(head_deadline=timedelta(milliseconds=50))
    good = as_request(BODY, setting.headers(REQUEST_ID, BODY), closes=False)

    async with (
        asyncio.timeout(DEADLINE_S),
        running_receiver(setting, hasty) as (caller, _),
    ):
        reader, writer = await opened(caller)
        writer.write(good)
        assert 200 == status_of(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"POST /webh")
        assert b"" == await reader.read()
        writer.close()


async def test_an_idle_connection_is_closed():
    """A kept connection without a request is closed after its idle time."""
    setting = Setting()
    hasty = limited(idle_deadline=timedelta(milliseconds=50))
    good = as_request(BODY, setting.headers(REQUEST_ID, BODY), closes=False)

    async with running_receiver(setting, hasty) as (caller, _):
        assert 200 == status_of(await caller.exchange(good))


async def test_a_slow_body_is_400():
    """A body that is not whole in time is refused, and the connection closed."""
    setting = Setting()
    hasty = limited(body_deadline=timedelta(milliseconds=50))
    raw = as_request(BODY, setting.headers(REQUEST_ID, BODY), closes=False)

    async with running_receiver(setting, hasty) as (caller, _):
        assert 400 == status_of(await caller.exchange(raw[:-10]))


async def test_a_sender_that_leaves_in_the_middle_is_only_counted():
    """A body cut short by its sender is no delivery, and no error of ours."""
    setting = Setting()
    raw = as_request(BODY, setting.headers(REQUEST_ID, BODY))

    async with running_receiver(setting, limited()) as (caller, _):
        _, writer = await opened(caller)
        writer.write(raw[:-10])
        await writer.drain()
        writer.close()
        await writer.wait_closed()
        await caller.post(BODY, setting.headers(REQUEST_ID, BODY))

    assert ["delivery.accepted"] == [event for _, event, _ in setting.lines.told]


async def test_the_connection_that_waits_longest_gives_way():
    """Over the limit of connections the one that waits longest gives way to the newcomer."""
    setting = Setting()
    few = limited(max_connections=8)

    async with (
        asyncio.timeout(DEADLINE_S),
        running_receiver(setting, few) as (caller, _),
    ):
        silent = [await opened(caller) for _ in range(8)]
        status = await caller.post(BODY, setting.headers(REQUEST_ID, BODY))
        closed = await silent[0][0].read()
        for _, writer in silent:
            writer.close()

    assert (200, b"") == (status, closed)


# ---------------------------------------------------------------- while a delivery is published


class GatedLog:
    """A publisher that takes nothing before `opens` is set."""

    def __init__(self, log):
        self.log = log
        self.opens = asyncio.Event()
        self.waiting = 0
        self.came = asyncio.Event()

    async def append(self, record):
        self.waiting += 1
        self.came.set()
        await self.opens.wait()
        return await self.log.append(record)


async def test_a_delivery_is_published_although_its_sender_left():
    """A sender that closes while we publish does not stop the publishing."""
    setting = Setting()
    gate = GatedLog(setting.log)
    raw = as_request(BODY, setting.headers(REQUEST_ID, BODY))

    async with (
        asyncio.timeout(DEADLINE_S),
        running_receiver(setting, limited(), gate) as (caller, _),
    ):
        _, writer = await opened(caller)
        writer.write(raw)
        await gate.came.wait()
        writer.transport.abort()
        gate.opens.set()

    assert [BODY] == [record.value for record in setting.log.records()]


async def test_bodies_in_memory_are_bounded_together():
    """When all bodies together are over their limit the next one is 503, and then there is room."""
    setting = Setting()
    gate = GatedLog(setting.log)
    narrow = limited(max_reading_bytes=len(BODY) + 10)
    raw = as_request(BODY, setting.headers(REQUEST_ID, BODY))

    async with (
        asyncio.timeout(DEADLINE_S),
        running_receiver(setting, narrow, gate) as (caller, _),
    ):
        held = asyncio.create_task(caller.exchange(raw))
        await gate.came.wait()
        refused = await caller.post(BODY, setting.headers(REQUEST_ID, BODY))
        gate.opens.set()
        first = status_of(await held)
        after = await caller.post(BODY, setting.headers(REQUEST_ID, BODY))

    assert (503, 200, 200) == (refused, first, after)


async def test_publishing_is_bounded_by_count():
    """A delivery beyond the publish slots is 503 at once."""
    setting = Setting()
    gate = GatedLog(setting.log)
    raw = as_request(BODY, setting.headers(REQUEST_ID, BODY))

    async with (
        asyncio.timeout(DEADLINE_S),
        running_receiver(setting, limited(max_publishing=1), gate) as (caller, _),
    ):
        held = asyncio.create_task(caller.exchange(raw))
        await gate.came.wait()
        other = await caller.post(BODY, setting.headers(REQUEST_ID, BODY), path="/webhooks/fal/x")
        gate.opens.set()
        first = status_of(await held)

    assert (200, 503) == (first, other)


async def test_a_log_that_hangs_is_503_in_time():
    """A log that never answers costs the publish deadline, not the sender's patience."""
    setting = Setting()
    gate = GatedLog(setting.log)
    hasty = limited(publish_deadline=timedelta(milliseconds=50))

    async with running_receiver(setting, hasty, gate) as (caller, _):
        assert 503 == await caller.post(BODY, setting.headers(REQUEST_ID, BODY))


# ---------------------------------------------------------------- stopping


async def test_stopping_answers_what_is_in_hand():
    """A stop waits for the delivery in hand, closes idle connections, and takes no new one."""
    setting = Setting()
    gate = GatedLog(setting.log)
    raw = as_request(BODY, setting.headers(REQUEST_ID, BODY), closes=False)

    async with asyncio.timeout(DEADLINE_S):
        async with running_receiver(setting, limited(), gate) as (caller, listener):
            idle, idle_writer = await opened(caller)
            reader, writer = await opened(caller)
            writer.write(raw)
            await gate.came.wait()
            asyncio.get_running_loop().call_soon(gate.opens.set)
        answer = await reader.read()
        assert (200, b"") == (status_of(answer), await idle.read())
        assert b"Connection: close" in answer
        with pytest.raises(OSError, match=r"refused|Connect"):
            await asyncio.open_connection(listener.host, listener.port)
        writer.close()
        idle_writer.close()


async def test_stopping_gives_up_past_the_drain_deadline():
    """A delivery that the log never takes does not hold up the stop for ever."""
    setting = Setting()
    gate = GatedLog(setting.log)
    hasty = limited(drain_deadline=timedelta(milliseconds=50))
    raw = as_request(BODY, setting.headers(REQUEST_ID, BODY))

    async with asyncio.timeout(DEADLINE_S):
        async with running_receiver(setting, hasty, gate) as (caller, _):
            reader, writer = await opened(caller)
            writer.write(raw)
            await gate.came.wait()
        assert b"" == await reader.read()
        writer.close()
