"""fal changes its keys, or its key server is away, while deliveries come."""

import asyncio
import time
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest

from consumer.core.event import Topic
from consumer.jwks import KeyTimes
from consumer.simulator import JwksMode, completion_body
from tests.end_to_end.stage import post, until

pytestmark = pytest.mark.slow

SPEED = 60.0
# One real second is a minute of the stage's clock: a rotation and its limits fit in seconds.


class FastClock:
    """A clock that runs `SPEED` times as fast, and can be set ahead."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._origin = datetime.now(UTC)
        self.ahead = timedelta(0)

    def __call__(self) -> datetime:
        passed = (time.monotonic() - self._began) * SPEED
        return self._origin + timedelta(seconds=passed) + self.ahead


async def test_a_rotation_under_load_loses_no_genuine_delivery(open_stage, record_property):
    """Each delivery is 2xx by its retry; no 401 later than a minute and a fetch; few fetches."""
    clock = FastClock()
    minute_s = 60 / SPEED
    async with open_stage(clock=clock, simulator={"time_scale": 0.05}) as stage:
        load = asyncio.create_task(_submit_all(stage, 120))
        await until(lambda: _count_accepted(stage, 20))
        began_fetches = stage.simulator.books().jwks_fetches
        rotated_at = []
        for _ in range(2):
            rotated_at.append(clock().timestamp())
            stage.simulator.rotate_key()
            await asyncio.sleep(2.5 * minute_s)
        await load
        await until(lambda: _is_idle(stage))
        lasted_min = (clock().timestamp() - rotated_at[0]) / 60

        entries = stage.simulator.books().requests.values()
        fetches = stage.simulator.books().jwks_fetches - began_fetches
        unpaid = [e.request_id for e in entries if not any(a.answer == 200 for a in e.attempts)]
        answers = Counter(attempt.answer for entry in entries for attempt in entry.attempts)
        late = [
            attempt.at
            for entry in entries
            for attempt in entry.attempts
            if attempt.answer == 401
            and not any(0 <= attempt.at - at <= 60 + SPEED for at in rotated_at)
        ]
        record_property(
            "numbers",
            f"key rotation: {len(entries)} requests, answers {dict(answers)}, "
            f"{fetches} fetches in {lasted_min:.1f} minutes of the clock, {len(late)} late 401",
        )
        assert ([], []) == (unpaid, late)
        assert fetches <= lasted_min + 1


async def test_with_the_key_server_down_service_goes_on_to_the_hard_expiry(open_stage):
    """Deliveries are taken on the set at hand, then answered 503, then taken again."""
    times = KeyTimes(
        soft_expiry=timedelta(seconds=0.2),
        hard_expiry=timedelta(seconds=3),
        first_retry=timedelta(seconds=0.1),
        max_retry=timedelta(seconds=0.3),
    )
    async with open_stage(key_times=times) as stage:
        stage.simulator.set_jwks(JwksMode.DOWN)
        answers = [await _post_new(stage, 0)]

        async def refused() -> bool:
            answers.append(await _post_new(stage, len(answers)))
            return answers[-1] == 503

        await until(refused)
        stage.simulator.set_jwks(JwksMode.OK)
        await until(lambda: _is_taken(stage, answers))

        accepted = answers.count(200)
        assert 200 == answers[0]
        assert {200, 503} == set(answers)
        assert accepted == len(await stage.records(Topic.COMPLETIONS))


async def _submit_all(stage, count):
    for number in range(count):
        await stage.submit(f"job-{number}")
        await asyncio.sleep(0.05)


async def _count_accepted(stage, count):
    return len(await stage.records(Topic.COMPLETIONS)) >= count


async def _is_idle(stage):
    return await stage.simulator.wait_idle(0.2)


async def _post_new(stage, number):
    request_id = f"33333333-3333-7333-8333-{number:012d}"
    return await post(stage, request_id, completion_body(request_id, {"images": []}))


async def _is_taken(stage, answers):
    answers.append(await _post_new(stage, len(answers)))
    return answers[-1] == 200
