"""
The data folder: who holds it, and the secrets that are made in it at first start.

Files made here are readable by their owner alone.
"""

import fcntl
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from consumer.errors import ConfigError

_LOCK = "serve.lock"
_SECRETS_LOCK = "secrets.lock"
_MIGRATION_LOCK = "migration.lock"
_HOLD_TRIES = 5
_HOLD_PAUSE_S = 0.05
# A command that only looks who holds the folder has the lock for a moment.


class DataFolder:
    """Where the embedded log, the ledger, the last good keys and generated secrets live."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def log(self) -> Path:
        """The folder of the embedded log."""
        return self.path / "log"

    @property
    def spools(self) -> Path:
        """The folder of the spools, one for each receiver."""
        return self.path / "spool"

    @property
    def members(self) -> Path:
        """The folder of the names by which workers join their groups on Kafka."""
        return self.path / "members"

    @property
    def ledger(self) -> Path:
        """The SQLite ledger."""
        return self.path / "ledger.sqlite"

    @property
    def keys(self) -> Path:
        """The last good key set."""
        return self.path / "keys.json"

    @property
    def token_secrets(self) -> Path:
        """The secrets of callback tokens, when no other file is configured."""
        return self.path / "token-secrets"

    @property
    def console_tokens(self) -> Path:
        """The named tokens of the console, when no other file is configured."""
        return self.path / "console-tokens"

    def make(self) -> None:
        """Make the folder where it is missing. Raises ConfigError when it cannot be written."""
        try:
            self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
            probe = self.path / f".probe-{os.getpid()}"
            probe.touch()
            probe.unlink()
        except OSError as exc:
            raise ConfigError(
                [f"FAL_CONSUMER_DATA_DIR: {self.path} cannot be written ({exc.strerror})"]
            ) from exc

    def nearest(self) -> Path:
        """Return the folder, or while it is missing the nearest one above it that is there."""
        return next(path for path in (self.path, *self.path.absolute().parents) if path.exists())

    def require_writable(self) -> None:
        """Raise ConfigError when `make` would; makes nothing."""
        if self.path.is_dir():
            self.make()
        elif not (self.nearest().is_dir() and os.access(self.nearest(), os.W_OK | os.X_OK)):
            problem = f"{self.path} cannot be made in {self.nearest()}"
            raise ConfigError([f"FAL_CONSUMER_DATA_DIR: {problem}"])

    @contextmanager
    def held(self, *, is_shared: bool = False) -> Iterator[None]:
        """
        Hold the folder, by a lock that the kernel gives back at any death.

        One `serve` holds it alone; any number of `receive` and `work` share one. Raises
        ConfigError that names the process which holds it.
        """
        self.make()
        with _opened(self.path / _LOCK) as file:
            try:
                _lock(file, tries=_HOLD_TRIES, is_shared=is_shared)
            except OSError as exc:
                holder = _holder(file.name) or "another process"
                problem = f"{self.path} is in use by {holder}"
                advice = "stop it first, or choose another folder"
                raise ConfigError([f"FAL_CONSUMER_DATA_DIR: {problem}; {advice}"]) from exc
            file.truncate(0)
            if not is_shared:
                file.write(f"{os.getpid()}\n")
                file.flush()
            yield

    @contextmanager
    def migrating(self) -> Iterator[None]:
        """Hold the right to change the ledger's schema, among processes that share the folder."""
        with _opened(self.path / _MIGRATION_LOCK) as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def holder(self) -> str | None:
        """Return the process that holds the folder, as `process 123`, or None when nobody does."""
        path = self.path / _LOCK
        if not path.is_file():
            return None
        with _opened(path) as file:
            try:
                _lock(file)
            except OSError:
                return _holder(str(path)) or "another process"
        return None

    def made_secret(self, path: Path, line: str | None = None) -> Path:
        """
        Return `path`, having made it with one fresh secret, mode 0600, where it is missing.

        Whoever makes it at the same time finds the same one. Raises ConfigError.
        """
        if path.exists():
            return path
        try:
            # Under a lock, because the last of two renames would win, and the first maker
            # may have read his own already.
            with (self.path / _SECRETS_LOCK).open("a") as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                if not path.exists():
                    _write_secret(path, line or secrets.token_hex(32))
        except OSError as exc:
            raise ConfigError([f"{path} cannot be made ({exc.strerror})"]) from exc
        return path


def _write_secret(path: Path, line: str) -> None:
    """Make the file whole, readable by its owner alone, and durable with its name."""
    draft = path.with_name(f"{path.name}.draft")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        os.fchmod(descriptor, 0o600)
        file.write(line + "\n")
        file.flush()
        os.fsync(descriptor)
    draft.rename(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _opened(path: Path) -> TextIO:
    try:
        return path.open("a+")
    except OSError as exc:
        problem = f"{path} cannot be opened ({exc.strerror})"
        raise ConfigError([f"FAL_CONSUMER_DATA_DIR: {problem}"]) from exc


def _lock(file: TextIO, *, tries: int = 1, is_shared: bool = False) -> None:
    """Lock the file. Raises OSError when somebody holds it at the last try too."""
    kind = fcntl.LOCK_SH if is_shared else fcntl.LOCK_EX
    for left in reversed(range(tries)):
        try:
            fcntl.flock(file, kind | fcntl.LOCK_NB)
        except OSError:
            if not left:
                raise
            time.sleep(_HOLD_PAUSE_S)
        else:
            return


def _holder(path: str) -> str | None:
    pid = Path(path).read_text().strip()
    return f"process {pid}" if pid.isdigit() else None
