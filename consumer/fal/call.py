"""
What is sent to fal and what comes back, as plain values. No I/O and no meaning here.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

_MEDIA_TYPE = re.compile(r"[a-z0-9.+-]{1,64}/[a-z0-9.+-]{1,64}")


class Host(StrEnum):
    """The three hosts of fal that are spoken to."""

    QUEUE = "queue"
    API = "api"
    JWKS = "jwks"


@dataclass(frozen=True, slots=True)
class Call:
    """
    One call: `path` and `query` are percent-encoded already.

    An unrepeatable one gets a connection of its own: on a kept one that the other side just
    closed, nobody can tell whether it was read. A public one carries no key.
    """

    operation: str
    method: str
    path: str
    max_bytes: int
    query: str = field(default="", repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    is_unrepeatable: bool = False
    body: bytes | None = field(default=None, repr=False)
    host: Host = Host.QUEUE
    is_public: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back, whole. Header names are case-insensitive."""

    http_status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)

    @property
    def is_page(self) -> bool:
        """Tell whether this is an HTML page, as proxies send them and fal's API does not."""
        start = self.body[:64].lstrip().lower()
        return self._kind == "text/html" or start.startswith((b"<html", b"<!doctype html"))

    @property
    def came(self) -> str:
        """
        Describe what came without quoting it: status, kind, size, and whether fal marked it.

        A proxy's own answer lacks `x-fal-request-id` (fal-client 1.0.3 tells them so).
        """
        kind = self._kind if _MEDIA_TYPE.fullmatch(self._kind) else "no content type"
        size = f"{len(self.body)} bytes" if self.body else "an empty body"
        page = "an HTML page, " if self.is_page else ""
        mark = "" if "x-fal-request-id" in self.headers else ", without x-fal-request-id"
        return f"HTTP {self.http_status}: {page}{kind}, {size}{mark}"

    @property
    def _kind(self) -> str:
        return self.headers.get("Content-Type", "").partition(";")[0].strip().lower()
