"""
A file on its way: `NAME.part` while it grows, its own name once it is whole and on disk.

Beside it `NAME.part.json` says which version of which file it is, and how much of it was
synced, so that a later run goes on from there. One process at a time holds it.
"""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, Self

from consumer.media.places import MediaRefused

_CHECKPOINT_BYTES = 16 * 1024 * 1024
_MAX_NOTE_BYTES = 4096


class PartFile:
    """One growing file. `size` bytes of it are here, of the version that `validator` names."""

    def __init__(self, file: BinaryIO, folder: Path, stem: str, origin: str) -> None:
        self._file = file
        self._folder = folder
        self._stem = stem
        self._origin = origin
        self._synced = 0
        self.size = 0
        self.validator = ""
        self.total: int | None = None
        self.content_type = ""

    @classmethod
    def open(cls, folder: Path, stem: str, origin: str) -> Self:
        """
        Open, or begin, the file for the URL whose hash is `origin`; what is usable stays.

        Raises MediaRefused `busy` while another process is at it, and OSError.
        """
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        path = folder / f"{stem}.part"
        file = os.fdopen(os.open(path, flags, 0o666), "r+b", buffering=0)
        try:
            _take(file, path)
        except MediaRefused:
            file.close()
            raise
        part = cls(file, folder, stem, origin)
        part._take_over()
        return part

    def restart(self, validator: str, total: int | None, content_type: str) -> None:
        """Begin anew, with this version of the file."""
        self._file.truncate(0)
        self._file.seek(0)
        self.size = self._synced = 0
        self.validator, self.total, self.content_type = validator, total, content_type
        self._write_note()

    def write(self, chunk: bytes) -> None:
        """Append bytes."""
        view = memoryview(chunk)
        while view:
            view = view[self._file.write(view) :]
        self.size += len(chunk)
        if self.size - self._synced >= _CHECKPOINT_BYTES:
            self.checkpoint()

    def checkpoint(self) -> None:
        """Make what is here durable, so that a later run may go on after it."""
        os.fsync(self._file.fileno())
        self._synced = self.size
        if self.size:
            self._write_note()

    def finish(self, extension: str) -> Path:
        """Give the whole file its own name, durably, and return its path."""
        os.fsync(self._file.fileno())
        path = self._folder / f"{self._stem}{extension}"
        self._path.rename(path)
        self._note.unlink(missing_ok=True)
        _sync_folder(self._folder)
        return path

    def drop(self) -> None:
        """Remove what is here: it will never be wanted."""
        self._path.unlink(missing_ok=True)
        self._note.unlink(missing_ok=True)

    def close(self) -> None:
        """Leave it as it is; an empty one goes away."""
        if self.size == 0 and os.fstat(self._file.fileno()).st_nlink:
            self.drop()
        self._file.close()

    @property
    def _path(self) -> Path:
        return self._folder / f"{self._stem}.part"

    @property
    def _note(self) -> Path:
        return self._folder / f"{self._stem}.part.json"

    def _take_over(self) -> None:
        """Go on with what an earlier run left, as far as it is known to be on disk."""
        note = self._read_note()
        held = os.fstat(self._file.fileno()).st_size
        synced, validator = note.get("synced"), note.get("validator")
        is_ours = note.get("origin") == self._origin and isinstance(validator, str) and validator
        if is_ours and isinstance(synced, int) and 0 < synced <= held:
            total, kind = note.get("total"), note.get("content_type")
            self.validator = str(validator)
            self.total = total if isinstance(total, int) else None
            self.content_type = kind if isinstance(kind, str) else ""
            self.size = self._synced = synced
        self._file.truncate(self.size)
        self._file.seek(self.size)

    def _read_note(self) -> dict[str, Any]:
        try:
            with self._note.open("rb") as file:
                note = json.loads(file.read(_MAX_NOTE_BYTES))
        except (OSError, ValueError, RecursionError):
            return {}
        return note if isinstance(note, dict) else {}

    def _write_note(self) -> None:
        note = {
            "origin": self._origin,
            "validator": self.validator,
            "total": self.total,
            "content_type": self.content_type,
            "synced": self._synced,
        }
        fresh = self._folder / f"{self._stem}.part.json.new"
        fresh.write_text(json.dumps(note), "ascii")
        fresh.rename(self._note)


def _take(file: BinaryIO, path: Path) -> None:
    """Hold the file that stands at `path`. Raises MediaRefused `busy` where another does."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Its former holder may have given it its own name just now.
        is_there = os.fstat(file.fileno()).st_ino == path.stat().st_ino
    except (BlockingIOError, FileNotFoundError) as exc:
        raise MediaRefused("busy") from exc
    if not is_there:
        raise MediaRefused("busy")


def kept(folder: Path, stem: str) -> Path | None:
    """Return the whole file that an earlier run left under this name, or None."""
    return next(_whole(folder, stem), None)


def _whole(folder: Path, stem: str) -> Iterator[Path]:
    with suppress(OSError):
        for path in sorted(folder.glob(f"{stem}.*")):
            if ".part" not in path.name and path.is_file():
                yield path


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
