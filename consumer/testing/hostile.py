"""
Requests that nobody should send, made from a seed: as many as are asked for.

Each is raw bytes with the way they are sent: in one piece, dripped, cut short, or left
half open. What a receiver may answer is an empty 4xx or 503, or nothing; `is_fair` judges.
"""

import asyncio
import gzip
import random
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime

from consumer.testing.deliveries import mutations, webhook_body
from consumer.testing.keys import Signer
from consumer.testing.receiving import as_request, status_of

CANARY = "canary-7f3a"
"""Planted wherever foreign text can be put; it must appear in no log."""

_ANSWER_DEADLINE_S = 60.0
_PATIENCE_S = 0.3
# How long an incomplete request is left open. That it is ended is what other tests attack.
_ALLOWED = frozenset({0, 200, 400, 401, 403, 404, 405, 413, 503})


@dataclass(frozen=True, slots=True)
class Shot:
    """One hostile request. `pause_s` lies between its pieces; a whole one must be answered."""

    kind: str
    pieces: tuple[bytes, ...] = field(repr=False)
    pause_s: float = 0.0
    is_whole: bool = True


@dataclass
class Tally:
    """What came back: counts by kind and status, and every answer that was not fair."""

    answers: Counter[tuple[str, int]] = field(default_factory=Counter)
    unfair: list[tuple[str, bytes]] = field(default_factory=list)

    def add(self, shot: Shot, answer: bytes) -> None:
        """Count one answer."""
        self.answers[shot.kind, status_of(answer)] += 1
        if not is_fair(answer):
            self.unfair.append((shot.kind, answer[:200]))


def is_fair(answer: bytes) -> bool:
    """Tell whether all that came back are allowed statuses with empty bodies."""
    heads = answer.split(b"\r\n\r\n")
    if heads.pop() != b"":
        return False
    return all(
        head == b"HTTP/1.1 100 Continue"
        or (status_of(head) in _ALLOWED and b"\r\nContent-Length: 0" in head)
        for head in heads
    )


