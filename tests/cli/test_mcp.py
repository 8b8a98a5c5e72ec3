"""`mcp` as agents start it: through a running `serve`, straight to fal, over HTTP."""

import asyncio
import json
import signal
import subprocess
from contextlib import asynccontextmanager

import httpx2
import pytest
from mcp import Client
from mcp.client.stdio import StdioServerParameters, stdio_client
from mcp.client.streamable_http import streamable_http_client

from consumer.app.agents import recall_result
from consumer.settings import Settings
from tests.cli.conftest import COMMAND

ENDPOINT = "fal-ai/flux/dev"
TOKENS = "ann:read:token-of-a-reader-1234\nbob:operate:token-of-an-operator-1\n"
INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-06-18",
        "capabilities": {},
        "clientInfo": {"name": "test", "version": "1"},
    },
}


@asynccontextmanager
async def agent(environ, *arguments, errors):
    """Give the SDK's client over standard input and output of a process of its own."""
    command, *first = COMMAND
    given = StdioServerParameters(
        command=command, args=[*first, "mcp", *arguments], env=dict(environ)
    )
    async with Client(stdio_client(given, errlog=errors)) as client:
        yield client


async def called(client, tool, **arguments):
    """Call a tool; its structured answer."""
    result = await client.call_tool(tool, arguments)
    assert not result.is_error, result.content[0].text
    return result.structured_content


async def recorded(town, job, submission) -> str:
    """Wait for the end of a job through the command line, under the same id; its outcome."""
    arguments = ("--input", "-", "--id", submission["command_id"], "--wait", "--json")
    given = json.dumps(job["input"])
    shown = await asyncio.to_thread(town.run, "submit", ENDPOINT, *arguments, stdin=given)
    result = json.loads(shown.stdout)
    assert submission["request_id"] == result["request_id"]
    return result["outcome"]


@pytest.mark.slow
async def test_a_job_goes_from_submit_to_result_and_leaves_its_record(town, tmp_path):
    """Through a running `serve` an agent submits once, follows, reads, cancels; all is recorded."""
    with (tmp_path / "errors").open("w+") as errors:
        async with agent(town.environ, errors=errors) as client:
            job = {"endpoint": ENDPOINT, "input": {"prompt": "a"}, "command_id": "agent-1"}
            sent = await called(client, "FAL_AI_SUBMIT", **job)
            again = await called(client, "FAL_AI_SUBMIT", **job)
            other = await client.call_tool("FAL_AI_SUBMIT", {**job, "input": {"prompt": "b"}})
            ids = {"endpoint": ENDPOINT, "request_id": sent["request_id"]}
            stream = await called(client, "FAL_AI_QUEUE_GET_STATUS_STREAM", **ids)
            result = await called(client, "FAL_AI_GET_QUEUE_REQUEST_RESULT", **ids)
            other_job = {"endpoint": ENDPOINT, "input": {"simulate": "stuck"}}
            stuck = await called(client, "FAL_AI_SUBMIT", **other_job)
            cancelled = await called(
                client, "FAL_AI_CANCEL_QUEUE_REQUEST", request_id=stuck["submission_id"]
            )

    assert sent == again
    assert ("submitted", True) == (sent["outcome"], sent["recorded"])
    assert other.is_error
    assert "choose a new command_id" in other.content[0].text
    assert stream["is_over"]
    assert "succeeded" == result["outcome"]
    assert ("removed", True) == (cancelled["outcome"], cancelled["is_cancelled"])
    assert "succeeded" == await recorded(town, job, sent)
    assert "cancelled" == await recorded(town, other_job, stuck)


@pytest.mark.slow
async def test_without_a_serve_it_works_directly_only(town, tmp_path):
    """On a folder that nobody serves, reading works, a submit says what to do; --direct submits."""
    environ = town.environ | {"FAL_CONSUMER_DATA_DIR": str(tmp_path / "nobody")}
    job = {"endpoint": ENDPOINT, "input": {"prompt": "a"}}
    with (tmp_path / "errors").open("w+") as errors:
        async with agent(environ, errors=errors) as client:
            refused = await client.call_tool("FAL_AI_SUBMIT", job)
            keys = await called(client, "FAL_AI_GET_JWKS")
        async with agent(environ, "--direct", errors=errors) as client:
            sent = await called(client, "FAL_AI_SUBMIT", **job)
            ids = {"endpoint": ENDPOINT, "request_id": sent["request_id"]}
            stream = await called(client, "FAL_AI_QUEUE_GET_STATUS_STREAM", **ids)
            result = await called(client, "FAL_AI_GET_QUEUE_REQUEST_RESULT", **ids)
        errors.seek(0)
        said = errors.read()

    assert refused.is_error
    assert "fal-consumer serve" in refused.content[0].text
    assert keys["keys"]
    assert ("submitted", False) == (sent["outcome"], sent["recorded"])
    assert stream["is_over"]
    assert "succeeded" == result["outcome"]
    assert town.environ["FAL_KEY"] not in said
    assert not (tmp_path / "nobody").exists()


