"""
What the benchmarks share: deliveries signed beforehand, a load, processes, and their CPU.

The load has a process of its own, so that only what is measured runs in the measured one.
Nothing here knows what is compared with what.
"""

import asyncio
import json
import multiprocessing
import os
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Self, cast
from uuid import uuid4

import uvloop
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from consumer.core.token import WEBHOOK_PATH
from consumer.testing.keys import Signer, key_document
from consumer.testing.rig import free_port

ACCOUNT = "github|1"
_PROMPT = "a red apple on a white table, clean product photography, " * 8
_READY_TIMEOUT_S = 60.0
_STOP_TIMEOUT_S = 30.0
_LOOK_EVERY_S = 0.05


@dataclass(frozen=True)
class Round:
    """One server's round: deliveries per second, CPU of the server per delivery, latencies."""

    rate: float
    cpu_us: float
    p50_ms: float
    p99_ms: float


def median_of(rounds: Sequence[Round]) -> Round:
    """Return the median of each figure."""
    columns = zip(*(astuple(one) for one in rounds), strict=True)
    return Round(*(statistics.median(column) for column in columns))


def told(name: str, found: Round) -> str:
    """Return a line of the table."""
    return (
        f"{name:40} {found.rate:8.0f}/s {found.cpu_us:7.1f} us CPU"
        f"  p50 {found.p50_ms:6.2f} ms  p99 {found.p99_ms:6.2f} ms"
    )


def cpu_s(pid: int) -> float:
    """Return the CPU seconds that a process has used, all threads, user and system."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def rss_mib(pid: int) -> float:
    """Return the resident memory of a process in MiB."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1024**2


# ---------------------------------------------------------------- deliveries


def signed_body() -> tuple[str, bytes]:
    """Return a request id of its own, and the body of its webhook, about 1 KB."""
    request_id = str(uuid4())
    image = {"content_type": "image/png", "height": 1024, "url": f"https://x.test/{request_id}"}
    body = {
        "error": None,
        "gateway_request_id": request_id,
        "payload": {"images": [image], "prompt": _PROMPT, "seed": 427063521},
        "request_id": request_id,
        "status": "OK",
    }
    return request_id, json.dumps(body).encode()


def sign_requests(signer: Signer, count: int, path: str = WEBHOOK_PATH) -> list[bytes]:
    """Return `count` whole HTTP requests, each of another request id, bodies of about 1 KB."""
    return [_request(signer, path) for _ in range(count)]


def _request(signer: Signer, path: str) -> bytes:
    request_id, body = signed_body()
    headers = {
        "Host": "localhost",
        "Accept": "*/*",
        "Content-Type": "application/json",
        "Content-Length": str(len(body)),
        **signer.headers(request_id, body, at=datetime.now(UTC), account=ACCOUNT),
    }
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"POST {path} HTTP/1.1\r\n{lines}\r\n".encode() + body


# ---------------------------------------------------------------- the load


class Caller(asyncio.Protocol):
    """One kept-alive connection: sends the next request as soon as it is answered."""

    def __init__(self, waiting: list[bytes], took_s: list[float]) -> None:
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting = waiting
        self._took_s = took_s
        self._sent_at = 0.0
        self._answer = b""
        self._transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = cast(asyncio.WriteTransport, transport)
        self._send()

    def data_received(self, data: bytes) -> None:
        """Take the answer; some servers write head and body apart."""
        self._answer += data
        head, found, body = self._answer.partition(b"\r\n\r\n")
        if not found or len(body) < _length_in(head):
            return
        if not head.startswith(b"HTTP/1.1 200 "):
            self._end(RuntimeError(f"unexpected answer {self._answer[:200]!r}"))
            return
        self._answer = b""
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


def _length_in(head: bytes) -> int:
    found = head.lower().partition(b"\r\ncontent-length:")[2]
    return int(found.partition(b"\r\n")[0] or 0)


