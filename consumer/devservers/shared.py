"""
One broker for several processes: whoever needs it first starts it, the last one ends it.

The count of its users is a file lock: every user holds it shared, and the process that
keeps the broker waits until it can hold it alone. The kernel lets go of a lock when its
holder dies, so no user that was killed keeps a broker alive.
"""

import asyncio
import fcntl
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from consumer.devservers.broker import READY_WITHIN_S, ServerNotStarted
from consumer.devservers.cluster import open_kafka
from consumer.devservers.formatting import FORMATTED_WITHIN_S
from consumer.devservers.java import classpath, java

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
    folder.mkdir(parents=True, exist_ok=True)
    servers = folder / "servers"
    with (folder / "users.lock").open("a") as users, (folder / "starter.lock").open("a") as start:
        fcntl.flock(start, fcntl.LOCK_EX)
        fcntl.flock(users, fcntl.LOCK_SH)  # waits while the broker of earlier users ends
        if not _is_kept(folder):
            servers.unlink(missing_ok=True)
            _wait_for(servers, _start_keeper(folder), folder / "keeper.log")
        found = servers.read_text()
        fcntl.flock(start, fcntl.LOCK_UN)
        yield found


def _is_kept(folder: Path) -> bool:
    """Return whether a process keeps a broker in that folder, ready for use."""
    with (folder / "keeper.lock").open("a") as keeper:
        return not _holds_alone(keeper.fileno())


def _start_keeper(folder: Path) -> int:
    """Start the process that keeps the broker; return its process id."""
    # Not by asyncio or subprocess: it outlives whoever happened to be first, in a session
    # of its own, and nobody has to wait for it.
    log = str(folder / "keeper.log")
    return os.posix_spawn(
        sys.executable,
        [sys.executable, "-m", "consumer.devservers", "keep", str(folder)],
        os.environ,
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
        setsid=True,
    )


def _wait_for(servers: Path, keeper: int, log: Path) -> None:
    deadline = time.monotonic() + FORMATTED_WITHIN_S + READY_WITHIN_S
    while not servers.exists():
        ended, _ = os.waitpid(keeper, os.WNOHANG)
        if ended or time.monotonic() > deadline:
            raise ServerNotStarted(f"shared broker: {log.read_text(errors='replace').strip()}")
        time.sleep(LOOK_AGAIN_S)


async def keep_kafka(folder: Path) -> None:
    """Run a broker in that folder until nobody holds its `users.lock` any more."""
    servers = folder / "servers"
    with (folder / "users.lock").open("a") as users, (folder / "keeper.lock").open("a") as keeper:
        fcntl.flock(keeper, fcntl.LOCK_EX)
        (folder / "keeper.pid").write_text(str(os.getpid()))
        async with open_kafka(folder / str(time.time_ns())) as kafka:
            part = folder / "servers.part"
            part.write_text(kafka.servers)
            part.rename(servers)
            # A wait for the lock itself would block, and could not be cancelled.
            while not _holds_alone(users.fileno()):  # noqa: ASYNC110
                await asyncio.sleep(LOOK_AGAIN_S)
        # New users wait for the lock until here, and find afterwards that nobody keeps one.


def _holds_alone(lock: int) -> bool:
    """Take the lock if nobody else holds it; return whether that worked."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
