"""
What a delivery costs: the receiver against the least that any aiohttp receiver must do.

Three servers, each in a process of its own, take the same pre-signed deliveries in turns:
(a) a bare aiohttp handler that reads the body, (b) the same and one PyNaCl verification,
(c) the receiver into the embedded log, with its log lines. Medians over the rounds.
Run: python benchmarks/receiver.py [--rounds 5] [--deliveries 10000] [--memory]
"""

import argparse
import asyncio
import json
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from multiprocessing.connection import Connection
from pathlib import Path
from typing import cast
from uuid import uuid4

import uvloop
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from nacl.signing import VerifyKey

from consumer.log.embedded import EmbeddedLog, LogLimits
from consumer.receiver import Receiver, ReceiverParts, ReceiverRules, serve_receiver
from consumer.telemetry import Metrics, bound_logger, configure_logs
from consumer.testing.keys import FakeKeys, Signer

CONNECTIONS = 64
ACCOUNT = "github|1"
VARIANTS = {
    "bare": "(a) bare aiohttp, body read",
    "verify": "(b) bare + one PyNaCl verification",
    "receiver": "(c) receiver into the embedded log",
}


@dataclass(frozen=True)
class Round:
    """One server's round: deliveries per second, CPU of the server per delivery, latencies."""

    rate: float
    cpu_us: float
    p50_ms: float
    p99_ms: float


# ---------------------------------------------------------------- the servers


def serve(variant: str, signer: Signer, folder: Path, pipe: Connection) -> None:
    """Serve one variant until the parent closes the pipe; say the port through it."""
    uvloop.run(_serve(variant, signer, folder, pipe))


async def _serve(variant: str, signer: Signer, folder: Path, pipe: Connection) -> None:
    opened = _receiver(signer, folder) if variant == "receiver" else _bare(variant, signer)
    async with opened as port:
        pipe.send(port)
        await asyncio.get_running_loop().run_in_executor(None, pipe.poll, None)


@asynccontextmanager
async def _bare(variant: str, signer: Signer) -> AsyncIterator[int]:
    verifier = VerifyKey(signer.private.public_key().public_bytes_raw())

    async def read(request: web.Request) -> web.Response:
        await request.read()
        return web.Response()

    async def read_and_verify(request: web.Request) -> web.Response:
        body = await request.read()
        headers = request.headers
        parts = (
            headers["X-Fal-Webhook-Request-Id"],
            headers["X-Fal-Webhook-User-Id"],
            headers["X-Fal-Webhook-Timestamp"],
            sha256(body).hexdigest(),
        )
        verifier.verify(
            "\n".join(parts).encode(), bytes.fromhex(headers["X-Fal-Webhook-Signature"])
        )
        return web.Response()

    app = web.Application()
    app.router.add_post("/webhooks/fal", read if variant == "bare" else read_and_verify)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, backlog=1024)
    await site.start()
    yield runner.addresses[0][1]
    await runner.cleanup()


@asynccontextmanager
async def _receiver(signer: Signer, folder: Path) -> AsyncIterator[int]:
    def clock() -> datetime:
        return datetime.now(UTC)

    with (folder / "receiver.log").open("w") as lines:
        configure_logs(level="info", format="json", stream=lines)
        async with EmbeddedLog.open(folder / "log", clock=clock, limits=LogLimits()) as log:
            parts = ReceiverParts(FakeKeys(signer), log, clock, Metrics(), bound_logger())
            rules = ReceiverRules(frozenset({ACCOUNT}), "https://keys.example")
            async with serve_receiver(Receiver(parts, rules), "127.0.0.1", 0) as listener:
                yield listener.port


# ---------------------------------------------------------------- the load


def sign_requests(signer: Signer, count: int) -> list[bytes]:
    """Return `count` whole HTTP requests, each of another request id, bodies of about 1 KB."""
    prompt = "a red apple on a white table, clean product photography, " * 8
    return [_request(signer, prompt) for _ in range(count)]


def _request(signer: Signer, prompt: str) -> bytes:
    request_id = str(uuid4())
    image = {"content_type": "image/png", "height": 1024, "url": f"https://x.test/{request_id}"}
    body = json.dumps(
        {
            "error": None,
            "gateway_request_id": request_id,
            "payload": {"images": [image], "prompt": prompt, "seed": 427063521},
            "request_id": request_id,
            "status": "OK",
        }
    ).encode()
    headers = {
        "Host": "localhost",
        "Accept": "*/*",
        "Content-Type": "application/json",
        "Content-Length": str(len(body)),
        **signer.headers(request_id, body, at=datetime.now(UTC), account=ACCOUNT),
    }
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"POST /webhooks/fal HTTP/1.1\r\n{lines}\r\n".encode() + body


class Caller(asyncio.Protocol):
    """One kept-alive connection: sends the next request as soon as it is answered."""

    def __init__(self, waiting: list[bytes], took_s: list[float]) -> None:
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting = waiting
        self._took_s = took_s
        self._sent_at = 0.0
        self._transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = cast(asyncio.WriteTransport, transport)
        self._send()

    def data_received(self, data: bytes) -> None:
        """Take the answer; all servers write theirs in one piece."""
        if not data.startswith(b"HTTP/1.1 200 ") or not data.endswith(b"\r\n\r\n"):
            self._end(RuntimeError(f"unexpected answer {data[:80]!r}"))
            return
        self._took_s.append(time.perf_counter() - self._sent_at)
        self._send()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        """Fail, if there was more to send."""
        self._end(RuntimeError("the server closed the connection"))

    def _send(self) -> None:
        assert self._transport is not None
        if not self._waiting:
            self._end(None)
            self._transport.close()
            return
        self._sent_at = time.perf_counter()
        self._transport.write(self._waiting.pop())

    def _end(self, error: Exception | None) -> None:
        if self.done.done():
            return
        if error is None:
            self.done.set_result(None)
        else:
            self.done.set_exception(error)


