"""
The lasting names by which workers join their groups, so that a restart is no rebalance.

A name is the folder's random id and a slot; a process holds the first free slot by a file
lock. A killed process frees its slot at once, and its successor takes it again.
"""

import errno
import fcntl
import os
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from uuid import uuid4

from consumer.errors import LogUnavailable
from consumer.log.files import closing_descriptor

MAX_SLOTS = 256
"""More processes than this never share a folder."""

_ID = re.compile(r"[0-9a-f]{12}")


@contextmanager
def hold_member(folder: Path) -> Iterator[str]:
    """
    Hold a member's name that no other process on this folder has, until the end.

    Makes the folder. Raises LogUnavailable when it cannot be written.
    """
    with ExitStack() as stack:
        # Only what the locks meet is translated, not what their holder raises.
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            name = f"{_folder_id(folder)}-{_hold_slot(folder, stack)}"
        except OSError as exc:
            raise LogUnavailable(
                f"{folder}: no member's name can be held ({exc.strerror})"
            ) from exc
        yield name


def _hold_slot(folder: Path, stack: ExitStack) -> int:
    for slot in range(MAX_SLOTS):
        with ExitStack() as trying:
            descriptor = trying.enter_context(closing_descriptor(folder / f"slot-{slot}.lock"))
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as exc:
                if exc.errno not in {errno.EWOULDBLOCK, errno.EACCES}:
                    raise
                continue
            stack.enter_context(trying.pop_all())
            return slot
    raise LogUnavailable(f"{folder}: all {MAX_SLOTS} slots are held")


def _folder_id(folder: Path) -> str:
    """Return the folder's random id, made by whoever comes first."""
    path = folder / "id"
    if not path.exists():
        fresh = folder / f"id.{os.getpid()}"
        fresh.write_text(uuid4().hex[:12], encoding="ascii")
        try:
            # A link, not a rename: the first one stays, and it is never seen half written.
            os.link(fresh, path)
        except FileExistsError:
            pass
        finally:
            fresh.unlink()
    found = path.read_text(encoding="ascii", errors="replace").strip()
    if not _ID.fullmatch(found):
        raise LogUnavailable(f"{path} holds no id: remove it, and another one is made")
    return found
