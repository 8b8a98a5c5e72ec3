"""What a probe is answered: from the last look, at once, whatever the parts do."""

import asyncio

import pytest

from consumer import readiness
from consumer.errors import ConfigError, InvariantBroken, LogUnavailable
from consumer.readiness import Readiness

SOON_S = 30


class Part:
    """A part whose ping ends as the test says."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.looks = 0
        self.looked = asyncio.Event()
        self.hangs = False

    async def ping(self) -> None:
        self.looks += 1
        self.looked.set()
        if self.hangs:
            await asyncio.Event().wait()
        if self.error:
            raise self.error


@pytest.fixture(autouse=True)
def often(monkeypatch) -> None:
    """Let the look in the background come soon, and a ping time out soon."""
    monkeypatch.setattr(readiness, "_LOOK_EVERY_S", 0.005)
    monkeypatch.setattr(readiness, "_LOOK_TIMEOUT_S", 0.02)


async def until(holds) -> None:
    async with asyncio.timeout(SOON_S):
        while not holds():  # noqa: ASYNC110  readiness has no event to wait for: it is polled
            await asyncio.sleep(0.002)


def test_nobody_is_ready_before_the_first_look():
    """Before anybody looked the service is not ready, though nothing is known against it."""
    part = Readiness(needed={}, wanted={}, problems=[], notes=[])

    assert {"ready": False, "problems": [], "notes": []} == part.describe()


async def test_a_part_that_works_is_ready_at_once():
    """The first look is done when the context is entered."""
    log = Part()
    found = Readiness(needed={"log": log}, wanted={}, problems=[], notes=[])

    async with found.kept_fresh():
        assert (True, 1) == (found.is_ready(), log.looks)


async def test_a_part_that_fails_is_a_problem_until_it_works():
    """A part that would not work is named with why, and forgotten when it works again."""
    log = Part(LogUnavailable("the disk is full"))
    found = Readiness(needed={"log": log}, wanted={}, problems=[], notes=[])

    async with found.kept_fresh():
        before = found.describe()
        log.error = None
        await until(found.is_ready)

    expected = {"ready": False, "problems": ["log: the disk is full"], "notes": []}
    assert expected == before
    assert [] == found.problems()


async def test_a_part_that_does_not_answer_is_a_problem():
    """A ping that hangs neither holds up the start nor the other parts."""
    log, other = Part(), Part()
    log.hangs = True
    found = Readiness(needed={"log": log, "other": other}, wanted={}, problems=[], notes=[])

    async with asyncio.timeout(SOON_S), found.kept_fresh():
        first = found.problems()
        looks = other.looks
        await until(lambda: other.looks > looks)

    assert ["log: does not answer"] == first


async def test_problems_count_and_notes_do_not():
    """What a part says of itself counts at once; trouble elsewhere is told and does not."""
    said = []
    found = Readiness(
        needed={}, wanted={}, problems=[lambda: said], notes=[lambda: ["fal is slow"]]
    )

    async with found.kept_fresh():
        before = found.describe()
        said.append("no keys")
        after = found.describe()

    assert {"ready": True, "problems": [], "notes": ["fal is slow"]} == before
    assert {"ready": False, "problems": ["no keys"], "notes": ["fal is slow"]} == after


async def test_the_look_ends_with_the_context():
    """Nobody looks any more when the context is left."""
    log = Part()
    found = Readiness(needed={"log": log}, wanted={}, problems=[], notes=[])
    async with found.kept_fresh():
        log.looked.clear()
        await asyncio.wait_for(log.looked.wait(), SOON_S)

    assert {asyncio.current_task()} == asyncio.all_tasks()


async def test_a_mistake_of_ours_does_not_end_the_look():
    """An error that no part may raise is a problem, and the look goes on after it."""
    log = Part(InvariantBroken("ours"))
    found = Readiness(needed={"log": log}, wanted={}, problems=[], notes=[])

    async with found.kept_fresh():
        before = found.problems()
        log.error = None
        await until(found.is_ready)

    assert ["log: cannot be looked at"] == before


async def test_an_error_of_the_service_passes_as_it_is():
    """What ends the service while the look goes on is raised unchanged."""
    found = Readiness(needed={"log": Part()}, wanted={}, problems=[], notes=[])

    with pytest.raises(ConfigError):
        async with found.kept_fresh():
            raise ConfigError(["in use"])


async def test_a_wanted_part_that_does_not_answer_is_a_note_and_no_problem():
    """Trouble with the ledger must not take the receiver out of service."""
    ledger = Part(LogUnavailable("away"))
    found = Readiness(needed={}, wanted={"ledger": ledger}, problems=[], notes=[])

    async with found.kept_fresh():
        assert (True, [], ["ledger: away"]) == (
            found.is_ready(),
            found.problems(),
            found.notes(),
        )
