"""A simulator with TLS, and fal's own clients that take it for fal."""

import asyncio
import fcntl
import json
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from consumer.simulator import Simulator, SimulatorConfig

HERE = Path(__file__).parent
KEY = "id:secret"
WITHIN_S = 60.0
INSTALL_WITHIN_S = 300.0


@dataclass(frozen=True)
class Official:
    """One simulator, and a way to run a story of one client against it."""

    simulator: Simulator
    authority: Path
    webhook_url: str

    @property
    def host(self) -> str:
        """`localhost:PORT`, where TLS is spoken."""
        return self.simulator.tls_url.removeprefix("https://")

    def entry(self, request_id: str) -> Any:
        """The simulator's page of a request."""
        return self.simulator.books().requests[request_id]

    async def tell(self, *command: str) -> Any:
        """Run a story and return what it printed."""
        environ = os.environ | {
            "FAL_KEY": KEY,
            "FAL_RUN_HOST": self.host,
            "FAL_QUEUE_RUN_HOST": self.host,
            "SSL_CERT_FILE": str(self.authority),
            "NODE_EXTRA_CA_CERTS": str(self.authority),
        }
        process = await asyncio.create_subprocess_exec(
            *command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        try:
            async with asyncio.timeout(WITHIN_S):
                printed, complaint = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        assert 0 == process.returncode, complaint.decode()
        return json.loads(printed)

    async def python(self, story: str, *arguments: str) -> Any:
        """Run a story of the Python client."""
        return await self.tell(sys.executable, str(HERE / "drive.py"), story, *arguments)


@pytest.fixture
async def inbox() -> AsyncIterator[tuple[str, list[bytes]]]:
    """The URL of a receiver, and what it received."""
    received: list[bytes] = []

    async def take(request: web.Request) -> web.Response:
        received.append(await request.read())
        return web.Response()

    app = web.Application()
    app.router.add_post("/webhook", take)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}/webhook", received
    await runner.cleanup()


@pytest.fixture
async def official(tmp_path, inbox) -> AsyncIterator[Callable[..., Any]]:
    """Start simulators that the official clients can talk to."""
    async with AsyncExitStack() as stack:

        async def start(**settings: Any) -> Official:
            config = SimulatorConfig(
                **{"seed": 7, "time_scale": 0.05, "tls_port": 0, "api_key": KEY} | settings
            )
            simulator = await stack.enter_async_context(Simulator(config))
            authority = tmp_path / "authority.pem"
            authority.write_bytes(simulator.authority_pem)
            return Official(simulator, authority, inbox[0])

        yield start


@contextmanager
def alone(file: Path) -> Iterator[None]:
    """Let one process in at a time."""
    with file.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield


@pytest.fixture(scope="session")
def node_modules(request, require) -> Path:
    """The folder with fal's JavaScript client, installed once for each state of its lock file."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        require("node", "neither node nor npm: fal's JavaScript client is not run")
    lock = (HERE / "package-lock.json").read_bytes()
    cache = request.config.cache.mkdir("official-clients")
    home = cache / sha256(lock).hexdigest()[:16]
    with alone(cache / "lock"):
        if not (home / "installed").exists():
            home.mkdir(exist_ok=True)
            for name in ("package.json", "package-lock.json"):
                shutil.copy(HERE / name, home / name)
            command = [npm, "ci", "--no-audit", "--no-fund", "--ignore-scripts"]
            done = subprocess.run(
                command, cwd=home, capture_output=True, timeout=INSTALL_WITHIN_S, check=False
            )
            if done.returncode:
                require("node", f"npm could not install fal's client: {done.stderr[-300:]!r}")
            (home / "installed").touch()
    return home


@pytest.fixture
def javascript(node_modules) -> Callable[..., Any]:
    """Run a story of the JavaScript client against a simulator."""

    async def tell(official: Official, story: str, *arguments: str) -> Any:
        script = str(HERE / "drive.mjs")
        return await official.tell(
            "node", script, str(node_modules), official.host, story, *arguments
        )

    return tell
