"""
One server for several processes: whoever needs it first starts it, the last one ends it.

The count of its users is a file lock: every user holds it shared, and the process that
keeps the server waits until it can hold it alone. The kernel lets go of a lock when its
holder dies, so no user that was killed keeps a server alive.
"""

import asyncio
import fcntl
import os
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from consumer.devservers.broker import READY_WITHIN_S
from consumer.devservers.child import ServerNotStarted
from consumer.devservers.cluster import open_kafka
from consumer.devservers.formatting import FORMATTED_WITHIN_S
from consumer.devservers.java import classpath, java
from consumer.devservers.postgres import open_postgres, postgres_binaries

LOOK_AGAIN_S = 0.05


@contextmanager
def use_shared_kafka(folder: Path) -> Iterator[str]:
    """
    Return where the broker of that folder listens, as `127.0.0.1:port`, for this block.

    Starts it where nobody else has. Blocks until it is ready (3 s; the first time ever as
    long as its jars take). Raises `ConfigError` without the extra `dev`, `ServerNotStarted`.
    """
    java()
    classpath()  # what is missing is said here, to who asked
    with _use_shared(folder, "kafka") as servers:
        yield servers


@contextmanager
def use_shared_postgres(folder: Path) -> Iterator[str]:
    """
    Return the URL of the PostgreSQL of that folder, for this block; it is not durable.

    Starts it where nobody else has. Blocks until it is ready (1 s). Raises as `use_shared_kafka`.
    """
    postgres_binaries()
    with _use_shared(folder, "postgres") as url:
        yield url


@contextmanager
def _use_shared(folder: Path, kind: str) -> Iterator[str]:
    folder.mkdir(parents=True, exist_ok=True)
    address = folder / "address"
    with (folder / "users.lock").open("a") as users, (folder / "starter.lock").open("a") as start:
        fcntl.flock(start, fcntl.LOCK_EX)
        fcntl.flock(users, fcntl.LOCK_SH)  # waits while the server of earlier users ends
        if not _is_kept(folder):
            address.unlink(missing_ok=True)
            _wait_for(address, _start_keeper(folder, kind), folder / "keeper.log")
        found = address.read_text()
        fcntl.flock(start, fcntl.LOCK_UN)
        yield found


def _is_kept(folder: Path) -> bool:
    """Return whether a process keeps a server in that folder, ready for use."""
    with (folder / "keeper.lock").open("a") as keeper:
        return not _holds_alone(keeper.fileno())


def _start_keeper(folder: Path, kind: str) -> int:
    """Start the process that keeps the server; return its process id."""
    # Not by asyncio or subprocess: it outlives whoever happened to be first, in a session
    # of its own, and nobody has to wait for it.
    log = str(folder / "keeper.log")
    return os.posix_spawn(
        sys.executable,
        [sys.executable, "-m", "consumer.devservers", "keep", kind, str(folder)],
        os.environ,
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
        setsid=True,
    )


def _wait_for(address: Path, keeper: int, log: Path) -> None:
    deadline = time.monotonic() + FORMATTED_WITHIN_S + READY_WITHIN_S
    while not address.exists():
        ended, _ = os.waitpid(keeper, os.WNOHANG)
        if ended or time.monotonic() > deadline:
            raise ServerNotStarted(f"shared server: {log.read_text(errors='replace').strip()}")
        time.sleep(LOOK_AGAIN_S)


async def keep_kafka(folder: Path) -> None:
    """Run a broker in that folder until nobody holds its `users.lock` any more."""
    with _kept(folder) as ended:
        async with open_kafka(folder / str(time.time_ns())) as kafka:
            await ended(kafka.servers)


async def keep_postgres(folder: Path) -> None:
    """Run a PostgreSQL until nobody holds that folder's `users.lock` any more."""
    with _kept(folder) as ended:
        async with open_postgres(is_durable=False) as server:
            await ended(server.url())


@contextmanager
def _kept(folder: Path) -> Iterator[Callable[[str], Awaitable[None]]]:
    """Hold the right to keep the server; what it gives tells the address, and waits for the end."""
    with (folder / "users.lock").open("a") as users, (folder / "keeper.lock").open("a") as keeper:
        fcntl.flock(keeper, fcntl.LOCK_EX)
        (folder / "keeper.pid").write_text(str(os.getpid()))

        async def ended(address: str) -> None:
            part = folder / "address.part"
            part.write_text(address)
            part.rename(folder / "address")
            # A wait for the lock itself would block, and could not be cancelled.
            while not _holds_alone(users.fileno()):  # noqa: ASYNC110
                await asyncio.sleep(LOOK_AGAIN_S)

        yield ended
        # New users wait for the lock until here, and find afterwards that nobody keeps one.


def _holds_alone(lock: int) -> bool:
    """Take the lock if nobody else holds it; return whether that worked."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
