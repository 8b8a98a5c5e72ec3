"""`/api/requests` on the real console server: who may ask, what is taken, what is answered."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from consumer.console.api import parse_tokens, serve_console
from consumer.console.requests_door import RequestsDoor, shape_of
from consumer.core.command import submission_id_of
from consumer.core.event import Topic
from consumer.core.policy import DeadLetter, Policies
from consumer.errors import LedgerUnavailable, LogUnavailable
from consumer.ports import Position, SubmitRefused, SubmitUnknown
from consumer.setting_aside import dead_letter
from consumer.telemetry import Metrics
from tests.handlers.commanding import handled
from tests.handlers.stage import ENDPOINT, R1, Stage, World

READ, OPERATE = "r" * 24, "o" * 24
TOKENS = parse_tokens(f"prometheus:read:{READ}\nadmin:operate:{OPERATE}\n")
JOB = {"endpoint": ENDPOINT, "input": {"prompt": "apple"}}
TRACK = {"command": "track", "endpoint": ENDPOINT, "request_id": R1}


class Api:
    """The console of a stage, and a worker that handles commands while a call waits."""

    def __init__(self, stage: Stage, url: str) -> None:
        self.stage = stage
        self.url = url
        self._handled: set[Position] = set()

    async def post(
        self, body: Any = None, *, key: str | None = "key-1", wait: str = "5", **more: Any
    ) -> tuple[int, dict[str, Any]]:
        headers = {"Authorization": f"Bearer {more.get('token', OPERATE)}"}
        if key is not None:
            headers["Idempotency-Key"] = key
        raw = {"data": body} if isinstance(body, bytes) else {"json": body}
        url = f"{self.url}/api/requests?wait={wait}"
        async with (
            self._working(is_working=more.get("is_working", True)),
            aiohttp.ClientSession() as session,
            session.post(url, headers=headers, **raw) as answer,
        ):
            assert answer.headers["Cache-Control"] == "no-store"
            return answer.status, await answer.json() if await answer.text() else {}

    async def get(self, name: str, token: str = READ) -> tuple[int, dict[str, Any]]:
        headers = {"Authorization": f"Bearer {token}"}
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"{self.url}/api/requests/{name}", headers=headers) as answer,
        ):
            return answer.status, await answer.json() if await answer.text() else {}

    @asynccontextmanager
    async def _working(self, *, is_working: bool) -> AsyncIterator[None]:
        working = asyncio.create_task(self._work()) if is_working else None
        try:
            yield
        finally:
            if working is not None:
                working.cancel()
                await asyncio.gather(working, return_exceptions=True)

    async def _work(self) -> None:
        while True:
            for record in self.stage.log.records(Topic.COMMANDS):
                if record.position in self._handled:
                    continue
                self._handled.add(record.position)
                outcome = await handled(self.stage, record)
                if isinstance(outcome, DeadLetter):
                    letter = dead_letter(record, outcome, handler="commands", attempt=1)
                    await self.stage.log.append(letter)
            await asyncio.sleep(0.005)


@asynccontextmanager
async def opened(stage: Stage) -> AsyncIterator[Api]:
    door = RequestsDoor(stage.log, stage.ledger, clock=stage.clock)
    address = ("127.0.0.1", 0)
    console = serve_console(
        address, TOKENS, lambda: {"ready": True}, Metrics(), door=door, max_body_bytes=4096
    )
    async with console as url:
        yield Api(stage, url)


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    async with opened(Stage()) as found:
        yield found


async def test_a_job_is_submitted_once_and_its_request_id_is_told(api: Api):
    """A submit answers the request id; the same key and input again is the same submission."""
    first = await api.post(JOB)
    again = await api.post(JOB)

    status, body = first
    assert 200 == status
    assert ("key-1", submission_id_of("key-1"), "sent") == (
        body["command_id"],
        body["submission_id"],
        body["progress"],
    )
    assert body["request_id"] in api.stage.fal.jobs
    assert first == again
    assert 1 == api.stage.calls("submit")


async def test_many_at_once_under_one_key_are_one(api: Api):
    """Callers who repeat a call while it runs pay once, and learn the same request id."""
    answers = await asyncio.gather(*(api.post(JOB, is_working=n == 0) for n in range(8)))

    assert 1 == len({body["request_id"] for _, body in answers})
    assert 1 == api.stage.calls("submit")


async def test_another_input_under_the_key_is_a_conflict(api: Api):
    """The key is taken at the door: another input is 409, before anything was handled too."""
    status, _ = await api.post(JOB, wait="0", is_working=False)
    other, body = await api.post(JOB | {"input": {"prompt": "pear"}}, is_working=False)
    tracked, _ = await api.post(TRACK, is_working=False)

    assert (202, 409, 409) == (status, other, tracked)
    assert "command_conflict" == body["error"]
    assert 1 == len(api.stage.log.records(Topic.COMMANDS))


async def test_a_key_of_another_door_is_a_conflict_too(api: Api):
    """An id that the topic used with another input is not free at this door."""
    await handled(api.stage, await api.stage.submit(command_id="key-1", input={"p": 1}))

    assert 409 == (await api.post(JOB))[0]


async def test_without_a_worker_the_answer_is_durable_and_open(api: Api):
    """What is not carried out within the wait is 202: it stands in the log, and is told where."""
    status, body = await api.post(JOB, wait="0.05", is_working=False)

    assert (202, "waiting", None) == (status, body["progress"], body["request_id"])
    assert 1 == len(api.stage.log.records(Topic.COMMANDS))
    assert 404 == (await api.get(body["submission_id"]))[0]


async def test_an_unclear_answer_of_fal_is_told_as_unknown(api: Api):
    """A submit of which nobody can tell is 202 `unknown`, and never sent again."""
    api.stage.fal.answer_next("submit", SubmitUnknown("timeout"))

    status, body = await api.post(JOB, wait="0.5")

    assert (202, "unknown", None) == (status, body["progress"], body["request_id"])
    assert 202 == (await api.post(JOB, wait="0"))[0]
    assert 1 == api.stage.calls("submit")


@pytest.mark.parametrize(
    "how, status, reason",
    [
        ({"may_submit": lambda _endpoint: False}, 403, "endpoint_not_allowed"),
        ({"has_key": False}, 503, "no_fal_key"),
        ({"world": World(policies=Policies(max_open_requests=0))}, 429, "too_many_open"),
    ],
)
async def test_a_refusal_tells_its_reason(how, status, reason):
    """What may not be sent is refused with the reason as a word, and a status that fits it."""
    async with opened(Stage(**how)) as api:
        found, body = await api.post(JOB)

        assert (status, reason) == (found, body["error"])
        assert 0 == api.stage.calls("submit")


async def test_a_track_past_a_limit_is_refused_with_its_reason():
    """A track that is set aside tells why, as a submit does."""
    async with opened(Stage(World(policies=Policies(max_open_requests=0)))) as api:
        status, body = await api.post(TRACK)

        assert (429, "too_many_open") == (status, body["error"])


async def test_what_fal_refuses_is_unprocessable(api: Api):
    """Fal's own certain no is 422 with fal's reason."""
    api.stage.fal.answer_next("submit", SubmitRefused(422, "bad_input"))

    status, body = await api.post(JOB)

    assert (422, "bad_input") == (status, body["error"])


async def test_a_request_of_somebody_else_is_tracked(api: Api):
    """`track` answers once the request is followed; its state can be read."""
    api.stage.fal.add(ENDPOINT, R1)

    status, body = await api.post(TRACK | {"request_id": R1.upper(), "group": "g"})
    found, told = await api.get(R1)

    assert (200, R1, None) == (status, body["request_id"], body["submission_id"])
    assert (200, "submitted", "g") == (found, told["state"], told["request"]["group"])


async def test_state_is_told_under_either_id(api: Api):
    """A submission is found by its own id and by its request's, with its result at the end."""
    _, body = await api.post(JOB)
    api.stage.fal.finish(body["request_id"], {"seed": 7})
    await api.stage.webhook(request_id=body["request_id"])
    await api.stage.fetch_all()

    answers = [await api.get(body[name]) for name in ("request_id", "submission_id")]

    assert answers[0] == answers[1]
    status, told = answers[0]
    assert (200, "succeeded") == (status, told["state"])
    assert "submitted" == told["submission"]["state"]
    assert "succeeded" == told["result"]["outcome"]


