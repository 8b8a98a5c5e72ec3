"""
What a delivery costs: the receiver against the least that any aiohttp receiver must do.

Three servers, each in a process of its own, take the same pre-signed deliveries in turns:
(a) a bare aiohttp handler that reads the body, (b) the same and one PyNaCl verification,
(c) the receiver into the embedded log, with its log lines. Medians over the rounds.
Run: python benchmarks/receiver.py [--rounds 5] [--deliveries 10000] [--memory]
"""

import argparse
import asyncio
import multiprocessing
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from hashlib import sha256
from multiprocessing.connection import Connection
from pathlib import Path

import uvloop
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from harness import ACCOUNT, Load, Round, median_of, rss_mib, told
from nacl.signing import VerifyKey

from consumer.log.embedded import EmbeddedLog, LogLimits
from consumer.receiver import Receiver, ReceiverParts, ReceiverRules, serve_receiver
from consumer.telemetry import Metrics, bound_logger, configure_logs
from consumer.testing.keys import FakeKeys, Signer

CONNECTIONS = 64
VARIANTS = {
    "bare": "(a) bare aiohttp, body read",
    "verify": "(b) bare + one PyNaCl verification",
    "receiver": "(c) receiver into the embedded log",
}


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


# ---------------------------------------------------------------- the figures


class Bench:
    """The processes of one run."""

    def __init__(self, variants: Sequence[str], folder: Path) -> None:
        spawn = multiprocessing.get_context("spawn")
        signer = Signer()
        key = signer.private.private_bytes_raw()
        self.servers, self.pipes, self.ports = [], [], []
        for variant in variants:
            ours, theirs = spawn.Pipe()
            server = spawn.Process(target=_serve_with, args=(variant, key, folder, theirs))
            server.start()
            self.servers.append(server)
            self.pipes.append(ours)
            self.ports.append(ours.recv())
        self.load = Load(signer)

    def round(self, index: int) -> Round:
        """Run one round against one server."""
        pid = self.servers[index].pid or 0
        return self.load.round(self.ports[index], pid, connections=CONNECTIONS)

    def close(self) -> None:
        """End every process."""
        self.load.close()
        for pipe in self.pipes:
            pipe.send("stop")
        for process in self.servers:
            process.join()


def _serve_with(variant: str, key: bytes, folder: Path, pipe: Connection) -> None:
    serve(variant, Signer(private=Ed25519PrivateKey.from_private_bytes(key)), folder, pipe)


def compare(rounds: int, count: int, folder: Path) -> None:
    """Print the medians and the ratios."""
    names = list(VARIANTS)
    bench = Bench(names, folder)
    found: dict[str, list[Round]] = {name: [] for name in names}
    for number in range(rounds + 1):
        bench.load.sign(count)
        for index, name in enumerate(names):
            one = bench.round(index)
            if number:  # the first round warms up
                found[name].append(one)
    bench.close()
    print(f"{count} deliveries a round, {rounds} rounds, {CONNECTIONS} connections, medians")
    middle = {name: median_of(rows) for name, rows in found.items()}
    for name, row in middle.items():
        print(told(VARIANTS[name], row))
    least, ours = middle["verify"], middle["receiver"]
    print(
        f"rate (c)/(b) {ours.rate / least.rate:.2f}   CPU (b)/(c) {least.cpu_us / ours.cpu_us:.2f}"
    )


def memory(count: int, folder: Path) -> None:
    """Print the receiver's memory after each part of `count` deliveries."""
    part = min(count, 10_000)
    bench = Bench(["receiver"], folder)
    pid = bench.servers[0].pid or 0
    print(f"{0:8} deliveries {rss_mib(pid):7.1f} MiB")
    for done in range(part, count + 1, part):
        bench.load.sign(part)
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
