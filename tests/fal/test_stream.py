"""The status stream over connections that are cut, and what it tells of each state."""

import asyncio
import json
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace

import pytest
from aiohttp import web

from consumer.errors import FalRefused, FalUnavailable, SchemaDrift
from consumer.fal import FalAddresses, FalParts, file_credential, open_client
from consumer.ports import QueueStatus
from tests.fal.canned import BAD_KEY, ENDPOINT, JOB, JSON, NGINX
from tests.fal.conftest import QUICK, Canned, serving

SSE = {"Content-Type": "text/event-stream"}
STATES = [
    {"status": "IN_QUEUE", "queue_position": 2},
    {"status": "IN_QUEUE", "queue_position": 1},
    {"status": "IN_PROGRESS"},
    {"status": "IN_QUEUE", "queue_position": 0},
    {"status": "IN_PROGRESS"},
    {"status": "COMPLETED", "metrics": {"inference_time": 1.5}},
]


def event(state) -> bytes:
    """One event as fal sends it."""
    return b"data: " + json.dumps({"request_id": JOB, **state}).encode() + b"\n\n"


class Streaming:
    """A job that moves on with time; every connection begins with its state and is soon cut."""

    def __init__(self, cut_s: float, state_s: float) -> None:
        self.cut_s, self.state_s = cut_s, state_s
        self.connections = 0
        self._began_at: float | None = None

    def state(self) -> int:
        """The number of the job's state now."""
        now = asyncio.get_running_loop().time()
        self._began_at = self._began_at or now
        return min(int((now - self._began_at) / self.state_s), len(STATES) - 1)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.connections += 1
        response = web.StreamResponse(headers=SSE)
        await response.prepare(request)
        loop, told = asyncio.get_running_loop(), -1
        ends_at = loop.time() + self.cut_s
        while loop.time() < ends_at:
            if (now := self.state()) != told:
                told = now
                await response.write(event(STATES[now]))
                if now == len(STATES) - 1:
                    return response
            else:
                await response.write(b": keep-alive\n\n")
            await asyncio.sleep(0.01)
        request.transport.abort()
        return response


@asynccontextmanager
async def client_of(url, credential="a:b", limits=QUICK):
    """The client before a server."""
    async with open_client(credential, FalAddresses(url, url, url), FalParts(limits)) as client:
        yield client


async def told(client, **how):
    """Everything that the stream tells."""
    async with asyncio.timeout(20), aclosing(client.stream_status(ENDPOINT, JOB, **how)) as stream:
        return [status async for status in stream]


async def test_the_stream_survives_cuts_and_tells_each_state_once():
    """Cut several times within each state, it tells the states in order, each once, and ends."""
    server = Streaming(cut_s=0.1, state_s=0.35)
    async with serving(server.handle) as url, client_of(url) as client:
        states = await told(client)

    assert [(one.status, one.queue_position) for one in states] == [
        (state["status"], state.get("queue_position")) for state in STATES
    ]
    assert states[-1].metrics.inference_time == 1.5
    assert server.connections > 2 * len(STATES)


@pytest.mark.parametrize("is_whole", [True, False])
async def test_log_lines_are_told_once(server, is_whole):
    """Whether fal repeats all lines or sends new ones only, each line is told once."""
    lines = [{"message": "step", "timestamp": f"2026-11-30T12:00:0{n}Z"} for n in range(4)]
    first = {"status": "IN_PROGRESS", "logs": lines[:2]}
    second = {"status": "IN_PROGRESS", "logs": lines[:3] if is_whole else lines[2:3]}
    last = {"status": "COMPLETED", "logs": lines if is_whole else lines[3:]}
    server.answer(
        Canned(200, event(first), SSE, fault="truncate"),
        Canned(200, event(first) + event(second) + event(last), SSE),
    )
    async with client_of(server.url) as client:
        states = await told(client, has_logs=True)

    assert server.seen[0].path_qs.endswith("/status/stream?logs=1")
    assert [line["timestamp"] for line in lines] == [
        line.timestamp for state in states for line in state.logs
    ]


async def test_a_quiet_stream_is_opened_again(server):
    """Keep-alives hold a stream open; without any for too long it is dead, and opened again."""
    server.answer(Canned(200, b"", SSE, fault="hang"), Canned(200, event(STATES[-1]), SSE))
    limits = replace(QUICK, stream_quiet_s=0.05, status_s=0.2)
    async with client_of(server.url, limits=limits) as client:
        states = await told(client)

    assert [QueueStatus.COMPLETED] == [state.status for state in states]
    assert len(server.seen) == 2


@pytest.mark.parametrize("trouble", [NGINX, Canned(200, b"", SSE), Canned(fault="cut")])
async def test_connections_that_tell_nothing_come_to_an_end(server, trouble):
    """Trouble that stays is FalUnavailable after eight connections, not an endless loop."""
    server.answer(trouble)
    async with client_of(server.url) as client:
        with pytest.raises(FalUnavailable):
            await told(client)

    assert 8 <= len(server.seen) <= 16  # the HTTP library asks a second time on its own


async def test_a_word_of_the_future_is_drift(server):
    """A status that this version does not know is SchemaDrift with its body."""
    server.answer(Canned(200, event({"status": "PAUSED"}), SSE))
    async with client_of(server.url) as client:
        with pytest.raises(SchemaDrift) as drift:
            await told(client)

    assert b"PAUSED" in drift.value.body


async def test_a_rotated_key_is_read_again_by_a_stream(server, tmp_path):
    """A stream that meets 401 reads the key again, once; a key that stays refused ends it."""
    path = tmp_path / "key"
    path.write_text("id:old")
    credential = file_credential(path)
    path.write_text("id:new")
    server.answer(BAD_KEY, Canned(200, event(STATES[-1]), SSE))
    async with client_of(server.url, credential) as client:
        assert len(await told(client)) == 1
        server.answer(BAD_KEY)
        with pytest.raises(FalRefused, match="unauthorized"):
            await told(client)

    assert [seen.headers["Authorization"] for seen in server.seen[:2]] == [
        "Key id:old",
        "Key id:new",
    ]


async def test_hostile_ids_open_no_stream(server):
    """An id outside its grammar is refused before any connection."""
    async with client_of(server.url) as client:
        for endpoint, request_id in [("../..", JOB), (ENDPOINT, "..%2f"), ("a/b?c", JOB)]:
            with pytest.raises(FalRefused) as refused:
                await anext(client.stream_status(endpoint, request_id))
            assert refused.value.http_status == 0

    assert server.seen == []


async def test_a_status_instead_of_a_stream_is_told(server):
    """A plain status, as a proxy may make of the stream, is told like any other."""
    server.answer(Canned(200, b'{"status":"COMPLETED"}', JSON))
    async with client_of(server.url) as client:
        assert [QueueStatus.COMPLETED] == [state.status for state in await told(client)]