def call(ports: Sequence[int], signer: Signer, count: int, pipe: Connection) -> None:
    """In a process of its own: on each index received, run one round against that port."""
    while (index := pipe.recv()) is not None:
        requests = sign_requests(signer, count)
        pipe.send("ready")
        pipe.recv()
        pipe.send(uvloop.run(_call(ports[index], requests)))


async def _call(port: int, requests: list[bytes]) -> tuple[float, list[float]]:
    loop, took_s = asyncio.get_running_loop(), list[float]()
    began = time.perf_counter()
    callers = [
        (await loop.create_connection(lambda: Caller(requests, took_s), "127.0.0.1", port))[1]
        for _ in range(CONNECTIONS)
    ]
    await asyncio.gather(*(caller.done for caller in callers))
    return time.perf_counter() - began, took_s


# ---------------------------------------------------------------- the figures


def cpu_s(pid: int) -> float:
    """Return the CPU seconds that a process has used, all threads, user and system."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def rss_mib(pid: int) -> float:
    """Return the resident memory of a process in MiB."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1024**2


class Bench:
    """The processes of one run."""

    def __init__(self, variants: Sequence[str], count: int, folder: Path) -> None:
        spawn = multiprocessing.get_context("spawn")
        self.signer, self.count = Signer(), count
        key = self.signer.private.private_bytes_raw()
        self.servers, self.pipes, ports = [], [], []
        for variant in variants:
            ours, theirs = spawn.Pipe()
            server = spawn.Process(target=_serve_with, args=(variant, key, folder, theirs))
            server.start()
            self.servers.append(server)
            self.pipes.append(ours)
            ports.append(ours.recv())
        self.load, theirs = spawn.Pipe()
        self.caller = spawn.Process(target=_call_with, args=(ports, key, count, theirs))
        self.caller.start()

    def round(self, index: int) -> Round:
        """Run one round against one server."""
        pid = self.servers[index].pid or 0
        self.load.send(index)
        self.load.recv()
        before_s = cpu_s(pid)
        self.load.send("go")
        elapsed_s, took_s = self.load.recv()
        used_s = cpu_s(pid) - before_s
        took_s.sort()
        return Round(
            self.count / elapsed_s,
            used_s / self.count * 1e6,
            took_s[len(took_s) // 2] * 1e3,
            took_s[len(took_s) * 99 // 100] * 1e3,
        )

    def close(self) -> None:
        """End every process."""
        self.load.send(None)
        for pipe in self.pipes:
            pipe.send("stop")
        for process in (self.caller, *self.servers):
            process.join()


def _signer(key: bytes) -> Signer:
    return Signer(private=Ed25519PrivateKey.from_private_bytes(key))


def _serve_with(variant: str, key: bytes, folder: Path, pipe: Connection) -> None:
    serve(variant, _signer(key), folder, pipe)


def _call_with(ports: Sequence[int], key: bytes, count: int, pipe: Connection) -> None:
    call(ports, _signer(key), count, pipe)


def compare(rounds: int, count: int, folder: Path) -> None:
    """Print the medians and the ratios."""
    names = list(VARIANTS)
    bench = Bench(names, count, folder)
    found: dict[str, list[Round]] = {name: [] for name in names}
    for number in range(rounds + 1):
        for index, name in enumerate(names):
            one = bench.round(index)
            if number:  # the first round warms up
                found[name].append(one)
    bench.close()
    print(f"{count} deliveries a round, {rounds} rounds, {CONNECTIONS} connections, medians")
    middle = {name: _median(rows) for name, rows in found.items()}
    for name, row in middle.items():
        print(
            f"{VARIANTS[name]:38} {row.rate:8.0f}/s {row.cpu_us:7.1f} us CPU"
            f"  p50 {row.p50_ms:6.2f} ms  p99 {row.p99_ms:6.2f} ms"
        )
    least, ours = middle["verify"], middle["receiver"]
    print(
        f"rate (c)/(b) {ours.rate / least.rate:.2f}   CPU (b)/(c) {least.cpu_us / ours.cpu_us:.2f}"
    )


def _median(rows: Sequence[Round]) -> Round:
    return Round(
        statistics.median(row.rate for row in rows),
        statistics.median(row.cpu_us for row in rows),
        statistics.median(row.p50_ms for row in rows),
        statistics.median(row.p99_ms for row in rows),
    )


def memory(count: int, folder: Path) -> None:
    """Print the receiver's memory after each part of `count` deliveries."""
    part = min(count, 10_000)
    bench = Bench(["receiver"], part, folder)
    pid = bench.servers[0].pid or 0
    print(f"{0:8} deliveries {rss_mib(pid):7.1f} MiB")
    for done in range(part, count + 1, part):
        bench.round(0)
        print(f"{done:8} deliveries {rss_mib(pid):7.1f} MiB")
    bench.close()


def main() -> int:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--deliveries", type=int, default=10_000)
    parser.add_argument("--memory", action="store_true")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if asked.memory:
            memory(100_000, Path(folder))
        else:
            compare(asked.rounds, asked.deliveries, Path(folder))
    return 0


if __name__ == "__main__":
    sys.exit(main())
