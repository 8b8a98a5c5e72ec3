"""
The receiver: POST → verify → event → durable → status. Nothing unverified gets past here.

This file holds the order of work, from the cheapest refusal to the log, and the words
that are said about it. How each step is done lives in `consumer.receiving`.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web

from consumer.core.delivery import Delivery, check_timestamp, read_headers
from consumer.core.token import WEBHOOK_PATH
from consumer.errors import DeliveryError, MalformedDelivery, Unavailable
from consumer.ports import Clock, Keys, Publisher
from consumer.receiving.body import Bodies
from consumer.receiving.edge import Edge
from consumer.receiving.judging import Judge
from consumer.receiving.limits import ReceiverLimits
from consumer.receiving.publishing import Desk, Envelope
from consumer.receiving.telling import Teller
from consumer.telemetry import Logger, Metrics

_BACKLOG = 1024


@dataclass(frozen=True, slots=True)
class ReceiverParts:
    """What the receiver stands on. `is_ready` answers at once, from what is known."""

    keys: Keys
    publisher: Publisher
    clock: Clock
    metrics: Metrics
    logger: Logger
    is_ready: Callable[[], bool] = lambda: True


@dataclass(frozen=True, slots=True)
class ReceiverRules:
    """
    What the receiver goes by.

    `accounts` are the fal user ids that are ours; none means that deliveries are kept as
    unproven. `source` is the origin of the key set, for `ce_source`. Of `token_secrets`
    any may have signed a callback token.
    """

    accounts: frozenset[str]
    source: str
    token_secrets: tuple[bytes, ...] = field(default=(), repr=False)
    limits: ReceiverLimits = field(default_factory=ReceiverLimits)


class Receiver:
    """Answers requests. `status_of` is the whole of it; `serve_receiver` gives it a socket."""

    def __init__(self, parts: ReceiverParts, rules: ReceiverRules) -> None:
        limits = rules.limits
        self.limits = limits
        self.teller = Teller(parts.metrics, parts.logger, has_accounts=bool(rules.accounts))
        self._clock = parts.clock
        self._is_ready = parts.is_ready
        self._bodies = Bodies(limits)
        self._judge = Judge(
            parts.keys,
            rules.accounts,
            max_unproven_bytes_per_hour=limits.max_unproven_bytes_per_hour,
        )
        self._desk = Desk(
            parts.publisher,
            source=rules.source,
            token_secrets=rules.token_secrets,
            clock=parts.clock,
            limits=limits,
        )
        self._answer_deadline_s = limits.answer_deadline.total_seconds()

    async def status_of(self, request: web.BaseRequest) -> int:
        """Return the HTTP status for a request, after everything that it promises is done."""
        path_token = maybe_path_token(_path(request))
        if path_token is None:
            return self._health_status(_path(request))
        if request.method != "POST":
            return 405
        started = asyncio.get_running_loop().time()
        received_at = self._clock()
        headers = None
        try:
            headers = read_headers(request.raw_headers)
            _refuse_encoding(request)
            check_timestamp(headers, now=received_at)
            body = await self._bodies.maybe_read(request)
            if body is None:
                self.teller.left()
                return 400  # nobody reads it
            try:
                delivery = Delivery(headers, body, received_at)
                await self._settle(delivery, path_token, started)
            finally:
                self._bodies.give_back(len(body))
        except DeliveryError as exc:
            self.teller.rejected(exc, exc.http_status, headers, started)
            return exc.http_status
        except Unavailable as exc:
            self.teller.rejected(exc, 503, headers, started)
            return 503
        return 200

    async def _settle(self, delivery: Delivery, path_token: str, started: float) -> None:
        answer_at = started + self._answer_deadline_s
        verified = await self._judge.verified(delivery, answer_at=answer_at)
        envelope = Envelope(verified, path_token, self._judge.is_ours(verified))
        published = await self._desk.publish(envelope, answer_at=answer_at)
        self.teller.settled(envelope, published, started)

    def _health_status(self, path: str) -> int:
        if path == "/healthz":
            return 200
        if path == "/readyz":
            return 200 if self._is_ready() else 503
        return 404


@dataclass(frozen=True, slots=True)
class Listener:
    """Where the receiver listens; the port is the real one where 0 was asked for."""

    host: str
    port: int
    edge: Edge = field(repr=False)


@asynccontextmanager
async def serve_receiver(
    receiver: Receiver, host: str, port: int, *, reuse_port: bool = False
) -> AsyncIterator[Listener]:
    """
    Serve on an address while the context lasts; then finish what is in hand and close.

    Raises OSError when the address cannot be had.
    """
    edge = Edge(
        receiver.status_of,
        receiver.limits,
        on_malformed=receiver.teller.malformed,
        on_broken=receiver.teller.broken,
    )
    loop = asyncio.get_running_loop()
    try:
        server = await loop.create_server(
            edge, host, port, backlog=_BACKLOG, reuse_port=reuse_port or None
        )
        try:
            yield Listener(host, _port(server), edge)
        finally:
            server.close()
    finally:
        await edge.stop()


def maybe_path_token(path: str) -> str | None:
    """
    Return the token of a webhook path, empty where it has none; None for any other path.

    A trailing slash is accepted: a redirect would be a permanent failure.
    Source: fal docs, "Webhooks", 3xx answers (captures up to 2026-09).
    """
    if not path.startswith(WEBHOOK_PATH):
        return None
    rest = path[len(WEBHOOK_PATH) :]
    if rest in ("", "/"):
        return ""
    token = rest[1:].removesuffix("/")
    return token if rest[0] == "/" and token and "/" not in token else None


def _path(request: web.BaseRequest) -> str:
    """Return the path as sent, without query; of a target in absolute form its path."""
    target = request.raw_path
    if target.startswith("/"):
        return target.partition("?")[0]
    return request.rel_url.raw_path


def _refuse_encoding(request: web.BaseRequest) -> None:
    """Raise MalformedDelivery for an encoded body: what is signed is the body as it came."""
    for value in request.headers.getall("Content-Encoding", ()):
        if value.strip().lower() not in ("", "identity"):
            raise MalformedDelivery("Content-Encoding", "not identity")


def _port(server: asyncio.Server) -> int:
    port: int = server.sockets[0].getsockname()[1]
    return port
