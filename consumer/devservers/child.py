"""
A server as a child process: started, watched, and sent the signals that a test wants.

Signals go to the one process id that was started here, never to a name.
"""

import asyncio
import os
import signal
import sys
import time
from asyncio.subprocess import DEVNULL, STDOUT, Process
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from consumer.devservers import leash
from consumer.errors import InvariantBroken, Unavailable

STOPPED_WITHIN_S = 20.0
PAUSED_WITHIN_S = 10.0
LOOK_AGAIN_S = 0.001
LOG_TAIL_BYTES = 2_000


class ServerNotStarted(Unavailable):
    """A server of the tests ended, or did not answer in time; carries the end of its log."""

    code = "server_not_started"


class Account(NamedTuple):
    """Who a process runs as, where that is not who we are."""

    user: int
    group: int


class Child:
    """
    One process of one command, started as often as it is wanted.

    `name` is what errors call it. It runs in the folder of `log_file`, which takes its
    standard output and error over all its starts.
    """

    def __init__(
        self, name: str, command: Sequence[str], log_file: Path, account: Account | None = None
    ) -> None:
        self.name = name
        self.log_file = log_file
        self._command = tuple(command)
        self._account = account
        self._process: Process | None = None

    @property
    def is_running(self) -> bool:
        """True from `start` until the process ended, paused or not."""
        return self._process is not None and self._process.returncode is None

    @property
    def pid(self) -> int:
        """The process id of what runs. Raises `InvariantBroken` if nothing does."""
        if self._process is None or self._process.returncode is not None:
            raise InvariantBroken(f"{self.name} does not run")
        return self._process.pid

    async def start(self) -> None:
        """Start the process, as before; it is not ready yet."""
        if self.is_running:
            raise InvariantBroken(f"{self.name} runs already")
        with self.log_file.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *on_leash(self._command, self._account),
                stdin=DEVNULL,
                stdout=log,
                stderr=STDOUT,
                cwd=self.log_file.parent,
                start_new_session=True,
            )

    async def wait_ended(self) -> None:
        """Return once the process has ended, of itself or because somebody ended it."""
        if self._process is not None:
            await self._process.wait()

    async def kill(self) -> None:
        """End the process at once (SIGKILL), as a power cut does, and wait for its end."""
        self.send(signal.SIGKILL)
        await self.wait_ended()

    async def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """End the process in order, paused or not; SIGKILL where that takes too long."""
        self.send(signal.SIGCONT)
        self.send(how)
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
                raise InvariantBroken(f"{self.name} does not stand still")
            time.sleep(LOOK_AGAIN_S)

    def resume(self) -> None:
        """Let a frozen process go on (SIGCONT)."""
        os.kill(self.pid, signal.SIGCONT)

    def send(self, what: signal.Signals) -> None:
        """Send a signal to the process, if it runs."""
        if self.is_running:
            os.kill(self.pid, what)

    def log_tail(self) -> str:
        """Return the end of its log, for an error's sentence."""
        if not self.log_file.is_file():
            return "no log"
        return self.log_file.read_bytes()[-LOG_TAIL_BYTES:].decode("utf-8", "replace").strip()


def on_leash(command: Sequence[str], account: Account | None = None) -> list[str]:
    """Return a command that runs the given one, as `account`, and dies with this process."""
    script = str(Path(leash.__file__))
    become = [f"{leash.AS}{account.user}:{account.group}"] if account else []
    return [sys.executable, "-I", "-S", script, *become, str(os.getpid()), *command]
