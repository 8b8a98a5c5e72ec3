"""
A `serve`, `receive` or `work` as a child process, to be killed, stopped and started again.

What it is told is environment alone, as an operator would; its log goes to a file.
"""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, Self

from pydantic import SecretStr

from consumer.settings import env_name

_READY_TIMEOUT_S = 30.0


class ServiceProcess:
    """
    One `fal-consumer serve`, `receive` or `work`, as `arguments` say.

    `port` stays the same over restarts, so that URLs hold. It is ready when its receiver
    answers; a `work` has its console on that port.
    """

    def __init__(
        self,
        folder: Path,
        environ: Mapping[str, str],
        arguments: Sequence[str] = ("serve",),
        *,
        port: int | None = None,
        log_file: Path | None = None,
    ) -> None:
        self.folder = folder
        self._arguments = tuple(arguments)
        self._log_file = log_file or folder.with_suffix(".log")
        self.port = port or free_port()
        self.starts = 0
        self._environ = {
            **{key: value for key, value in os.environ.items() if not key.startswith("FAL_")},
            "FAL_CONSUMER_LISTEN": f"127.0.0.1:{self.port}",
            "FAL_CONSUMER_CONSOLE_LISTEN": (
                f"127.0.0.1:{self.port}" if "work" in arguments else "none"
            ),
            **({"FAL_CONSUMER_PUBLIC_URL": self.url} if "serve" in arguments else {}),
            "FAL_CONSUMER_DATA_DIR": str(folder),
            "FAL_CONSUMER_LOG_FORMAT": "json",
            **environ,
        }
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Self:
        """Start."""
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop; kill what does not."""
        try:
            async with asyncio.timeout(_READY_TIMEOUT_S):
                await self.stop()
        finally:
            await self.kill()

    @property
    def url(self) -> str:
        """The receiver's address."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def log_file(self) -> Path:
        """Where its standard error goes, all starts one after another."""
        return self._log_file

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
                *self._arguments,
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


def environ_of(chosen: Mapping[str, Any]) -> dict[str, str]:
    """
    Return the environment that says what these settings say, by field name.

    Without addresses and the data folder: each process has its own.
    """
    own = ("listen", "console_listen", "data_dir")
    return {
        env_name(field): _text(value)
        for field, value in chosen.items()
        if field not in own and value is not None
    }


def _text(value: Any) -> str:
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if isinstance(value, timedelta):
        return f"{value.total_seconds():g}s"
    return ",".join(value) if isinstance(value, tuple) else str(value)
