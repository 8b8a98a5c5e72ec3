"""
The tools over a transport of the SDK: standard input and output, or streamable HTTP.

On stdio nothing but the protocol is written to standard output. HTTP is behind named tokens,
judged before anything else; each request stands alone, so a restart breaks no agent.
"""

import asyncio
import logging
import os
import socket
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass

import uvicorn
from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser, BearerAuthBackend
from mcp.server.auth.provider import AccessToken
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server
from mcp.server.transport_security import TransportSecuritySettings
from starlette.applications import Starlette
from starlette.middleware.authentication import AuthenticationMiddleware

from consumer.agents.server import AgentRole, Context, ToolServer
from consumer.agents.tools import Tool
from consumer.telemetry import get_logger

_log = get_logger()

PATH = "/mcp"
_LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
_MAX_REQUEST_BYTES = 4 * 1024 * 1024
_MAX_CONNECTIONS = 256
_IDLE_S = 75
_BACKLOG = 128
_FLUSH_S = 1
# For answers that are on their way when all calls are done. A stream that a client merely holds
# open, as some do for as long as they live, must not hold up the stop.

Holder = tuple[str, AgentRole]
"""The name and the role of a token."""
FindHolder = Callable[[str], Holder | None]


# ---------------------------------------------------------------- stdio


async def serve_stdio(
    tools: dict[str, Tool], *, is_recorded: bool, stop: asyncio.Event, stop_within_s: float
) -> None:
    """
    Serve whoever started this process, until it closes our standard input or `stop` is set.

    Whoever holds our standard input may do all. At `stop`, calls in hand are finished within
    `stop_within_s`, and the process is ended: a read of standard input cannot be broken off.
    """
    _hear_libraries()
    joined = ToolServer(tools, lambda _context: AgentRole.OPERATE)
    server = joined.server(is_recorded=is_recorded)
    _log.info("mcp.started", transport="stdio")
    async with asyncio.TaskGroup() as tasks:
        ending = tasks.create_task(_end_at(stop, joined, stop_within_s))
        async with stdio_server() as (incoming, outgoing):
            await server.run(incoming, outgoing, server.create_initialization_options())
        ending.cancel()
    _log.info("mcp.stopped")


async def _end_at(stop: asyncio.Event, joined: ToolServer, within_s: float) -> None:
    await stop.wait()
    await joined.drain(within_s)
    _log.info("mcp.stopped")
    os._exit(0)


# ---------------------------------------------------------------- HTTP


@dataclass(frozen=True, slots=True)
class Door:
    """Where HTTP is served, under which names, and who gets in."""

    host: str
    port: int
    names: Sequence[str]
    """Host names that clients may call it by, besides its own address and loopback's."""
    find_holder: FindHolder


@asynccontextmanager
async def serve_http(
    tools: dict[str, Tool], door: Door, *, is_recorded: bool, stop_within_s: float
) -> AsyncIterator[str]:
    """
    Serve HTTP while the context lasts; gives the URL of the endpoint.

    On leaving, no call is taken any more, and those in hand are finished within `stop_within_s`.
    Raises OSError when the address cannot be had.
    """
    _hear_libraries()
    joined = ToolServer(tools, _role_of)
    listener = _listener(door)
    host, port = listener.getsockname()[:2]
    app = _application(joined.server(is_recorded=is_recorded), door, host)
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        limit_concurrency=_MAX_CONNECTIONS,
        timeout_keep_alive=_IDLE_S,
        timeout_graceful_shutdown=_FLUSH_S,
    )
    running = _Uvicorn(config)
    url = f"http://{f'[{host}]' if ':' in host else host}:{port}{PATH}"
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(running.serve(sockets=[listener]), name="mcp")
        _log.info("mcp.started", transport="http", url=url)
        try:
            yield url
        finally:
            await joined.drain(stop_within_s)
            _hear_libraries(logging.CRITICAL)  # they complain of streams that are cut now
            running.should_exit = True
    _log.info("mcp.stopped")


class _Uvicorn(uvicorn.Server):
    """Leaves the signals to the process that it runs in."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _listener(door: Door) -> socket.socket:
    family = socket.AF_INET6 if ":" in door.host else socket.AF_INET
    listener = socket.socket(family)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((door.host, door.port))
        listener.listen(_BACKLOG)  # whoever is told the URL can connect at once
    except BaseException:
        listener.close()
        raise
    return listener


def _application(server: Server[dict[str, object]], door: Door, host: str) -> Starlette:
    names = [f"[{host}]" if ":" in host else host, *_LOOPBACK, *door.names]
    hosts = [text for name in names for text in (name, f"{name}:*")]
    origins = [f"{scheme}://{text}" for text in hosts for scheme in ("http", "https")]
    verifier = _Verifier(door.find_holder)
    app = server.streamable_http_app(
        streamable_http_path=PATH,
        stateless_http=True,
        max_request_body_size=_MAX_REQUEST_BYTES,
        # A page in somebody's browser must not reach it by a name that it made point here.
        transport_security=TransportSecuritySettings(allowed_hosts=hosts, allowed_origins=origins),
        token_verifier=verifier,
    )
    app.add_middleware(AuthenticationMiddleware, backend=BearerAuthBackend(verifier))
    return app


class _Verifier:
    """The console's tokens, as the SDK asks about tokens."""

    def __init__(self, find_holder: FindHolder) -> None:
        self._find_holder = find_holder

    async def verify_token(self, token: str) -> AccessToken | None:
        """Return who bears the token, or None. The token itself is kept nowhere."""
        holder = self._find_holder(token)
        if holder is None:
            return None
        name, role = holder
        return AccessToken(token="", client_id=name, scopes=[role.value])


def _role_of(context: Context) -> AgentRole:
    """Return the role of the token that the HTTP request bore; nobody is let in without one."""
    user = context.request.scope.get("user") if context.request is not None else None
    if isinstance(user, AuthenticatedUser) and AgentRole.OPERATE.value in user.scopes:
        return AgentRole.OPERATE
    return AgentRole.READ


# ---------------------------------------------------------------- the libraries' own words


class _Hearing(logging.Handler):
    """Tells that a library warned, and where in it: its words may hold what a stranger sent."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line of ours for one of theirs."""
        kind = record.exc_info[0].__name__ if record.exc_info and record.exc_info[0] else None
        where = f"{record.name}:{record.module}:{record.lineno}"
        _log.warning("mcp.library_warned", where=where, level_name=record.levelname, error=kind)


def _hear_libraries(level: int = logging.WARNING) -> None:
    for name in ("mcp", "uvicorn"):
        logger = logging.getLogger(name)
        logger.handlers = [_Hearing(level)]
        logger.propagate = False
