"""Streamable HTTP: tokens and roles, host and origin, and both kinds of clients."""

import io
from contextlib import asynccontextmanager

import aiohttp
import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from consumer.agents.reading import Reading
from consumer.agents.server import AgentRole
from consumer.agents.serving import Door, serve_http
from consumer.agents.tools import tools_of
from tests.agents.conftest import ENDPOINT
from tests.agents.test_tools import CHANGING, READING

HOLDERS = {
    "token-of-a-reader-1234": ("ann", AgentRole.READ),
    "token-of-an-operator-1": ("bob", AgentRole.OPERATE),
}
READER, OPERATOR = HOLDERS
PING = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
ACCEPT = {"Accept": "application/json, text/event-stream"}


@pytest.fixture
async def url(fal, direct):
    """The URL of the tools, served on a free port of loopback."""
    tools = dict(tools_of(Reading(fal), direct))
    door = Door("127.0.0.1", 0, ["agents.example"], HOLDERS.get)
    async with serve_http(tools, door, is_recorded=False, stop_within_s=5) as served:
        yield served


@asynccontextmanager
async def entered(url, token, mode="auto"):
    """Give the SDK's client over HTTP with this token."""
    headers = {"Authorization": f"Bearer {token}"}
    async with (
        httpx2.AsyncClient(headers=headers) as http,
        Client(streamable_http_client(url, http_client=http), mode=mode) as client,
    ):
        yield client


async def status_of(url, headers):
    """Post a ping with these headers; the status that comes."""
    async with (
        aiohttp.ClientSession() as session,
        session.post(url, json=PING, headers=ACCEPT | headers) as response,
    ):
        return response.status


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_an_operator_drives_a_job_over_http(url, mode):
    """With a token of role operate a job goes from submit to result, in both eras of clients."""
    async with entered(url, OPERATOR, mode) as client:
        names = {tool.name for tool in (await client.list_tools()).tools}
        sent = await client.call_tool("FAL_AI_SUBMIT", {"endpoint": ENDPOINT, "input": {}})
        request_id = sent.structured_content["request_id"]
        ids = {"endpoint": ENDPOINT, "request_id": request_id}
        told = []

        async def hear(_progress, _total, message):
            told.append(message)

        stream = await client.call_tool(
            "FAL_AI_QUEUE_GET_STATUS_STREAM", ids, progress_callback=hear
        )
        result = await client.call_tool("FAL_AI_GET_QUEUE_REQUEST_RESULT", ids)

    assert CHANGING | READING == names
    assert stream.structured_content["is_over"]
    assert "COMPLETED" == told[-1]
    assert "succeeded" == result.structured_content["outcome"]


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_a_reader_gets_the_reading_tools_only(url, simulator, mode):
    """With a token of role read neither the list nor a call gives what changes something."""
    async with entered(url, READER, mode) as client:
        names = {tool.name for tool in (await client.list_tools()).tools}
        sent = await client.call_tool("FAL_AI_SUBMIT", {"endpoint": ENDPOINT, "input": {}})
        keys = await client.call_tool("FAL_AI_GET_JWKS", {})

    assert READING == names
    assert sent.is_error
    assert "role operate" in sent.content[0].text
    assert not keys.is_error
    assert {} == simulator.books().requests


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer "},
        {"Authorization": "Bearer wrong-token-of-somebody"},
        {"Authorization": f"Basic {OPERATOR}"},
        {"Authorization": OPERATOR},
    ],
)
async def test_without_a_token_it_is_401(url, headers):
    """No token, a wrong one, or another scheme is 401, whatever is asked."""
    assert 401 == await status_of(url, headers)


async def test_another_host_or_origin_is_refused(url):
    """A page in a browser cannot reach it by a name of its own, even with a token."""
    token = {"Authorization": f"Bearer {OPERATOR}"}

    statuses = [
        await status_of(url, token | {"Host": "evil.example"}),
        await status_of(url, token | {"Origin": "https://evil.example"}),
        await status_of(url, token | {"Host": "agents.example"}),
        await status_of(url, token | {"Origin": "https://agents.example"}),
    ]

    assert [421, 403, 200, 200] == statuses


async def test_a_body_too_large_is_refused(url):
    """A body over 4 MiB is 413."""
    headers = ACCEPT | {"Authorization": f"Bearer {OPERATOR}", "Content-Type": "application/json"}
    async with aiohttp.ClientSession() as session:
        body = io.BytesIO(b" " * (4 * 1024 * 1024 + 1))
        async with session.post(url, data=body, headers=headers) as response:
            assert 413 == response.status


async def test_an_address_in_use_is_told(url, fal, direct):
    """A second server on the same port is an OSError, and leaves the first alone."""
    door = Door("127.0.0.1", int(url.rpartition(":")[2].partition("/")[0]), [], HOLDERS.get)
    tools = dict(tools_of(Reading(fal), direct))

    with pytest.raises(OSError, match="in use"):
        async with serve_http(tools, door, is_recorded=False, stop_within_s=5):
            pass

    assert 200 == await status_of(url, {"Authorization": f"Bearer {READER}"})