@pytest.mark.parametrize(
    "body, field, got, expected",
    [
        (JOB | {"endpoint": "flux"}, "endpoint", "a text of 4 characters", "owner/app"),
        ({"endpoint": ENDPOINT}, "input", "nothing", ""),
        (JOB | {"input": [1, 2]}, "input", "a list of 2", "dictionary"),
        (JOB | {"finish_by": 5}, "finish_by", "a number", "string"),
        (JOB | {"webhook": "x"}, "webhook", "a text of 1 characters", "not permitted"),
        (JOB | {"options": {"x": True}}, "options.x", "true or false", ""),
        (JOB | {"command_id": "c"}, "command_id", "a text of 1 characters", "Idempotency-Key"),
        ({"command": "cancel", "subject": R1}, "command", "a text of 6 characters", "submit or"),
        ({"command": "drop"}, "command", "a text of 4 characters", "submit or track"),
    ],
)
async def test_a_mistake_is_named_by_field_shape_and_expectation(api, body, field, got, expected):
    """A field that is wrong is named, with the shape of its value and what was expected."""
    status, told = await api.post(body, is_working=False)

    assert (422, field, got) == (status, told["field"], told["got"])
    assert expected in told["expected"]
    assert [] == api.stage.log.records(Topic.COMMANDS)


