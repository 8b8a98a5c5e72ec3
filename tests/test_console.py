"""The console's listener: what it tells to whom."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any

import aiohttp
import pytest

from consumer.console.api import ConsoleToken, TokenRole, parse_tokens, serve_console
from consumer.errors import ConfigError
from consumer.telemetry import Metrics

READ = "r" * 24
OPERATE = "o" * 24
FILE = f"# ours\nprometheus:read:{READ}\n\nadmin:operate:{OPERATE}\n"


class Console:
    """A console on a free port, with a state that a test may change."""

    def __init__(self) -> None:
        self.state: dict[str, Any] = {"ready": True, "problems": [], "notes": []}
        self.metrics = Metrics()
        self.url = ""

    def readiness(self) -> Mapping[str, Any]:
        return self.state

    async def get(
        self, path: str, token: str | None = None, scheme: str = "Bearer"
    ) -> tuple[int, str]:
        headers = {} if token is None else {"Authorization": f"{scheme} {token}"}
        async with (
            aiohttp.ClientSession() as session,
            session.get(self.url + path, headers=headers) as answer,
        ):
            assert answer.headers["Cache-Control"] == "no-store"
            return answer.status, await answer.text()


@pytest.fixture
async def console() -> AsyncIterator[Console]:
    console = Console()
    tokens = parse_tokens(FILE)
    address = ("127.0.0.1", 0)
    async with serve_console(address, tokens, console.readiness, console.metrics) as url:
        console.url = url
        yield console


async def test_health_needs_no_token(console: Console):
    """Anybody learns that the process answers, and nothing else."""
    assert (200, "") == await console.get("/healthz")


async def test_readiness_is_a_bare_status_without_a_token(console: Console):
    """Without a token readiness is 200 or 503 with an empty body."""
    ready = await console.get("/readyz")
    console.state |= {"ready": False, "problems": ["log: disk full"]}
    unready = await console.get("/readyz")

    assert [(200, ""), (503, "")] == [ready, unready]


@pytest.mark.parametrize("token", [READ, OPERATE])
async def test_a_token_learns_why(console: Console, token: str):
    """With a token of either role readiness names the problems."""
    console.state |= {"ready": False, "problems": ["log: disk full"]}

    status, text = await console.get("/readyz", token)

    assert (503, True) == (status, "log: disk full" in text)


async def test_metrics_are_prometheus_text(console: Console):
    """With a token the metrics of the service are given as Prometheus reads them."""
    console.metrics.deliveries.labels(verdict="accepted").inc()

    status, text = await console.get("/metrics", READ)

    assert 200 == status
    assert 'fal_consumer_deliveries_total{verdict="accepted"} 1.0' in text


@pytest.mark.parametrize("path", ["/readyz", "/metrics"])
@pytest.mark.parametrize(
    "token, scheme",
    [("wrong" * 5, "Bearer"), ("", "Bearer"), (READ, "Basic"), ("ü" * 24, "Bearer")],
)
async def test_a_wrong_token_is_refused(console: Console, path: str, token: str, scheme: str):
    """A token that is not one of ours gets 401, also where none would have been needed."""
    assert (401, "") == await console.get(path, token, scheme)


async def test_metrics_without_a_token_are_refused(console: Console):
    """The listener is never open: no token, no metrics."""
    assert (401, "") == await console.get("/metrics")


async def test_unknown_paths_say_nothing(console: Console):
    """A path that does not exist is an empty 404."""
    assert (404, "") == await console.get("/etc/passwd", OPERATE)


async def test_what_is_no_http_reaches_no_log(console: Console, caplog: pytest.LogCaptureFixture):
    """Bytes of a stranger are answered with 400 and stand in no log."""
    host, port = console.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))

    writer.write(b"GET / HTTP/1.1\r\nbad header\x00secret\r\n\r\n")
    answer = await reader.readline()
    writer.close()
    await writer.wait_closed()

    assert b" 400 " in answer
    assert "secret" not in caplog.text


async def test_an_address_in_use_is_an_error(console: Console):
    """A second console on the same address is an OSError for whoever opens it."""
    port = int(console.url.rpartition(":")[2])

    with pytest.raises(OSError):
        async with serve_console(("127.0.0.1", port), (), console.readiness, Metrics()):
            pass


def test_tokens_are_read_with_names_and_roles():
    """Each line is one token; only its hash is kept, and it never shows itself."""
    tokens = parse_tokens(FILE)

    assert [("prometheus", TokenRole.READ), ("admin", TokenRole.OPERATE)] == [
        (token.name, token.role) for token in tokens
    ]
    assert READ not in repr(tokens)


def test_every_mistake_in_the_tokens_is_told_without_a_value():
    """Wrong lines are named by number, all at once, and none is quoted."""
    text = f"a:read:short\nb:owner:{READ}\nc:read:{READ}\nc:read:{OPERATE}\nnonsense\n"

    with pytest.raises(ConfigError) as caught:
        parse_tokens(text)

    said = [sentence.split(": ")[1] for sentence in caught.value.mistakes]
    assert ["line 1", "line 2", "line 4", "line 5"] == said
    assert not any(secret in str(caught.value) for secret in (READ, OPERATE, "short", "nonsense"))


def test_a_file_without_tokens_is_a_mistake():
    """An empty file would lock everybody out: it is refused."""
    with pytest.raises(ConfigError):
        parse_tokens("# nobody\n")


def test_a_token_is_compared_by_its_hash():
    """Two files with the same secret make equal tokens."""
    assert parse_tokens(f"a:read:{READ}") == parse_tokens(f"a:read:{READ}")
    assert isinstance(parse_tokens(f"a:read:{READ}")[0], ConsoleToken)
