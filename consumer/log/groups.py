"""
What consumer groups leave in the log's folder: their locks, topics and offsets.

Offsets are written to the file in force and hold for every file (the highest one found
counts), so a group survives the closing of a file. SQL and locks only, no loop.
"""

import errno
import fcntl
import os
import re
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path

from consumer.core.event import Topic
from consumer.errors import ConfigError, LogUnavailable
from consumer.log.files import LogFolder, closing_descriptor, open_to_read
from consumer.ports import Place

_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")

Offsets = dict[Place, int]
"""The next offset to read, by topic and partition."""


def check_name(group: str) -> None:
    """Raise ValueError when a group's name could not be a file's."""
    if not _NAME.fullmatch(group):
        raise ValueError(f"group name {group!r}: 1 to 64 of A-Z a-z 0-9 . _ -")


@contextmanager
def hold_group(folder: Path, group: str) -> Iterator[None]:
    """Be the only reader of this group among all processes. Raises LogUnavailable."""
    with ExitStack() as stack:
        # Only what the lock itself meets is translated, not what its holder raises.
        try:
            path = folder / f"group-{group}.lock"
            _lock(stack.enter_context(closing_descriptor(path)), group)
        except OSError as exc:
            raise LogUnavailable(f"cannot lock group {group}: {exc.strerror}") from exc
        yield


def _lock(descriptor: int, group: str) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as exc:
        if exc.errno not in {errno.EWOULDBLOCK, errno.EACCES}:
            raise
        holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip() or "unknown"
        raise LogUnavailable(f"group {group} is held by process {holder}") from exc
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)


def store_offsets(connection: sqlite3.Connection, group: str, offsets: Mapping[Place, int]) -> None:
    """Store next offsets; one that is already higher stays."""
    rows = [(group, topic.value, partition, at) for (topic, partition), at in offsets.items()]
    _put_offsets(connection, rows)


def _put_offsets(connection: sqlite3.Connection, rows: Iterable[tuple[str, str, int, int]]) -> None:
    connection.executemany(
        "INSERT INTO offsets VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE"
        " SET next_offset = max(next_offset, excluded.next_offset)",
        rows,
    )


def read_offsets(connection: sqlite3.Connection, group: str) -> Offsets:
    """Return what a group has committed according to one file."""
    rows = connection.execute(
        "SELECT topic, partition, next_offset FROM offsets WHERE name = ?", (group,)
    )
    return {(Topic(topic), partition): at for topic, partition, at in rows.fetchall()}


def store_topics(connection: sqlite3.Connection, group: str, topics: Sequence[Topic]) -> None:
    """Store which topics a group reads: those, and no other, wait for it when trimmed."""
    if read_topics(connection, group) == frozenset(topics):
        return
    connection.execute("DELETE FROM subscriptions WHERE name = ?", (group,))
    rows = [(group, topic.value) for topic in dict.fromkeys(topics)]
    connection.executemany("INSERT INTO subscriptions VALUES (?, ?)", rows)


def read_topics(connection: sqlite3.Connection, group: str) -> frozenset[Topic]:
    """Return the topics a group reads; none when it never subscribed."""
    rows = connection.execute("SELECT topic FROM subscriptions WHERE name = ?", (group,))
    return frozenset(Topic(topic) for (topic,) in rows.fetchall())


def copy_groups(folder: LogFolder, connection: sqlite3.Connection, number: int) -> None:
    """Bring what earlier files say about groups into a new one, where they can be read."""
    for other in folder.list().present:
        if other >= number:
            continue
        with (
            suppress(sqlite3.Error, ConfigError),
            closing(open_to_read(folder, other)) as source,
        ):
            offsets = source.execute("SELECT * FROM offsets").fetchall()
            topics = source.execute("SELECT * FROM subscriptions").fetchall()
            _put_offsets(connection, offsets)
            # The newest file's word about topics stands alone.
            if topics:
                connection.execute("DELETE FROM subscriptions")
                connection.executemany("INSERT INTO subscriptions VALUES (?, ?)", topics)
