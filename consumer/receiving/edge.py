"""
The HTTP edge: aiohttp's low-level server with its open ends closed.

Connections are bounded in number and in the time they may keep us waiting, answers are
empty and written in one piece, and a request that is no HTTP is counted and answered
without its bytes reaching a log. What a request means is not known here.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from email.utils import formatdate
from typing import Any, cast

from aiohttp import HttpVersion11, web

from consumer.receiving.limits import ReceiverLimits

_TICK_S = 0.5
# How often waiting connections are looked at and the `Date` of answers is renewed.
_LINGER_S = 1.0
# After an early answer the rest of the body is read and dropped for so long, so that the
# sender sees the answer instead of a reset (RFC 9112, 9.6).
_READ_BUFFER_BYTES = 64 * 1024
# Per connection, before reading pauses. Not counted in `max_reading_bytes`.
RETRY_AFTER_S = 5
# A wish: fal keeps to its own schedule, whose first gap is about 2 s (recorded 2026-07-16).

_EXTRA_HEADERS = {405: "Allow: POST\r\n", 503: f"Retry-After: {RETRY_AFTER_S}\r\n"}
_REASONS = {
    200: "OK",
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    413: "Content Too Large",
    503: "Service Unavailable",
}

Handler = Callable[[web.BaseRequest], Awaitable[int]]
"""Returns the HTTP status to answer with."""


class _Dates:
    """The `Date` line that ends every answer, renewed by the edge."""

    def __init__(self) -> None:
        self.line = b""
        self.renew()

    def renew(self) -> None:
        self.line = f"Date: {formatdate(usegmt=True)}\r\n\r\n".encode("ascii")


class Answer:
    """
    An answer with an empty body, shared by all requests that get it.

    Has the three members that aiohttp's connection uses of a response. Going through
    `web.Response` costs 20 µs more, and every answer of ours is one of sixteen.
    """

    __slots__ = ("_dates", "_head", "keep_alive", "status")

    def __init__(self, status: int, dates: _Dates, *, keep_alive: bool) -> None:
        self.status = status
        self.keep_alive = keep_alive
        self._dates = dates
        connection = "" if keep_alive else "Connection: close\r\n"
        head = f"HTTP/1.1 {status} {_REASONS[status]}\r\nContent-Length: 0\r\n"
        self._head = f"{head}{_EXTRA_HEADERS.get(status, '')}{connection}".encode("ascii")

    def as_bytes(self) -> bytes:
        """Return the whole answer."""
        return self._head + self._dates.line

    async def prepare(self, request: web.BaseRequest) -> None:
        """Write the answer. Raises ConnectionResetError when the peer left or reads no answers."""
        transport = request.transport
        if transport is None or request.protocol.writing_paused:
            raise ConnectionResetError
        transport.write(self._head + self._dates.line)

    async def write_eof(self) -> None:
        """There is no body."""


class Connection(web.RequestHandler):
    """
    One connection.

    `waiting_since` (loop time) is None while the next move is ours; `is_head_open` holds
    from the connection's start, or a request's first byte, to the end of its headers;
    `is_in_hand` while a request is being answered.
    """

    __slots__ = ("edge", "is_head_open", "is_in_hand", "waiting_since")

    def __init__(self, edge: "Edge", **options: Any) -> None:
        super().__init__(edge, **options)
        self.edge = edge
        self.waiting_since: float | None = None
        self.is_in_hand = False
        self.is_head_open = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection, where need be in place of another."""
        self.wait_for_peer()
        super().connection_made(transport)
        self.edge.admit(self)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Forget the connection; a delivery in hand is finished all the same."""
        self.edge.dismiss(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Feed the parser; the first byte of a request starts its clock."""
        if not self.is_in_hand and not self.is_head_open:
            self.is_head_open = True
            self.wait_for_peer()
        super().data_received(data)

    def wait_for_peer(self) -> None:
        """Say that the next move is the peer's: the connection may give way to another."""
        self.waiting_since = self._loop.time()

    def handle_error(
        self,
        request: web.BaseRequest,  # noqa: ARG002
        status: int = 500,
        exc: BaseException | None = None,  # noqa: ARG002
        message: str | None = None,  # noqa: ARG002
    ) -> web.StreamResponse:
        """Answer what the parser refused: empty, counted, its bytes in no log."""
        self.edge.on_malformed()
        return cast(web.StreamResponse, self.edge.answer(400 if status < 500 else 503))

    def log_exception(self, *args: Any, **kw: Any) -> None:  # noqa: ARG002
        """Count what aiohttp would log with the peer's bytes in it."""
        self.edge.on_malformed()


