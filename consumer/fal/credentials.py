"""
The fal key: where it is read, and read again when fal no longer takes it.

The key never leaves this folder but in the header of a call; `repr` shows none of it.
"""

import re
from collections.abc import Callable, Mapping
from pathlib import Path

_KEY = re.compile(r"[\x21-\x7e]{1,1024}")


class Credential:
    """The key in force. `read` returns it anew, or None where there is none now."""

    def __init__(self, read: Callable[[], str | None]) -> None:
        self._read = read
        self._key = read()

    def __repr__(self) -> str:
        return f"<Credential {'***' if self._key else 'absent'}>"

    @property
    def key(self) -> str | None:
        """Return the key as last read, None without one."""
        return self._key

    def reread(self) -> None:
        """Read the key again; where that yields none, the one at hand stays."""
        self._key = self._read() or self._key


def fixed_credential(key: str) -> Credential:
    """Return the credential of a key given once, `<key_id>:<key_secret>`."""
    return Credential(lambda: key)


def file_credential(path: Path) -> Credential:
    """
    Return the credential of a key file, for which whoever rotates it writes a new text.

    A file that cannot be read, or holds anything but one line of visible ASCII, is no key.
    """

    def read() -> str | None:
        try:
            text = path.read_bytes()[:4096].decode("ascii").strip()
        except (OSError, UnicodeDecodeError):
            return None
        return text if _KEY.fullmatch(text) else None

    return Credential(read)


def environment_credential(environ: Mapping[str, str]) -> Credential | None:
    """
    Return the credential that these variables name, as fal's own clients do, or None.

    `FAL_KEY_FILE` (read again when fal refuses the key), else `FAL_KEY`, else `FAL_KEY_ID`
    with `FAL_KEY_SECRET`. Give it `os.environ`.
    """
    if path := environ.get("FAL_KEY_FILE"):
        return file_credential(Path(path))
    key = environ.get("FAL_KEY", "").strip()
    parts = (environ.get("FAL_KEY_ID", "").strip(), environ.get("FAL_KEY_SECRET", "").strip())
    if not key and all(parts):
        key = ":".join(parts)
    return fixed_credential(key) if _KEY.fullmatch(key) else None
