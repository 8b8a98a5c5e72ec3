"""
A `serve` as a child process, to be killed, stopped and started again on one data folder.

What it is told is environment alone, as an operator would; its log goes to a file.
"""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Mapping
from pathlib import Path

_READY_TIMEOUT_S = 30.0


class ServiceProcess:
    """One `fal-consumer serve`. `port` stays the same over restarts, so that URLs hold."""

    def __init__(self, folder: Path, environ: Mapping[str, str]) -> None:
        self.folder = folder
        self.port = free_port()
        self.starts = 0
        self._environ = {
            **{key: value for key, value in os.environ.items() if not key.startswith("FAL_")},
            "FAL_CONSUMER_LISTEN": f"127.0.0.1:{self.port}",
            "FAL_CONSUMER_CONSOLE_LISTEN": "none",
            "FAL_CONSUMER_PUBLIC_URL": self.url,
            "FAL_CONSUMER_DATA_DIR": str(folder),
            "FAL_CONSUMER_LOG_FORMAT": "json",
            **environ,
        }
        self._process: asyncio.subprocess.Process | None = None

    @property
    def url(self) -> str:
        """The receiver's address."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def log_file(self) -> Path:
        """Where its standard error goes, all starts one after another."""
        return self.folder.with_suffix(".log")

    @property
    def pid(self) -> int:
        """The process id of the running child."""
        return self._running.pid

    async def start(self) -> None:
        """Start, and return once the receiver answers; else AssertionError with its last words."""
        self.starts += 1
        with self.log_file.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "consumer",
                "serve",
                env=self._environ,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=log,
            )
        try:
            async with asyncio.timeout(_READY_TIMEOUT_S):
                while not await self._answers():
                    assert self._running.returncode is None, self.last_words()
                    await asyncio.sleep(0.02)
        except TimeoutError:
            await self.kill()
            raise AssertionError(f"not ready: {self.last_words()}") from None

    async def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        if self._running.returncode is None:
            self._running.kill()
        await self._running.wait()

    async def stop(self) -> int:
        """SIGTERM, and return the exit code."""
        if self._running.returncode is None:
            self._running.send_signal(signal.SIGTERM)
        return await self._running.wait()

    def last_words(self) -> str:
        """Return the end of its log."""
        return self.log_file.read_text(errors="replace")[-2000:]

    async def _answers(self) -> bool:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
            writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            answer = await reader.read(16)
            writer.close()
        except OSError:
            return False
        return b" 200" in answer

    @property
    def _running(self) -> asyncio.subprocess.Process:
        assert self._process is not None, "not started"
        return self._process


def free_port() -> int:
    """Return a port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
