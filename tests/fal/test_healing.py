"""A key that is rotated and a lock that is lifted, met by submits and reads under way."""

import asyncio
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest
from aiohttp import web

from consumer.core.policy import Done, RetryAt
from consumer.errors import FalRefused
from consumer.fal import FalLimits, file_credential, fixed_credential, open_fal
from consumer.fal.account import Account
from consumer.fal.call import Answer, Call
from consumer.ports import QueueStatus, SubmitRefused
from consumer.telemetry import Metrics
from tests.fal.canned import ENDPOINT, JOB, JSON, ORDER, RUNNING
from tests.fal.conftest import Canned, serving
from tests.handlers.commanding import handled
from tests.handlers.stage import Stage, World

SOON = FalLimits(retry_wait_s=0.001, max_retry_wait_s=0.02, probe_s=0.05, max_probe_s=0.2)


class Guarded:
    """A queue that takes one key only, and no submit while it is locked; it counts both."""

    def __init__(self) -> None:
        self.key = "id:old"
        self.is_locked = False
        self.taken: list[str] = []
        self.refused: list[str] = []
        self.reads = 0

    async def handle(self, request: web.Request) -> web.Response:
        operation = "submit" if request.method == "POST" else "read"
        if request.headers["Authorization"] != f"Key {self.key}":
            self.refused.append(f"401 {operation}")
            return web.json_response({"detail": "invalid key credentials"}, status=401)
        if operation == "read":
            self.reads += 1
            return web.json_response({"status": "IN_PROGRESS"}, status=202)
        if self.is_locked:
            self.refused.append("403 submit")
            detail = "User is locked. Reason: Exhausted balance."
            return web.json_response({"detail": detail}, status=403)
        job = f"019f7085-1439-7320-9a28-{len(self.taken):012x}"
        self.taken.append((await request.json())["prompt"])
        return web.json_response({"request_id": job, "status": "IN_QUEUE"})


@pytest.fixture
def key_file(tmp_path):
    """The file that holds the key."""
    path = tmp_path / "key"
    path.write_text("id:old")
    return path


@asynccontextmanager
async def staged(guarded, key_file):
    """Handlers as `serve` joins them, on the real client before a guarded queue."""
    async with (
        serving(guarded.handle) as url,
        open_fal(url, file_credential(key_file), metrics=Metrics(), limits=SOON) as fal,
    ):
        yield Stage(World(fal=fal))


async def all_sent(stage, records, attempt: int = 1) -> int:
    """Handle submits again and again, as a worker does, until each is sent; the attempts."""
    waiting = list(records)
    async with asyncio.timeout(20):
        while waiting:
            outcomes = [await handled(stage, record, attempt) for record in waiting]
            assert {type(one) for one in outcomes} <= {Done, RetryAt}
            waiting = [one for one, how in zip(waiting, outcomes, strict=True) if how != Done()]
            stage.clock.advance(timedelta(seconds=1))
            await asyncio.sleep(0.01)  # the account is asked about again in real time
            attempt += 1
    return attempt


async def put(stage, numbers) -> list:
    """Append a submit for each number."""
    return [
        await stage.submit(command_id=f"c{number}", input={"prompt": str(number)})
        for number in numbers
    ]


async def test_a_rotated_key_file_is_noticed_and_no_submit_is_lost(key_file):
    """Fal changes the key first, the file follows: every submit is sent once, without a restart."""
    guarded = Guarded()
    async with staged(guarded, key_file) as stage:
        await all_sent(stage, await put(stage, range(3)))
        guarded.key = "id:new"
        records = await put(stage, range(3, 8))
        held = [await handled(stage, record, 1) for record in records]
        problems = stage.fal.problems()
        key_file.write_text("id:new")
        await all_sent(stage, records, 2)

        assert {RetryAt} == {type(outcome) for outcome in held}
        assert problems == ("unauthorized",)
        assert sorted(guarded.taken) == [str(number) for number in range(8)]
        assert guarded.refused.count("401 submit") <= 2
        assert stage.fal.problems() == ()
        assert stage.told() == []


async def test_a_lifted_lock_is_noticed_and_no_submit_is_lost(key_file):
    """Under a lock submits wait and reads go on; lifted, each submit is sent, once."""
    guarded = Guarded()
    async with staged(guarded, key_file) as stage:
        guarded.is_locked = True
        records = await put(stage, range(20))
        held = [await handled(stage, record, 1) for record in records]
        problems, asked = stage.fal.problems(), len(guarded.refused)
        status = await stage.fal.status(ENDPOINT, JOB)
        guarded.is_locked = False
        await all_sent(stage, records, 2)

        assert {RetryAt} == {type(outcome) for outcome in held}
        assert problems == ("locked",)
        assert 1 <= asked < len(records)  # sparingly; how often depends on the machine here
        assert status.status is QueueStatus.IN_PROGRESS
        assert sorted(guarded.taken, key=int) == [str(number) for number in range(20)]
        assert stage.fal.problems() == ()
        assert stage.told() == []


async def test_a_lock_is_never_hammered(key_file):
    """Of hundreds of submits under a lock, only those reach fal that find out whether it stands."""
    guarded = Guarded()
    guarded.is_locked = True
    async with (
        serving(guarded.handle) as url,
        open_fal(url, file_credential(key_file), metrics=Metrics()) as fal,
    ):
        answers = [await fal.submit(ORDER) for _ in range(300)]

    assert answers[0] == SubmitRefused(403, "locked")
    assert set(answers[1:]) == {SubmitRefused(None, "locked")}
    assert guarded.refused == ["403 submit"]


async def test_a_refused_key_is_tried_once_a_span_by_all_calls(key_file):
    """While the key is refused, calls end with 401 at once: fal sees two and no more."""
    guarded = Guarded()
    guarded.key = "id:new"
    async with (
        serving(guarded.handle) as url,
        open_fal(url, file_credential(key_file), metrics=Metrics()) as fal,
    ):
        for _ in range(50):
            with pytest.raises(FalRefused, match="unauthorized"):
                await fal.status(ENDPOINT, JOB)
        assert await fal.submit(ORDER) == SubmitRefused(401, "unauthorized")
        assert fal.holds_back == "unauthorized"

        assert guarded.refused == ["401 read", "401 read"]


def test_looks_at_a_lock_grow_rarer(key_file):
    """While a lock stays, the span between two looks doubles up to its longest."""
    now = 0.0
    limits = FalLimits(probe_s=60, max_probe_s=600)
    account = Account(file_credential(key_file), limits, lambda: now)
    submit = Call("submit", "POST", "/a/b", 1)
    locked = Answer(403, {}, b'{"detail":"User is locked. Reason: TOP_UP"}')

    looks = []
    for second in range(0, 2500, 10):
        now = float(second)
        if account.may_spend():
            looks.append(second)
            account.note(submit, locked)

    assert looks == [0, 60, 180, 420, 900, 1500, 2100]


async def test_an_application_without_access_is_no_refused_key(server):
    """A 401 of one application says nothing of the key: other calls go on at once."""
    body = b'{"detail":"Cannot access application \\"a/b\\". Access denied."}'
    server.answer(Canned(401, body, JSON), Canned(401, body, JSON), RUNNING)
    async with open_fal(server.url, fixed_credential("a:b"), metrics=Metrics()) as fal:
        with pytest.raises(FalRefused, match="no_access"):
            await fal.status(ENDPOINT, JOB)
        assert await fal.submit(ORDER) == SubmitRefused(401, "no_access")
        await fal.status(ENDPOINT, JOB)

        assert fal.problems() == ()
    assert len(server.seen) == 3
