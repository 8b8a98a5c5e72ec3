"""
One broker: a Java process, its folder, and the signals that a test sends it.

Signals go to the one process id that was started here, never to a name.
"""

import asyncio
import os
import signal
import sys
import time
from asyncio.subprocess import DEVNULL, STDOUT, Process
from collections.abc import Mapping, Sequence
from pathlib import Path

from aiokafka.conn import create_conn
from aiokafka.errors import KafkaError
from aiokafka.protocol.metadata import MetadataRequest

from consumer.devservers import leash
from consumer.devservers.properties import Seat
from consumer.errors import InvariantBroken, Unavailable

ASK_AGAIN_S = 0.05
ANSWER_WITHIN_MS = 5_000
READY_WITHIN_S = 60.0
STOPPED_WITHIN_S = 20.0
PAUSED_WITHIN_S = 10.0
LOOK_AGAIN_S = 0.001
LOG_TAIL_BYTES = 2_000


class ServerNotStarted(Unavailable):
    """A server of the tests ended, or did not answer in time; carries the end of its log."""

    code = "server_not_started"


class Broker:
    """One broker of a cluster. Made by `open_kafka`, which also ends its process."""

    def __init__(self, seat: Seat, command: Sequence[str], login: Mapping[str, object]) -> None:
        self._seat = seat
        self._command = tuple(command)
        self._login = dict(login)
        self._process: Process | None = None

    @property
    def node(self) -> int:
        """The broker's number in the cluster, from 1."""
        return self._seat.node

    @property
    def server(self) -> str:
        """Where clients reach this broker: `127.0.0.1:port`, the same after every start."""
        return f"127.0.0.1:{self._seat.port}"

    @property
    def log_file(self) -> Path:
        """What the broker wrote to its standard output and error, over all its starts."""
        return self._seat.folder / "broker.log"

    @property
    def is_running(self) -> bool:
        """True from `start` until the process ended, paused or not."""
        return self._process is not None and self._process.returncode is None

    @property
    def pid(self) -> int:
        """The process id of the broker that runs. Raises `InvariantBroken` if none does."""
        if self._process is None or self._process.returncode is not None:
            raise InvariantBroken(f"broker {self.node} does not run")
        return self._process.pid

    async def start(self) -> None:
        """Start the process, on the same ports and folder as before; `wait_ready` follows."""
        if self.is_running:
            raise InvariantBroken(f"broker {self.node} runs already")
        with self.log_file.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *on_leash(self._command),
                stdin=DEVNULL,
                stdout=log,
                stderr=STDOUT,
                cwd=self._seat.folder,
                start_new_session=True,
            )

    async def wait_ready(self, *, among: int = 1, timeout: float = READY_WITHIN_S) -> None:
        """
        Return once the broker answers for a cluster with a controller and `among` brokers.

        Raises `ServerNotStarted` when its process ends, or the time is over.
        """
        missing = "no answer"
        try:
            async with asyncio.timeout(timeout):
                while (missing := await self._missing(among)) != "":
                    if not self.is_running:
                        raise ServerNotStarted(f"broker {self.node} ended: {self._log_tail()}")
                    await asyncio.sleep(ASK_AGAIN_S)
        except TimeoutError:
            problem = f"broker {self.node} not ready in {timeout:.0f} s ({missing})"
            raise ServerNotStarted(f"{problem}: {self._log_tail()}") from None

    async def wait_ended(self) -> None:
        """Return once the process has ended, of itself or because somebody ended it."""
        if self._process is not None:
            await self._process.wait()

    async def kill(self) -> None:
        """End the process at once (SIGKILL), as a power cut does, and wait for its end."""
        self.send(signal.SIGKILL)
        await self.wait_ended()

    async def stop(self) -> None:
        """End the process in order (SIGTERM), paused or not; SIGKILL where that takes too long."""
        self.send(signal.SIGCONT)
        self.send(signal.SIGTERM)
        try:
            async with asyncio.timeout(STOPPED_WITHIN_S):
                await self.wait_ended()
        except TimeoutError:
            await self.kill()

    def pause(self) -> None:
        """
        Freeze the process (SIGSTOP): from here on connections stand, and nobody answers.

        Blocks until its last thread stands still, milliseconds, and more on a busy machine:
        the signal reaches one thread first, and the others answer until that one has run.
        """
        os.kill(self.pid, signal.SIGSTOP)
        give_up = time.monotonic() + PAUSED_WITHIN_S
        while os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WNOHANG | os.WNOWAIT) is None:
            if time.monotonic() > give_up:
                raise InvariantBroken(f"broker {self.node} does not stand still")
            time.sleep(LOOK_AGAIN_S)

    def resume(self) -> None:
        """Let a frozen process go on (SIGCONT)."""
        os.kill(self.pid, signal.SIGCONT)

    def send(self, what: signal.Signals) -> None:
        """Send a signal to the process, if it runs."""
        if self.is_running:
            os.kill(self.pid, what)

    async def _missing(self, among: int) -> str:
        """Ask this one broker for the cluster it knows; return what is missing, or nothing."""
        host, port = "127.0.0.1", self._seat.port
        try:
            connection = await create_conn(
                host, port, request_timeout_ms=ANSWER_WITHIN_MS, **self._login
            )
            try:
                cluster = await connection.send(MetadataRequest([]))
            finally:
                await connection.close()
        except (KafkaError, OSError, TimeoutError) as error:
            return type(error).__name__
        nodes = {node for node, *_ in cluster.brokers}
        if self.node not in nodes or len(nodes) < among:
            return f"it knows brokers {sorted(nodes)}"
        return "" if cluster.controller_id >= 0 else "no controller"

    def _log_tail(self) -> str:
        if not self.log_file.is_file():
            return "no log"
        return self.log_file.read_bytes()[-LOG_TAIL_BYTES:].decode("utf-8", "replace").strip()


def on_leash(command: Sequence[str]) -> list[str]:
    """Return a command that runs the given one such that it dies with this process."""
    script = str(Path(leash.__file__))
    return [sys.executable, "-I", "-S", script, str(os.getpid()), *command]
