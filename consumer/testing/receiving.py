"""
A running receiver on fakes, and a caller that writes raw HTTP: it tidies nothing up.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from consumer.core.token import WEBHOOK_PATH
from consumer.ports import Publisher
from consumer.receiver import (
    Listener,
    Receiver,
    ReceiverParts,
    ReceiverRules,
    serve_receiver,
)
from consumer.telemetry import Metrics
from consumer.testing.keys import FakeKeys, Signer
from consumer.testing.log import MemoryLog

ACCOUNT = "github|1"
NOW = datetime(2026, 7, 16, 12, 46, 54, tzinfo=UTC)


@dataclass
class Lines:
    """A logger that keeps its lines as (level, event, values)."""

    told: list[tuple[str, str, dict[str, Any]]] = field(default_factory=list)

    def debug(self, event: str, **values: Any) -> None:
        """Keep the line."""
        self.told.append(("debug", event, values))

    def info(self, event: str, **values: Any) -> None:
        """Keep the line."""
        self.told.append(("info", event, values))

    def warning(self, event: str, **values: Any) -> None:
        """Keep the line."""
        self.told.append(("warning", event, values))

    def error(self, event: str, **values: Any) -> None:
        """Keep the line."""
        self.told.append(("error", event, values))


@dataclass
class Setting:
    """What a receiver runs on, and what a test may change while it runs."""

    signer: Signer = field(default_factory=Signer)
    now: datetime = NOW
    lines: Lines = field(default_factory=Lines)
    metrics: Metrics = field(default_factory=Metrics)
    is_ready: bool = True

    def __post_init__(self) -> None:
        self.keys = FakeKeys(self.signer)
        self.log = MemoryLog(clock=self.clock)

    def clock(self) -> datetime:
        """Return the present instant of this setting."""
        return self.now

    def parts(self, publisher: Publisher | None = None) -> ReceiverParts:
        """Return the receiver's parts, all fakes."""
        return ReceiverParts(
            self.keys,
            publisher or self.log,
            self.clock,
            self.metrics,
            self.lines,
            lambda: self.is_ready,
        )

    def headers(self, request_id: str, body: bytes, account: str = ACCOUNT) -> dict[str, str]:
        """Return the four headers of a genuine delivery, signed now."""
        return self.signer.headers(request_id, body, at=self.now, account=account)


@dataclass
class Caller:
    """Speaks to one address. Every wait has a deadline."""

    host: str
    port: int
    deadline_s: float = 20.0

    async def post(
        self,
        body: bytes,
        headers: Mapping[str, str] | Iterable[tuple[bytes, bytes]],
        *,
        path: str = WEBHOOK_PATH,
    ) -> int:
        """Return the status that a POST is answered with, on a connection of its own."""
        return status_of(await self.exchange(as_request(body, headers, path=path)))

    async def exchange(self, raw: bytes) -> bytes:
        """Return all that comes back for raw bytes until the other side closes."""
        async with asyncio.timeout(self.deadline_s):
            reader, writer = await asyncio.open_connection(self.host, self.port)
            try:
                writer.write(raw)
                return await reader.read()
            finally:
                writer.close()


def as_request(
    body: bytes,
    headers: Mapping[str, str] | Iterable[tuple[bytes, bytes]],
    *,
    path: str = WEBHOOK_PATH,
    method: str = "POST",
    closes: bool = True,
) -> bytes:
    """Return a whole HTTP/1.1 request; one that `closes` asks for the end of the connection."""
    if isinstance(headers, Mapping):
        pairs = [(name.encode("ascii"), value.encode("latin-1")) for name, value in headers.items()]
    else:
        pairs = list(headers)
    pairs += [(b"Host", b"localhost"), (b"Content-Length", str(len(body)).encode("ascii"))]
    if closes:
        pairs.append((b"Connection", b"close"))
    lines = b"".join(name + b": " + value + b"\r\n" for name, value in pairs)
    return f"{method} {path} HTTP/1.1\r\n".encode() + lines + b"\r\n" + body


def status_of(answer: bytes) -> int:
    """Return the status of the first answer, 0 when there is none."""
    words = answer.split(b" ", 2)
    return int(words[1]) if len(words) == 3 and words[0].startswith(b"HTTP/1.") else 0


@asynccontextmanager
async def running_receiver(
    setting: Setting, rules: ReceiverRules | None = None, publisher: Publisher | None = None
) -> AsyncIterator[tuple[Caller, Listener]]:
    """Serve a receiver on a free port; yields who calls it, and where it listens."""
    rules = rules or ReceiverRules(frozenset({ACCOUNT}), "https://keys.example")
    receiver = Receiver(setting.parts(publisher), rules)
    async with serve_receiver(receiver, "127.0.0.1", 0) as listener:
        yield Caller(listener.host, listener.port), listener