class Edge(web.Server):
    """
    The server behind the listening socket: `loop.create_server(edge, …)`.

    `handler` gives the status; whatever else it raises is answered 503 and told to
    `on_broken` with the exception. `on_malformed` hears of each unreadable request.
    """

    def __init__(
        self,
        handler: Handler,
        limits: ReceiverLimits,
        *,
        on_malformed: Callable[[], None],
        on_broken: Callable[[Exception], None],
    ) -> None:
        super().__init__(self._handle, loop=asyncio.get_running_loop())
        self.on_malformed = on_malformed
        self.is_stopping = False
        self._handler = handler
        self._limits = limits
        self._on_broken = on_broken
        self._dates = _Dates()
        self._keeping = {code: Answer(code, self._dates, keep_alive=True) for code in _REASONS}
        self._closing = {code: Answer(code, self._dates, keep_alive=False) for code in _REASONS}
        self._open: dict[Connection, None] = {}
        self._in_hand = 0
        self._drained = asyncio.Event()
        self._head_deadline_s = limits.head_deadline.total_seconds()
        self._idle_deadline_s = limits.idle_deadline.total_seconds()
        self._ticker = self._loop.call_later(_TICK_S, self._tick)

    def __call__(self) -> Connection:
        """Return the protocol of a new connection."""
        return Connection(
            self,
            loop=self._loop,
            keepalive_timeout=self._idle_deadline_s,
            logger=_SILENT,
            access_log=None,
            lingering_time=_LINGER_S,
            read_bufsize=_READ_BUFFER_BYTES,
            auto_decompress=False,
        )

    def answer(self, status: int) -> Answer:
        """Return the answer that closes its connection."""
        return self._closing[status]

    def admit(self, connection: Connection) -> None:
        """Keep the number of connections bounded: the one that waits longest gives way."""
        if len(self._open) >= self._limits.max_connections:
            waiting = [other for other in self._open if other.waiting_since is not None]
            if not waiting:
                if connection.transport is not None:
                    connection.transport.write(self._closing[503].as_bytes())
                connection.force_close()
                return
            oldest = min(waiting, key=_waiting_since)
            self.dismiss(oldest)
            oldest.force_close()
        self._open[connection] = None

    def dismiss(self, connection: Connection) -> None:
        """Forget a connection that is lost or given up."""
        self._open.pop(connection, None)

    async def stop(self) -> None:
        """
        Answer what is in hand within the drain deadline, then close every connection.

        The caller has closed the listening sockets. Idle connections close at once; a
        request that still arrives is answered 503.
        """
        self.is_stopping = True
        for connection in list(self._open):
            if not connection.is_in_hand:
                connection.force_close()
        if self._in_hand:
            try:
                async with asyncio.timeout(self._limits.drain_deadline.total_seconds()):
                    await self._drained.wait()
            except TimeoutError:
                pass
        self._ticker.cancel()
        await self.shutdown(_LINGER_S)

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        connection = cast(Connection, request.protocol)
        connection.is_in_hand = True
        connection.waiting_since = None
        self._in_hand += 1
        try:
            status = 503 if self.is_stopping else await self._handler(request)
        except Exception as exc:  # noqa: BLE001 - the edge: fal tries again, the fault is told
            self._on_broken(exc)
            status = 503
        finally:
            self._in_hand -= 1
            connection.is_in_hand = connection.is_head_open = False
            connection.wait_for_peer()
            if self.is_stopping and not self._in_hand:
                self._drained.set()
        keeps = (
            request.keep_alive
            and request.version == HttpVersion11
            and not self.is_stopping
            and request.content.is_eof()
        )
        return cast(web.StreamResponse, (self._keeping if keeps else self._closing)[status])

    def _tick(self) -> None:
        self._ticker = self._loop.call_later(_TICK_S, self._tick)
        self._dates.renew()
        late = self._loop.time() - self._head_deadline_s
        for connection in list(self._open):
            if connection.is_head_open and not connection.is_in_hand:
                since = connection.waiting_since
                if since is not None and since < late:
                    connection.force_close()


def _waiting_since(connection: Connection) -> float:
    return connection.waiting_since or 0.0


_SILENT = logging.getLogger("consumer.receiving.edge")
_SILENT.addHandler(logging.NullHandler())
_SILENT.propagate = False