@pytest.mark.parametrize(
    "body, how, field",
    [
        (b"{", {}, "body"),
        (b"[1]", {}, "body"),
        (JOB, {"wait": "31"}, "wait"),
        (JOB, {"wait": "soon"}, "wait"),
        (JOB, {"key": "k" * 201}, "Idempotency-Key"),
        (JOB, {"key": "a b"}, "Idempotency-Key"),
    ],
)
async def test_a_request_that_cannot_be_read_is_400(api, body, how, field):
    """No JSON object, a bad wait, a bad key: 400 with the part that is wrong."""
    status, told = await api.post(body, is_working=False, **how)

    assert (400, field) == (status, told["field"])


async def test_a_body_over_the_limit_is_413(api: Api):
    """A body over the limit is refused."""
    assert 413 == (await api.post(b" " * 5000, is_working=False))[0]


async def test_roles_are_held(api: Api):
    """Without a token nothing is told; a token that reads does not submit."""
    answers = [
        await api.post(JOB, token=READ, is_working=False),
        await api.post(JOB, token="x" * 24, is_working=False),
        await api.get(R1, token="x" * 24),
    ]

    assert [(403, {}), (401, {}), (401, {})] == answers
    assert [] == api.stage.log.records(Topic.COMMANDS)


@pytest.mark.parametrize("part, error", [("log", LogUnavailable), ("ledger", LedgerUnavailable)])
async def test_an_answer_is_durable_or_it_is_503(api: Api, part, error):
    """Where log or ledger do not answer nothing is promised; the same key works afterwards."""
    getattr(api.stage, part).refuse_next(error("away"))

    status, _ = await api.post(JOB, is_working=False)
    again, _ = await api.post(JOB)

    assert (503, 200) == (status, again)
    assert 1 == api.stage.calls("submit")


async def test_without_a_key_each_call_is_a_job_of_its_own(api: Api):
    """No Idempotency-Key: an id is made and told, and a second call is a second job."""
    answers = [await api.post(JOB, key=None) for _ in range(2)]

    assert 2 == len({body["command_id"] for _, body in answers})
    assert 2 == api.stage.calls("submit")


@pytest.mark.parametrize(
    "value, shape",
    [
        (None, "null"),
        (1.5, "a number"),
        ({"a": 1}, "an object of 1 fields"),
        (True, "true or false"),
    ],
)
def test_a_shape_never_tells_the_value(value, shape):
    """What kind a value is, is all that is told of it."""
    assert shape == shape_of(value)
