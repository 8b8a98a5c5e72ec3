"""
The data folder: who holds it, and the secrets that are made in it at first start.

Files made here are readable by their owner alone.
"""

import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from consumer.errors import ConfigError

_LOCK = "serve.lock"


class DataFolder:
    """Where the embedded log, the ledger, the last good keys and generated secrets live."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def log(self) -> Path:
        """The folder of the embedded log."""
        return self.path / "log"

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

    @contextmanager
    def held(self) -> Iterator[None]:
        """
        Hold the folder for one `serve`, by a lock that the kernel gives back at any death.

        Raises ConfigError that names the process which holds it.
        """
        self.make()
        file = (self.path / _LOCK).open("a+")
        try:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as exc:
                holder = _holder(file.name) or "another process"
                raise ConfigError(
                    [
                        f"FAL_CONSUMER_DATA_DIR: {self.path} is in use by {holder}; "
                        "stop it first, or choose another folder"
                    ]
                ) from exc
            file.truncate(0)
            file.write(f"{os.getpid()}\n")
            file.flush()
            yield
        finally:
            file.close()

    def holder(self) -> str | None:
        """Return the process that holds the folder, as `process 123`, or None when nobody does."""
        path = self.path / _LOCK
        if not path.is_file():
            return None
        with path.open("a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                return _holder(str(path)) or "another process"
        return None

    def made_secret(self, path: Path, line: str | None = None) -> Path:
        """Return `path`, having made it with one fresh secret, mode 0600, where it is missing."""
        if not path.exists():
            text = line or secrets.token_hex(32)
            draft = path.with_suffix(f".{os.getpid()}")
            descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w") as file:
                file.write(text + "\n")
                file.flush()
                os.fsync(file.fileno())
            draft.rename(path)
        return path


def _holder(path: str) -> str | None:
    pid = Path(path).read_text().strip()
    return f"process {pid}" if pid.isdigit() else None
