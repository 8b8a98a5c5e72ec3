"""
The last good key set on disk, so that a restart while fal's key endpoint is down still verifies.

The file is replaced whole, never written in place. What cannot be read is no set.
"""

import json
import os
import tempfile
from base64 import b64decode, b64encode
from collections.abc import Collection
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path

from consumer.core.event import format_time, parse_time
from consumer.core.keys import KeySet, parse_keys
from consumer.errors import BadKeySet

_MAX_FILE_BYTES = 256 * 1024
_CLOCK_SLACK = timedelta(seconds=5)
# A time further in the future than this was not written by a clock that can be trusted.


def save_key_set(path: Path, held: KeySet) -> None:
    """
    Replace the file at `path` by this set; after a crash there is the old one or the new one.

    Raises OSError.
    """
    content = json.dumps(
        {
            "url": held.url,
            "fetched_at": format_time(held.fetched_at),
            "document_base64": b64encode(held.document).decode("ascii"),
        }
    ).encode("ascii")
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        with suppress(OSError):
            Path(name).unlink()
        raise
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def maybe_load_key_set(path: Path, *, urls: Collection[str], now: datetime) -> KeySet | None:
    """
    Return the set at `path`, or None.

    None too when it came from another address than one of `urls`, or was fetched in the
    future: then a clock was wrong, and its age would never show.
    """
    try:
        if path.stat().st_size > _MAX_FILE_BYTES:
            return None
        content = json.loads(path.read_bytes())
        document = b64decode(content["document_base64"], validate=True)
        fetched_at, url = parse_time(content["fetched_at"]), content["url"]
        keys = parse_keys(document)
    except (OSError, ValueError, KeyError, TypeError, RecursionError, BadKeySet):
        return None
    if url not in urls or fetched_at > now + _CLOCK_SLACK:
        return None
    return KeySet(keys, document, url, fetched_at)