class Traffic:
    """Makes shots for a receiver whose keys are not `signer`'s, but whose clock is `at`."""

    def __init__(self, seed: int, *, at: datetime, max_body_bytes: int) -> None:
        self._random = random.Random(seed)  # noqa: S311 - it plays traffic, it protects nothing
        self._signer = Signer("stranger")
        self._at = at
        self._max_body_bytes = max_body_bytes
        self._body = webhook_body(payload={"canary": CANARY})
        self._near_valid = list(mutations(self._headers(self._body), self._body))
        self._kinds: tuple[tuple[Callable[[], Shot], int], ...] = (
            (self._forged, 20),
            (self._near, 25),
            (self._noise, 10),
            (self._broken_line, 8),
            (self._smuggled, 8),
            (self._encoded, 6),
            (self._elsewhere, 6),
            (self._bad_chunks, 6),
            (self._pipelined, 3),
            (self._truncated, 5),
            (self._oversized, 1),
            (self._large, 1),
            (self._dripped, 1),
        )

    def shots(self, count: int) -> Iterator[Shot]:
        """Yield `count` shots."""
        makers = [maker for maker, _ in self._kinds]
        weights = [weight for _, weight in self._kinds]
        for maker in self._random.choices(makers, weights, k=count):
            yield maker()

    def _headers(self, body: bytes) -> dict[str, str]:
        return self._signer.headers(f"{CANARY}-id", body, at=self._at, account=f"{CANARY}|1")

    def _path(self) -> str:
        return self._random.choice(("/webhooks/fal", "/webhooks/fal/", f"/webhooks/fal/{CANARY}"))

    def _forged(self) -> Shot:
        body = webhook_body(payload={"canary": CANARY, "n": self._random.getrandbits(64)})
        return Shot("forged", (as_request(body, self._headers(body), path=self._path()),))

    def _near(self) -> Shot:
        near = self._random.choice(self._near_valid)
        return Shot("near-valid", (as_request(near.body, near.raw_headers, path=self._path()),))

    def _noise(self) -> Shot:
        noise = self._random.randbytes(self._random.randrange(1, 4096))
        return Shot("noise", (noise + b"\r\n\r\n",), is_whole=False)

    def _broken_line(self) -> Shot:
        line = self._random.choice(
            (
                b"GET /",
                b"POST /webhooks/fal HTTP/2.0",
                b"POST  /webhooks/fal  HTTP/1.1",
                b"\x00POST /webhooks/fal HTTP/1.1",
                b"POST /webhooks/fal\xff\xfe HTTP/1.1",
                b"POST /" + b"a" * self._random.randrange(8000, 20_000) + b" HTTP/1.1",
                b"POST http://[::1 HTTP/1.1",
                b"POST //\\..\\.. HTTP/1.1",
                b"PRI * HTTP/2.0",
                b"CONNECT canary-7f3a:443 HTTP/1.1",
                b"POST /webhooks/fal HTTP/1.1\r\nHost: x\r\n" + b"X: canary-7f3a\r\n" * 300,
                b"POST /webhooks/fal HTTP/1.1\r\nHost: x\r\nX: " + b"c" * 20_000,
            )
        )
        return Shot("broken line", (line + b"\r\nConnection: close\r\n\r\n",), is_whole=False)

    def _smuggled(self) -> Shot:
        both = self._random.choice(
            (
                b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
                b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
                b"Content-Length: 5\r\nContent-Length: 6\r\n",
                b"Content-Length: 5, 5\r\n",
                b"Content-Length : 5\r\n",
                b"Transfer-Encoding: xchunked\r\n",
                b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
                b"Transfer-Encoding:\x0bchunked\r\n",
                b"Content-Length: 0x5\r\n",
                b"Content-Length: " + b"9" * 30 + b"\r\n",
            )
        )
        hidden = b"0\r\n\r\nPOST /webhooks/fal/canary-7f3a HTTP/1.1\r\nHost: x\r\n\r\n"
        head = b"POST /webhooks/fal HTTP/1.1\r\nHost: x\r\n" + both + b"Connection: close\r\n\r\n"
        return Shot("smuggled", (head + hidden,), is_whole=False)

    def _encoded(self) -> Shot:
        bomb = gzip.compress(b"\0" * 1_000_000)
        encoding = self._random.choice(("gzip", "deflate", "br", "zstd", "gzip, gzip", "x"))
        headers = {**self._headers(bomb), "Content-Encoding": encoding}
        return Shot("encoded", (as_request(bomb, headers),))

    def _elsewhere(self) -> Shot:
        method = self._random.choice(("GET", "PUT", "DELETE", "TRACE", "OPTIONS", "PATCH", "BREW"))
        path = self._random.choice(
            (
                "/",
                "/webhooks/fal",
                "/../../etc/passwd",
                "/webhooks/fal/a/b",
                "/%00",
                "*",
                "/metrics",
            )
        )
        headers = {"Content-Type": "multipart/form-data; boundary=x", "Upgrade": "websocket"}
        return Shot("elsewhere", (as_request(b"x", headers, path=path, method=method),))

    def _bad_chunks(self) -> Shot:
        chunks = self._random.choice(
            (b"zz\r\n", b"-5\r\nabc", b"5\r\nabcdefghijk\r\n", b"f" * 40 + b"\r\n", b"5;x=\0\r\n")
        )
        head = as_request(b"", self._headers(self._body), path=self._path())
        chunked = head.replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
        return Shot("bad chunks", (chunked + chunks,), is_whole=False)

    def _pipelined(self) -> Shot:
        one = as_request(self._body, self._headers(self._body), closes=False)
        last = as_request(self._body, self._headers(self._body))
        return Shot("pipelined", (one * self._random.randrange(1, 40) + last,))

    def _truncated(self) -> Shot:
        whole = as_request(self._body, self._headers(self._body), path=self._path())
        return Shot("truncated", (whole[: self._random.randrange(1, len(whole))],), is_whole=False)

    def _oversized(self) -> Shot:
        head = as_request(b"", self._headers(self._body)).replace(
            b"Content-Length: 0", b"Content-Length: %d" % (self._max_body_bytes + 1)
        )
        return Shot("oversized", (head, b"x" * 65_536), is_whole=False)

    def _large(self) -> Shot:
        body = self._random.randbytes(1024) * self._random.randrange(1, 1024)
        return Shot("large", (as_request(body, self._headers(body)),))

    def _dripped(self) -> Shot:
        whole = as_request(self._body, self._headers(self._body), path=self._path())
        size = self._random.randrange(20, 200)
        pieces = tuple(whole[at : at + size] for at in range(0, len(whole), size))
        return Shot("dripped", pieces, pause_s=0.02)


async def fire(host: str, port: int, shot: Shot) -> bytes:
    """Send one shot and return all that comes back; empty when the other side cut it off."""
    try:
        async with asyncio.timeout(_ANSWER_DEADLINE_S):
            return await _send(host, port, shot)
    except TimeoutError:
        return b"hung"  # no answer is fair, a connection held for ever is not
    except OSError:
        return b""


async def _send(host: str, port: int, shot: Shot) -> bytes:
    reader, writer = await asyncio.open_connection(host, port)
    try:
        for piece in shot.pieces:
            writer.write(piece)
            await writer.drain()
            if shot.pause_s:
                await asyncio.sleep(shot.pause_s)
        answer = bytearray()
        while not reader.at_eof():
            try:
                async with asyncio.timeout(None if shot.is_whole else _PATIENCE_S):
                    answer += await reader.read(65_536)
            except TimeoutError:
                writer.close()  # an incomplete request would wait for its deadline
                break
        return bytes(answer)
    finally:
        writer.close()


async def attack(host: str, port: int, shots: Iterator[Shot], *, at_once: int = 32) -> Tally:
    """Fire all shots, so many at once, beside 64 connections that never say a whole request."""
    tally = Tally()
    half_open = [await asyncio.open_connection(host, port) for _ in range(64)]
    for number, (_, writer) in enumerate(half_open):
        writer.write(b"POST /webhooks/fal HTTP/1.1\r\nX: "[: number % 34])

    async def fire_all() -> None:
        for shot in shots:
            tally.add(shot, await fire(host, port, shot))

    async with asyncio.TaskGroup() as tasks:
        for _ in range(at_once):
            tasks.create_task(fire_all())
    for _, writer in half_open:
        writer.close()
    return tally
