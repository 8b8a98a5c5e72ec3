"""
The console's HTTP side: is it alive, is it ready and why not, and its metrics.

The listener is never open: whatever says more than a bare status needs a named token,
loopback included. What readiness and metrics mean is decided elsewhere.
"""

import logging
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import sha256
from hmac import compare_digest
from typing import Any

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from consumer.console.requests_api import requests_routes
from consumer.console.requests_door import RequestsDoor
from consumer.errors import ConfigError
from consumer.telemetry import Metrics, get_logger

_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
_TOKEN = re.compile(r"[\x21-\x7e]{20,512}")
# Twenty visible characters: what `openssl rand -base64 16` gives, and no password somebody
# remembers.
_IDLE_S = 75.0
_CLOSE_WITHIN_S = 1.0
_MAX_BODY_BYTES = 64 * 1024

_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class TokenRole(StrEnum):
    """What the holder of a token may do; `operate` includes `read`."""

    READ = "read"
    OPERATE = "operate"


_ROLES = frozenset(role.value for role in TokenRole)


@dataclass(frozen=True, slots=True)
class ConsoleToken:
    """A named token. Only its SHA-256 is kept."""

    name: str
    role: TokenRole
    digest: bytes = field(repr=False)


def parse_tokens(text: str) -> tuple[ConsoleToken, ...]:
    """
    Return the tokens of a file: a line each, `name:role:token`; empty and `#` lines are skipped.

    Raises ConfigError with every mistake by its line number, never with a value.
    """
    tokens: dict[str, ConsoleToken] = {}
    mistakes = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        token = _maybe_token(line.strip())
        if token is None:
            mistakes.append(
                f"line {number}: expected name:role:token, role read or operate, "
                "a token of 20 or more visible characters"
            )
        elif token.name in tokens:
            mistakes.append(f"line {number}: the name is used twice")
        else:
            tokens[token.name] = token
    if not tokens and not mistakes:
        mistakes.append("the file holds no token")
    if mistakes:
        raise ConfigError([f"FAL_CONSUMER_CONSOLE_TOKENS_FILE: {said}" for said in mistakes])
    return tuple(tokens.values())


def find_token(tokens: Sequence[ConsoleToken], given: str) -> ConsoleToken | None:
    """Return the token of which `given` is the secret, or None."""
    digest = sha256(given.strip().encode("utf-8", "surrogateescape")).digest()
    # Every token is compared, so that the time tells nothing about which one came close.
    found = [token for token in tokens if compare_digest(token.digest, digest)]
    return found[0] if found else None


@asynccontextmanager
async def serve_console(  # noqa: PLR0913  it joins these parts
    address: tuple[str, int],
    tokens: Sequence[ConsoleToken],
    readiness: Callable[[], Mapping[str, Any]],
    metrics: Metrics,
    *,
    door: RequestsDoor | None = None,
    max_body_bytes: int = _MAX_BODY_BYTES,
) -> AsyncIterator[str]:
    """
    Serve the console on (host, port) while the context lasts; gives its URL, `http://host:port`.

    `readiness` answers at once, with `ready` among its JSON values. With a `door` requests are
    taken too, bodies up to `max_body_bytes`. Raises OSError when the address cannot be had.
    """
    host, port = address
    runner = web.AppRunner(
        _application(tokens, readiness, metrics, door, max_body_bytes),
        access_log=None,  # it would print paths and their queries
        logger=_SILENT,  # it would print bytes that a stranger sent
        keepalive_timeout=_IDLE_S,
        shutdown_timeout=_CLOSE_WITHIN_S,
        handle_signals=False,
    )
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        bound_host, bound_port = runner.addresses[0][:2]
        url = f"http://{f'[{bound_host}]' if ':' in bound_host else bound_host}:{bound_port}"
        get_logger().info("console.started", url=url)
        yield url
    finally:
        await runner.cleanup()


def _application(
    tokens: Sequence[ConsoleToken],
    readiness: Callable[[], Mapping[str, Any]],
    metrics: Metrics,
    door: RequestsDoor | None,
    max_body_bytes: int,
) -> web.Application:
    async def healthz(_request: web.Request) -> web.Response:
        return web.Response()

    async def readyz(request: web.Request) -> web.Response:
        found = readiness()
        status = 200 if found["ready"] else 503
        if "Authorization" not in request.headers:
            return web.Response(status=status)
        _require_token(request, tokens)
        return web.json_response(dict(found), status=status)

    async def show_metrics(request: web.Request) -> web.Response:
        _require_token(request, tokens)
        text = generate_latest(metrics.registry)
        return web.Response(body=text, headers={"Content-Type": CONTENT_TYPE_LATEST})

    def may_operate(request: web.Request) -> None:
        if _require_token(request, tokens).role is not TokenRole.OPERATE:
            raise web.HTTPForbidden

    def may_read(request: web.Request) -> None:
        _require_token(request, tokens)

    app = web.Application(client_max_size=max_body_bytes, middlewares=[_harden])
    if door is not None:
        app.add_routes(requests_routes(door, may_read, may_operate))
    app.add_routes(
        [
            web.get("/healthz", healthz),
            web.get("/readyz", readyz),
            web.get("/metrics", show_metrics),
        ]
    )
    return app


@web.middleware
async def _harden(request: web.Request, handler: _Handler) -> web.StreamResponse:
    """Give every answer the headers that keep it out of caches and frames."""
    try:
        response = await handler(request)
    except web.HTTPException as exc:
        response = web.Response(status=exc.status, headers=_challenge(exc.status))
    response.headers["Cache-Control"] = "no-store"
    response.headers["X-Content-Type-Options"] = "nosniff"
    return response


def _challenge(status: int) -> dict[str, str]:
    return {"WWW-Authenticate": 'Bearer realm="fal-consumer"'} if status == 401 else {}


def _require_token(request: web.Request, tokens: Sequence[ConsoleToken]) -> ConsoleToken:
    """Return the token that the request bears. Raises HTTPUnauthorized."""
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    found = find_token(tokens, given)
    if scheme.lower() != "bearer" or found is None:
        raise web.HTTPUnauthorized
    return found


def _maybe_token(line: str) -> ConsoleToken | None:
    name, _, rest = line.partition(":")
    role, _, secret = rest.partition(":")
    if not _NAME.fullmatch(name) or role not in _ROLES or not _TOKEN.fullmatch(secret):
        return None
    return ConsoleToken(name, TokenRole(role), sha256(secret.encode()).digest())


_SILENT = logging.getLogger("consumer.console")
_SILENT.setLevel(logging.CRITICAL + 1)  # aiohttp logs what it cannot parse, bytes and all
