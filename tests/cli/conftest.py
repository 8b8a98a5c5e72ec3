"""The command as others run it: child processes, folders with something in them, a live town."""

import asyncio
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import structlog
from click.testing import CliRunner

from consumer.cli import main
from consumer.core.command import submission_id_of
from consumer.core.event import Event, NewRecord, encode
from consumer.core.fact import FactName, Witness, fact_event, new_fact
from consumer.core.projection import entry_of
from consumer.core.result import Correlation, bare_result, result_event
from consumer.ledger import Ledger
from consumer.ledger.migration import migrate
from consumer.log.embedded import EmbeddedLog
from consumer.ports import Plan

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
TIMEOUT_S = 60
COMMAND = (sys.executable, "-m", "consumer")


@dataclass
class Folder:
    """A data folder that no service holds."""

    path: Path
    environ: dict[str, str]

    @staticmethod
    def request_id(number: int) -> str:
        """Return the id of the folder's nth request."""
        return f"019f6af7-3088-7f03-b97d-{number:012x}"

    def submitted(self, number: int, /, *, endpoint: str = "fal-ai/flux/dev", **more: Any) -> Event:
        """Return the event of a submit that fal took."""
        fact = new_fact(
            FactName.SUBMITTED,
            Witness.SUBMIT,
            NOW,
            request_id=self.request_id(number),
            submission_id=submission_id_of(f"job-{number}"),
            detail={"endpoint": endpoint, "command_id": f"job-{number}", **more},
        )
        return fact_event(fact, "https://queue.example")

    def lost(self, number: int) -> tuple[Event, Event]:
        """Return the events of a request that was lost: the fact and the result."""
        fact = new_fact(
            FactName.LOST,
            Witness.SWEEP,
            NOW + timedelta(seconds=90),
            request_id=self.request_id(number),
            detail={"reason": "result_expired"},
        )
        result = bare_result(
            "lost",
            Correlation(endpoint="fal-ai/flux/dev"),
            request_id=self.request_id(number),
            reason="result_expired",
            witness="sweep",
            ended_at=fact.at,
        )
        source = "https://queue.example"
        return fact_event(fact, source), result_event(result, source=source, at=fact.at)

    def append_results(self, *numbers: int) -> None:
        """Put the results of these requests on the folder's log."""
        self.append(*(encode(self.lost(number)[1]) for number in numbers))

    def append(self, *records: NewRecord) -> None:
        """Put records on the folder's log."""

        async def run() -> None:
            async with EmbeddedLog.open(self.path / "log", clock=lambda: NOW) as log:
                for record in records:
                    await log.append(record)

        asyncio.run(run())

    def record(self, *events: Event) -> None:
        """Record events in the folder's ledger."""

        async def run() -> None:
            self.path.mkdir(exist_ok=True)
            path = self.path / "ledger.sqlite"
            await migrate(path)
            async with Ledger.open(path, plan=lambda *_: Plan(), clock=lambda: NOW) as ledger:
                for event in events:
                    await ledger.record(entry_of(event))

        asyncio.run(run())

    def run(self, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Run the command in this process and return how it ended, as if in its own."""
        ours = {name: None for name in os.environ if name.startswith("FAL_")}
        environ: dict[str, str | None] = {**ours, **self.environ}
        shown = CliRunner().invoke(main, arguments, input=stdin, env=environ)
        structlog.reset_defaults()  # its logs went where nobody writes any more
        if shown.exception is not None and not isinstance(shown.exception, SystemExit):
            raise shown.exception
        return subprocess.CompletedProcess(arguments, shown.exit_code, shown.stdout, shown.stderr)

    def run_apart(self, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Run the command in a process of its own and return how it ended."""
        return subprocess.run(
            [*COMMAND, *arguments],
            env=self.environ,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )


def clean_environ(**settings: str) -> dict[str, str]:
    """Return this process's environment without any setting of ours, and with these."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("FAL_")}
    return kept | {"NO_COLOR": "1", "PYTHONUNBUFFERED": "1"} | settings


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    path = tmp_path / "data"
    return Folder(path, clean_environ(FAL_CONSUMER_DATA_DIR=str(path)))


@pytest.fixture
def runner(monkeypatch: pytest.MonkeyPatch) -> Iterator[CliRunner]:
    """Return click's runner, for what needs no process; logs go back to where they went."""
    for name in list(os.environ):
        if name.startswith("FAL_"):
            monkeypatch.delenv(name)
    yield CliRunner()
    structlog.reset_defaults()


@pytest.fixture
def fixed_clock() -> Callable[[], datetime]:
    """Return a clock that stands still."""
    return lambda: NOW


@pytest.fixture
def start_python() -> Callable[[str], int]:
    """Return what runs a program in a process of its own and gives its exit code."""

    def run(code: str) -> int:
        command = [sys.executable, "-c", code]
        return subprocess.run(command, check=False, timeout=TIMEOUT_S).returncode

    return run


@dataclass
class Process:
    """A child that runs until it is told to stop. `said` grows while it runs."""

    child: subprocess.Popen[str]
    said: list[str] = field(default_factory=list)
    _news: threading.Condition = field(default_factory=threading.Condition)

    def listen(self) -> None:
        """Keep reading its standard error, so that it never blocks on it."""
        assert self.child.stderr is not None
        for line in self.child.stderr:
            with self._news:
                self.said.append(line.rstrip("\n"))
                self._news.notify_all()

    def wait_for(self, beginning: str) -> str:
        """Return the rest of the line on standard error that begins like this."""

        def found() -> list[str]:
            return [line for line in self.said if line.startswith(beginning)]

        with self._news:
            assert self._news.wait_for(found, TIMEOUT_S), self.said
            return found()[0].removeprefix(beginning)


Start = Callable[..., Process]


@contextmanager
def starting() -> Iterator[Start]:
    """Give a function that starts the command; what still runs at the end is killed."""
    begun: list[tuple[subprocess.Popen[str], threading.Thread]] = []

    def start(environ: Mapping[str, str], arguments: Sequence[str]) -> Process:
        child = subprocess.Popen(
            [*COMMAND, *arguments],
            env=dict(environ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        process = Process(child)
        listening = threading.Thread(target=process.listen, daemon=True)
        listening.start()
        begun.append((child, listening))
        return process

    try:
        yield start
    finally:
        for child, listening in begun:
            child.kill()
            child.wait()
            listening.join(TIMEOUT_S)
            for stream in (child.stdout, child.stderr):
                assert stream is not None
                stream.close()


@pytest.fixture
def start() -> Iterator[Start]:
    with starting() as function:
        yield function


def _settings_of(process: Process, count: int = 6) -> dict[str, str]:
    """Return the settings that `simulate` prints, as a shell would read them."""
    assert process.child.stdout is not None
    lines = [process.child.stdout.readline() for _ in range(count)]
    pairs = [line.strip().removeprefix("export ").partition("=")[::2] for line in lines]
    return {name: value.strip("'") for name, value in pairs}


@pytest.fixture
def simulated_settings() -> Callable[[Process], dict[str, str]]:
    """Return the reader of what `simulate` prints."""
    return _settings_of


@pytest.fixture(scope="session")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Folder]:
    """Return the folder of a running `serve`, with a fast simulator as its fal."""
    path = tmp_path_factory.mktemp("town") / "data"
    with starting() as start:
        fast = ("--time-scale", "0.02", "--port", "0")
        simulator = start(clean_environ(), ["simulate", *fast])
        given = _settings_of(simulator)
        del given["FAL_CONSUMER_PUBLIC_URL"]  # its port is not known before it is bound
        environ = clean_environ(
            **given,
            FAL_CONSUMER_DATA_DIR=str(path),
            FAL_CONSUMER_LISTEN="127.0.0.1:0",
            FAL_CONSUMER_CONSOLE_LISTEN="127.0.0.1:0",
            FAL_CONSUMER_FIRST_CHECK_S="0.05",
        )
        start(environ, ["serve"]).wait_for("receiver listens on ")
        yield Folder(path, environ)


@pytest.fixture(scope="session")
def lone_fal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Folder]:
    """Return an empty folder, with a fast simulator that serves files as its fal."""
    path = tmp_path_factory.mktemp("lone") / "data"
    with starting() as start:
        fast = ("--time-scale", "0.02", "--port", "0", "--files")
        given = _settings_of(start(clean_environ(), ["simulate", *fast]), 7)
        yield Folder(path, clean_environ(**given, FAL_CONSUMER_DATA_DIR=str(path)))


@pytest.fixture
def unasked(folder: Folder) -> Iterator[Folder]:
    """Return a folder whose fal is a port that must not be called; a call fails the test."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        yield replace(
            folder,
            environ={
                **folder.environ,
                "FAL_KEY": "id:secret",
                "FAL_CONSUMER_QUEUE_URL": url,
                "FAL_CONSUMER_API_URL": f"{url}/v1",
            },
        )
        with pytest.raises(BlockingIOError):
            listener.accept()