@pytest.mark.slow
def test_standard_output_carries_the_protocol_alone(town):
    """Every line of standard output is a message; at the end of input it exits 0."""
    lines = [INITIALIZE, {"jsonrpc": "2.0", "method": "notifications/initialized"}]
    call = {"name": "FAL_AI_SUBMIT", "arguments": {"endpoint": "../..", "input": {}}}
    lines.append({"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": call})
    child = subprocess.Popen(
        [*COMMAND, "mcp"],
        env=town.environ,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with child:
        child.stdin.write("not json\n" + "".join(json.dumps(line) + "\n" for line in lines))
        child.stdin.flush()
        answers = []
        while not any(answer.get("id") == 2 for answer in answers):
            answers.append(json.loads(child.stdout.readline()))
        child.stdin.close()
        rest, code = child.stdout.read(), child.wait(30)

    assert ("", 0) == (rest, code)
    assert answers[-1]["result"]["isError"]


@pytest.mark.slow
def test_sigterm_ends_stdio_with_0(town, start):
    """A server whose input stays open ends at SIGTERM, gracefully."""
    child = subprocess.Popen(
        [*COMMAND, "mcp"],
        env=town.environ,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    with child:
        child.stdin.write((json.dumps(INITIALIZE) + "\n").encode())
        child.stdin.flush()
        assert b"fal-consumer" in child.stdout.readline()

        child.send_signal(signal.SIGTERM)

        assert 0 == child.wait(30)


@pytest.mark.slow
def test_over_http_roles_count_and_sigterm_lets_calls_finish(town, start, tmp_path):
    """
    A call in hand at SIGTERM is answered, a stream that a client merely holds open is no reason
    to wait, and the exit code is 0.
    """
    tokens = tmp_path / "tokens"
    tokens.write_text(TOKENS)
    environ = town.environ | {
        "FAL_CONSUMER_CONSOLE_TOKENS_FILE": str(tokens),
        "FAL_CONSUMER_STOP_TIMEOUT_S": "600",
    }
    process = start(environ, ["mcp", "--http", "127.0.0.1:0"])
    url = process.wait_for("mcp listens on ")

    reader, answer, code = asyncio.run(_over_http(url, process))

    assert "FAL_AI_SUBMIT" not in reader
    assert "FAL_AI_QUEUE_GET_STATUS" in reader
    assert not answer.is_error
    assert not answer.structured_content["is_over"]
    assert 0 == code


async def _over_http(url, process):
    async with over_http(url, "token-of-a-reader-1234") as client:
        reader = {tool.name for tool in (await client.list_tools()).tools}
    bearer = {"Authorization": "Bearer token-of-an-operator-1", "Accept": "text/event-stream"}
    async with (
        httpx2.AsyncClient(headers=bearer) as holding,
        holding.stream("GET", url) as held,
        over_http(url, "token-of-an-operator-1") as client,
    ):
        assert 200 == held.status_code
        job = {"endpoint": ENDPOINT, "input": {"simulate": "stuck"}}
        sent = await called(client, "FAL_AI_SUBMIT", **job)
        ids = {"endpoint": ENDPOINT, "request_id": sent["request_id"], "follow_s": 3}

        async def stop(*_):
            process.child.send_signal(signal.SIGTERM)

        answer = await client.call_tool(
            "FAL_AI_QUEUE_GET_STATUS_STREAM", ids, progress_callback=stop
        )
        code = await asyncio.to_thread(process.child.wait, 60)
    return reader, answer, code


@asynccontextmanager
async def over_http(url, token):
    """Give the SDK's client over HTTP with this token."""
    async with (
        httpx2.AsyncClient(headers={"Authorization": f"Bearer {token}"}) as http,
        Client(streamable_http_client(url, http_client=http)) as client,
    ):
        yield client


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["--http", "nowhere"], "--http: expected host:port"),
        (["--allow-host", "a.example"], "--allow-host: only with --http"),
    ],
)
def test_wrong_options_are_usage_errors(folder, arguments, said):
    """An address that is none, or a name without HTTP, exits 2 with what was expected."""
    shown = folder.run("mcp", *arguments)

    assert (2, "") == (shown.returncode, shown.stdout)
    assert said in shown.stderr.replace("'", "").replace("Invalid value for ", "")


def test_without_the_extra_it_says_what_to_install(folder, monkeypatch):
    """Where the SDK is missing, the extra is named, exit code 2."""
    monkeypatch.setattr("consumer.cli.mcp.find_spec", lambda _name: None)

    shown = folder.run("mcp")

    assert (2, "") == (shown.returncode, shown.stdout)
    assert "pip install 'fal-consumer[mcp]'" in shown.stderr


def test_tokens_that_cannot_be_used_are_told(folder, tmp_path):
    """A file without a usable token exits 2, before anything is served."""
    tokens = tmp_path / "tokens"
    tokens.write_text("ann:boss:token-of-a-reader-1234\n")
    folder.environ["FAL_CONSUMER_CONSOLE_TOKENS_FILE"] = str(tokens)

    shown = folder.run("mcp", "--http", "127.0.0.1:0")

    assert (2, "") == (shown.returncode, shown.stdout)
    assert "line 1: expected name:role:token" in shown.stderr


def test_a_recorded_result_is_recalled_from_the_ledger(folder):
    """The result event that the folder's ledger holds is given; without one, or a ledger, none."""
    settings = Settings(data_dir=folder.path)
    before = asyncio.run(recall_result(settings, folder.request_id(1)))
    folder.record(*folder.lost(1))

    found = asyncio.run(recall_result(settings, folder.request_id(1)))
    other = asyncio.run(recall_result(settings, folder.request_id(2)))

    assert (None, None) == (before, other)
    assert ("lost", folder.request_id(1)) == (
        json.loads(found)["outcome"],
        json.loads(found)["request_id"],
    )
