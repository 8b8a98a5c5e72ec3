"""Turns at trying Kafka, shared by everybody in the process."""

import asyncio

import pytest

from consumer.core.event import Topic
from consumer.log.spool.gate import Gate

TOPIC = Topic.COMPLETIONS


@pytest.fixture
async def gate():
    return Gate()


def turn_away(gate) -> None:
    gate.missed(TOPIC, gate.course(TOPIC).epoch, "no answer")


async def hold_turn(gate, running: list[int], go: asyncio.Event) -> None:
    async with gate.turn(TOPIC):
        running.append(1)
        await go.wait()


async def settle() -> None:
    """Let everything that is ready run."""
    for _ in range(50):
        await asyncio.sleep(0)


async def test_a_direct_topic_needs_no_turn(gate):
    """While Kafka takes a topic, any number may send."""
    running, go = [], asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        for _ in range(100):
            tasks.create_task(hold_turn(gate, running, go))
        await settle()
        assert 100 == len(running)
        go.set()


async def test_away_a_few_try_and_the_return_frees_all(gate):
    """While away four at a time; when the topic is back, everybody who waits."""
    turn_away(gate)
    running, go = [], asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        for _ in range(100):
            tasks.create_task(hold_turn(gate, running, go))
        await settle()
        assert 4 == len(running)
        gate.answered(TOPIC)
        go.set()
    assert 100 == len(running)


async def test_other_topics_are_not_held(gate):
    """One topic that is away holds no other."""
    turn_away(gate)

    assert gate.course(Topic.RESULTS).is_direct
    async with gate.turn(Topic.RESULTS):
        assert [(TOPIC, "no answer")] == list(gate.away())


async def test_a_failed_try_makes_the_next_one_wait(gate):
    """After a failure a turn comes only when the pause is over, or Kafka is back."""
    turn_away(gate)
    for _ in range(5):
        gate.failed(TOPIC, "still none")
    running, go = [], asyncio.Event()
    waiting = asyncio.create_task(hold_turn(gate, running, go))
    await settle()
    assert [] == running

    gate.took(TOPIC)
    await settle()
    assert [1] == running
    go.set()
    await waiting


async def test_a_live_record_gets_a_turn_only_when_one_is_free(gate):
    """With enough tries under way, or just after a failure, there is none."""
    turn_away(gate)
    async with gate.turn_if_free(TOPIC) as first:
        pass
    go, running = asyncio.Event(), []
    tries = [asyncio.create_task(hold_turn(gate, running, go)) for _ in range(4)]
    await settle()
    async with gate.turn_if_free(TOPIC) as among_four:
        pass
    go.set()
    await asyncio.gather(*tries)
    gate.failed(TOPIC, "no answer")
    async with gate.turn_if_free(TOPIC) as after_failure:
        pass

    assert (True, False, False) == (first, among_four, after_failure)


async def test_a_cancelled_wait_gives_its_turn_back(gate):
    """Whoever leaves takes no turn with him."""
    turn_away(gate)
    go, running = asyncio.Event(), []
    waiting = [asyncio.create_task(hold_turn(gate, running, go)) for _ in range(8)]
    await settle()
    for task in waiting:
        task.cancel()
    await asyncio.wait(waiting)
    async with gate.turn_if_free(TOPIC) as is_free:
        assert is_free
