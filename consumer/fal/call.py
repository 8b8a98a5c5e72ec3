"""
What is sent to fal and what comes back, as plain values. No I/O and no meaning here.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Call:
    """
    One call: `path` and `query` are percent-encoded already.

    An unrepeatable one gets a connection of its own: on a kept one that the other side just
    closed, nobody can tell whether it was read.
    """

    operation: str
    method: str
    path: str
    max_bytes: int
    query: str = field(default="", repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    is_unrepeatable: bool = False
    body: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back, whole. Header names are case-insensitive."""

    http_status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)

    @property
    def is_page(self) -> bool:
        """Tell whether this is an HTML page, as proxies send them and fal's API does not."""
        kind = self.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        start = self.body[:64].lstrip().lower()
        return kind == "text/html" or start.startswith((b"<html", b"<!doctype html"))