class Load:
    """
    A process that signs deliveries beforehand and sends the same ones to one server after another.
    """

    def __init__(self, signer: Signer, path: str = WEBHOOK_PATH) -> None:
        spawn = multiprocessing.get_context("spawn")
        self._pipe, theirs = spawn.Pipe()
        key = signer.private.private_bytes_raw()
        self._process = spawn.Process(target=_load, args=(key, path, theirs), daemon=True)
        self._process.start()
        self._count = 0

    def sign(self, count: int) -> None:
        """Sign new deliveries, which every following round sends."""
        self._count = count
        self._pipe.send(("sign", count, 0))
        self._pipe.recv()

    def round(self, port: int, pid: int, *, connections: int) -> Round:
        """Send all deliveries to a server, and return how the process `pid` fared."""
        before_s = cpu_s(pid)
        self._pipe.send(("call", port, connections))
        elapsed_s, took_s, problem = self._pipe.recv()
        used_s = cpu_s(pid) - before_s
        if problem:
            raise RuntimeError(problem)
        took_s.sort()
        return Round(
            self._count / elapsed_s,
            used_s / self._count * 1e6,
            took_s[len(took_s) // 2] * 1e3,
            took_s[len(took_s) * 99 // 100] * 1e3,
        )

    def close(self) -> None:
        """End the process."""
        self._pipe.send(None)
        self._process.join()


def _load(key: bytes, path: str, pipe: Connection) -> None:
    signer = Signer(private=Ed25519PrivateKey.from_private_bytes(key))
    requests: list[bytes] = []
    while (asked := pipe.recv()) is not None:
        what, number, connections = asked
        if what == "sign":
            requests = sign_requests(signer, number, path)
            pipe.send("signed")
            continue
        try:
            pipe.send((*uvloop.run(_call(number, requests.copy(), connections)), ""))
        except (OSError, RuntimeError) as exc:
            pipe.send((0.0, [], str(exc)))


async def _call(port: int, requests: list[bytes], connections: int) -> tuple[float, list[float]]:
    loop, took_s = asyncio.get_running_loop(), list[float]()
    began = time.perf_counter()
    callers = [
        (await loop.create_connection(lambda: Caller(requests, took_s), "127.0.0.1", port))[1]
        for _ in range(connections)
    ]
    await asyncio.gather(*(caller.done for caller in callers))
    return time.perf_counter() - began, took_s


# ---------------------------------------------------------------- processes


class Child:
    """
    A server in a process of its own, as its operator would start it; its output goes to a file.

    `arguments` come after the interpreter; `{port}` in them is where it listens. Ready when it
    answers HTTP there.
    """

    def __init__(
        self, log_file: Path, arguments: Sequence[str], environ: Mapping[str, str] | None = None
    ) -> None:
        self.port = free_port()
        self._log_file = log_file
        self._arguments = [one.format(port=self.port) for one in arguments]
        given = {key: one.format(port=self.port) for key, one in (environ or {}).items()}
        kept = {key: one for key, one in os.environ.items() if not key.startswith("FAL_")}
        self._environ = kept | given
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int:
        """The process id."""
        assert self._process is not None
        return self._process.pid

    async def __aenter__(self) -> Self:
        """Start, and return once it answers; RuntimeError with its last words when it does not."""
        with self._log_file.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                *self._arguments,
                env=self._environ,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        try:
            async with asyncio.timeout(_READY_TIMEOUT_S):
                await self._wait_ready(self._process)
        except BaseException:
            if self._process.returncode is None:
                self._process.kill()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop it; kill it when it does not."""
        assert self._process is not None
        if self._process.returncode is not None:
            return
        self._process.terminate()
        try:
            async with asyncio.timeout(_STOP_TIMEOUT_S):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()

    async def _wait_ready(self, process: asyncio.subprocess.Process) -> None:
        while not await self._answers():
            if process.returncode is not None:
                raise RuntimeError(self._log_file.read_text(errors="replace")[-2000:])
            await asyncio.sleep(_LOOK_EVERY_S)

    async def _answers(self) -> bool:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
            writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            answer = await reader.read(16)
            writer.close()
        except OSError:
            return False
        return answer.startswith(b"HTTP/1.1 ")


class KeySetServer:
    """The key set of a signer, served as fal serves its own."""

    def __init__(self, signer: Signer) -> None:
        self._document = key_document(signer)
        self._runner: web.AppRunner | None = None
        self.url = ""

    async def __aenter__(self) -> Self:
        """Start on a free port."""
        app = web.Application()
        app.router.add_get("/.well-known/jwks.json", self._answer)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        port = self._runner.addresses[0][1]
        self.url = f"http://127.0.0.1:{port}/.well-known/jwks.json"
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close."""
        assert self._runner is not None
        await self._runner.cleanup()

    async def _answer(self, _request: web.Request) -> web.Response:
        return web.Response(body=self._document, content_type="application/json")
