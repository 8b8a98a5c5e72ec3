"""
A receiver in a process of its own, into an embedded log: to be flooded, measured and killed.

`python -m consumer.testing.receiver_process FOLDER` reads one line from standard input,
the signer's private key in hex, prints its port, and serves until standard input ends.
"""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import uvloop
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from consumer.log.embedded import EmbeddedLog, LogLimits
from consumer.receiver import Receiver, ReceiverParts, ReceiverRules, serve_receiver
from consumer.telemetry import Metrics, configure_logs, get_logger
from consumer.testing.keys import FakeKeys, Signer
from consumer.testing.receiving import ACCOUNT


@dataclass
class ReceiverProcess:
    """A running child. Its log lines and its log are in `folder`."""

    process: asyncio.subprocess.Process
    signer: Signer
    folder: Path
    port: int
    host: str = "127.0.0.1"

    @property
    def lines(self) -> bytes:
        """All that the child has written to standard error."""
        return (self.folder / "stderr").read_bytes()

    def rss_mib(self) -> float:
        """Return the child's resident memory in MiB."""
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text("ascii").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1024**2


@asynccontextmanager
async def receiver_process(folder: Path) -> AsyncIterator[ReceiverProcess]:
    """Run a child while the context lasts; leaving stops it gracefully."""
    signer = Signer()
    with (folder / "stderr").open("wb") as stderr:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            __name__,
            str(folder),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=stderr,
        )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(signer.private.private_bytes_raw().hex().encode() + b"\n")
        told = json.loads(await process.stdout.readline())
        yield ReceiverProcess(process, signer, folder, told["port"])
    finally:
        process.stdin.close()
        await process.wait()


async def _serve(folder: Path) -> None:
    def clock() -> datetime:
        return datetime.now(UTC)

    configure_logs(level="info", format="json")
    key = bytes.fromhex(sys.stdin.readline())
    keys = FakeKeys(Signer(private=Ed25519PrivateKey.from_private_bytes(key)))
    rules = ReceiverRules(frozenset({ACCOUNT}), "https://keys.example")
    async with EmbeddedLog.open(folder / "log", clock=clock, limits=LogLimits()) as log:
        parts = ReceiverParts(keys, log, clock, Metrics(), get_logger())
        async with serve_receiver(Receiver(parts, rules), "127.0.0.1", 0) as listener:
            sys.stdout.write(json.dumps({"port": listener.port}) + "\n")
            sys.stdout.flush()
            await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    uvloop.run(_serve(Path(sys.argv[1])))
