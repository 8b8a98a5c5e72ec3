"""
The folders of the spools: one for each receiver, each held by a file lock.

A lock is the kernel's: it is gone with its process, and whoever starts next adopts the
folder. Locks here and files in `consumer.log.files`; what is in a spool is no matter here.
"""

import errno
import fcntl
import os
import secrets
import shutil
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from consumer.errors import LogUnavailable
from consumer.log.files import LogFolder, sync_folder

_LOCK = "spool.lock"
_RETRY = "retry"
_TRIES = 5
_PAUSE_S = 0.02
# A command that only looks who holds a spool has its lock for a moment.


@dataclass(frozen=True, slots=True, order=True)
class SpoolPlace:
    """Where one spool lies: a log of what waits, a log of what Kafka refused, and a lock."""

    path: Path

    @property
    def name(self) -> str:
        """The spool's name, random and lasting."""
        return self.path.name

    @property
    def waiting(self) -> Path:
        """The folder of the log of what waits."""
        return self.path / "waiting"

    @property
    def refused(self) -> Path:
        """The folder of the log of what Kafka refused, dead letter and all."""
        return self.path / "refused"

    def ask_for_retry(self) -> None:
        """Ask whoever holds the spool to try the refused records again. Raises LogUnavailable."""
        try:
            (self.path / _RETRY).touch(mode=0o600)
        except OSError as exc:
            raise LogUnavailable(f"cannot write to {self.path}: {exc.strerror}") from exc

    def wants_retry(self) -> bool:
        """Tell whether somebody asked for the refused records to be tried again."""
        return (self.path / _RETRY).exists()

    def forget_retry(self) -> None:
        """Take the wish back: it is fulfilled."""
        with suppress(OSError):
            (self.path / _RETRY).unlink(missing_ok=True)

    def holder(self) -> str | None:
        """Return the process that holds the spool, as `process 123`, or None for nobody."""
        try:
            descriptor = os.open(self.path / _LOCK, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            # Shared, so that two who look do not take each other for a holder.
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()
            return f"process {holder}" if holder.isdigit() else "another process"
        finally:
            os.close(descriptor)
        return None

    def size_bytes(self) -> int:
        """Return how many bytes the spool's files take on the disk."""
        size = 0
        for path in self.path.glob("*/*"):
            with suppress(OSError):
                size += path.stat().st_size
        return size


@dataclass(frozen=True, slots=True)
class HeldPlace:
    """A place whose lock this process has, until `release` or `remove`."""

    place: SpoolPlace
    descriptor: int

    def release(self) -> None:
        """Let the spool go, for the next to adopt."""
        os.close(self.descriptor)

    def remove(self) -> None:
        """Remove a spool that is empty, with its lock; an error leaves it to the next start."""
        path = self.place.path
        with suppress(OSError):
            shutil.rmtree(self.place.waiting)
            shutil.rmtree(self.place.refused)
            # The lock last: while it is there, nobody else begins a spool in this folder.
            (path / _RETRY).unlink(missing_ok=True)
            (path / _LOCK).unlink()
            path.rmdir()
            sync_folder(path.parent)
        self.release()


def list_places(folder: Path) -> list[SpoolPlace]:
    """Return every spool in the folder, held or not, by name. Raises LogUnavailable."""
    try:
        return sorted(SpoolPlace(path) for path in folder.iterdir() if path.is_dir())
    except FileNotFoundError:
        return []
    except OSError as exc:
        raise LogUnavailable(f"cannot list {folder}: {exc.strerror}") from exc


def maybe_hold(place: SpoolPlace) -> HeldPlace | None:
    """Return the spool held, or None while another process holds it. Raises LogUnavailable."""
    for left in reversed(range(_TRIES)):
        try:
            return _hold(place)
        except BlockingIOError:
            if left:
                time.sleep(_PAUSE_S)
        except FileNotFoundError:
            return None  # its holder emptied and removed it
        except OSError as exc:
            raise LogUnavailable(f"cannot lock {place.path}: {exc.strerror}") from exc
    return None


def new_place(folder: Path) -> HeldPlace:
    """Return a spool with a fresh name, made durably and held. Raises LogUnavailable."""
    LogFolder(folder).make()
    for _ in range(_TRIES):
        place = SpoolPlace(folder / secrets.token_hex(4))
        LogFolder(place.path).make()
        if (held := maybe_hold(place)) is not None:
            return held
        # Another process that starts right now found it first, and adopted it.
    raise LogUnavailable(f"{folder}: other processes take every new spool")


def _hold(place: SpoolPlace) -> HeldPlace:
    path = place.path / _LOCK
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Between opening and locking, its holder may have removed the folder.
        _require_same(path, descriptor)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    except BaseException:
        os.close(descriptor)
        raise
    return HeldPlace(place, descriptor)


def _require_same(path: Path, descriptor: int) -> None:
    if path.stat().st_ino != os.fstat(descriptor).st_ino:
        raise FileNotFoundError(errno.ENOENT, "removed and made anew", str(path))
