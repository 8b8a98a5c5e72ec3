"""
Server-sent events out of pieces of bytes, as far as fal sends them. Pure, and bounded.

Only `data` is read: fal sends no `event`, `id` or `retry` (fal docs, "Queue status stream",
2026-10). Rules of lines and fields: WHATWG HTML, "Server-sent events".
"""

import re

from consumer.errors import FalUnavailable

_LINE_END = re.compile(rb"\r\n|\n|\r(?!$)")
# A CR at the very end may be half of a CRLF: it waits for the next piece.
_BOM = b"\xef\xbb\xbf"


class EventReader:
    """Takes the pieces of one stream in their order, and gives the data of each whole event."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._rest = b""
        self._data: list[bytes] = []
        self._size = 0
        self._is_first = True

    def feed(self, piece: bytes) -> list[bytes]:
        """
        Return the data of the events that this piece completes, lines joined by LF.

        Raises FalUnavailable `too_large` where one event exceeds `max_bytes`.
        """
        *lines, self._rest = _LINE_END.split(self._rest + piece)
        found = [data for line in lines if (data := self._take(line)) is not None]
        if self._size + len(self._rest) > self._max_bytes:
            raise FalUnavailable("too_large")
        return found

    def _take(self, line: bytes) -> bytes | None:
        """Take one line; the data of the event that it ends, else None."""
        if self._is_first:
            line, self._is_first = line.removeprefix(_BOM), False
        if not line:
            data, has_data = b"\n".join(self._data), bool(self._data)
            self._data, self._size = [], 0
            return data if has_data else None
        name, _, value = line.partition(b":")
        if name == b"data":
            self._data.append(value.removeprefix(b" "))
            self._size += len(value) + 1
            if self._size > self._max_bytes:
                raise FalUnavailable("too_large")
        return None
