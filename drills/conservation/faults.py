"""
The faults, each an action on a running stage that ends when everything runs again.

What a fault leaves behind (a backlog, a rebalance) is for those who come after it.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from drills.load import Load
from drills.stage import MIB, KafkaStage, Timeline, until

_PATIENCE_S = 120.0


@dataclass(frozen=True)
class Spans:
    """How long each fault lasts, in seconds."""

    down_s: float = 10.0
    pause_s: float = 75.0
    full_s: float = 10.0


@dataclass
class Ground:
    """What faults act on. `disk` is where the receiver's small file system is, if it has one."""

    stage: KafkaStage
    load: Load
    spans: Spans
    say: Timeline
    random: random.Random
    disk: Path | None

    async def until(self, what: str, is_so: Callable[[], Awaitable[bool]]) -> None:
        """Wait until it is so, and say how long that took."""
        began = self.say.now_s
        try:
            await until(is_so, within_s=_PATIENCE_S)
        except TimeoutError:
            raise AssertionError(f"not in {_PATIENCE_S:g} s: {what}") from None
        self.say(f"{what} after {self.say.now_s - began:.1f} s")


Fault = Callable[[Ground], Awaitable[None]]


async def kill_a_broker(on: Ground) -> None:
    """One broker of three by SIGKILL, away for a while, and back."""
    broker = on.random.choice(on.stage.cluster.brokers)
    await broker.kill()
    await asyncio.sleep(on.spans.down_s)
    await broker.start()
    await on.until(f"broker {broker.node} is in sync", on.stage.is_in_sync)


async def kill_every_broker(on: Ground) -> None:
    """All brokers at once by SIGKILL; the spool takes over until they are back."""
    await _kill_brokers(on)
    await asyncio.sleep(on.spans.down_s)
    await _start_brokers(on)


async def pause_a_broker(on: Ground) -> None:
    """One broker stands still (SIGSTOP) for longer than every deadline, then goes on."""
    broker = on.random.choice(on.stage.cluster.brokers)
    broker.pause()
    try:
        await asyncio.sleep(on.spans.pause_s)
    finally:
        broker.resume()
    await on.until(f"broker {broker.node} is in sync", on.stage.is_in_sync)


async def kill_the_receiver(on: Ground) -> None:
    """The receiver by SIGKILL, amid deliveries, and started again."""
    await on.stage.receiver.kill()
    await on.stage.receiver.start()
    await on.until("the receiver accepts", lambda: _accepts(on))


async def kill_the_receiver_over_its_spool(on: Ground) -> None:
    """No broker, deliveries in the spool, SIGKILL; it starts without Kafka, and has them still."""
    await _kill_brokers(on)
    await asyncio.sleep(on.spans.down_s / 2)
    await on.stage.receiver.kill()
    await on.stage.receiver.start()
    await on.until("the receiver accepts without Kafka", lambda: _accepts(on))
    await asyncio.sleep(on.spans.down_s / 2)
    await _start_brokers(on)


async def kill_a_worker(on: Ground) -> None:
    """One worker by SIGKILL, amid records, and started again under the same name."""
    worker = on.random.choice(on.stage.workers)
    await worker.kill()
    await asyncio.sleep(on.spans.down_s / 2)
    await worker.start()


async def force_a_rebalance(on: Ground) -> None:
    """A third worker joins, takes its share, and leaves."""
    third = on.stage.new_worker()
    await third.start()
    await asyncio.sleep(on.spans.down_s)
    code = await third.stop()
    assert code == 0, third.last_words()


async def fill_the_disk(on: Ground) -> None:
    """No broker and no room on the receiver's disk: 503 until there is, and never a false 200."""
    if on.disk is None:
        raise ValueError("the receiver has no small disk")
    await _kill_brokers(on)
    ballast = on.disk / "ballast"
    fill(ballast)
    before = on.load.posted.answers[503]

    async def is_refused() -> bool:
        # What the log's files have room for, it may still take.
        fill(ballast)
        return on.load.posted.answers[503] > before

    try:
        await on.until("the receiver refuses", is_refused)
        await asyncio.sleep(on.spans.full_s)
    finally:
        ballast.unlink()
    on.say(f"{on.load.posted.answers[503] - before} answers 503")
    await on.until("the receiver accepts without Kafka", lambda: _accepts(on))
    await _start_brokers(on)


FAULTS: Mapping[str, Fault] = {
    "a rebalance is forced": force_a_rebalance,
    "a broker is killed": kill_a_broker,
    "a broker is paused": pause_a_broker,
    "the receiver is killed": kill_the_receiver,
    "all brokers are killed": kill_every_broker,
    "the receiver is killed over its spool": kill_the_receiver_over_its_spool,
    "a worker is killed": kill_a_worker,
    "the disk of the spool fills": fill_the_disk,
}
"""Every fault by what happens, in the order in which they come."""

NEEDS_DISK = "the disk of the spool fills"


def fill(ballast: Path) -> None:
    """Append to a file until nothing fits any more."""
    with ballast.open("ab", buffering=0) as file:
        size = MIB
        while size:
            try:
                file.write(b"\0" * size)
            except OSError:
                size //= 2


async def _kill_brokers(on: Ground) -> None:
    async with asyncio.TaskGroup() as tasks:
        for broker in on.stage.cluster.brokers:
            tasks.create_task(broker.kill())


async def _start_brokers(on: Ground) -> None:
    async with asyncio.TaskGroup() as tasks:
        for broker in on.stage.cluster.brokers:
            tasks.create_task(broker.start())
    await on.until("all brokers are in sync", on.stage.is_in_sync)


async def _accepts(on: Ground) -> bool:
    return await on.load.post_one() == 200
