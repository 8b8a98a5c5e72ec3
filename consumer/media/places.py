"""
Which files of an output may be fetched, and from where. Pure.

A URL in an output is text of a stranger: a model may copy it from its input. So it is held
to a list of places before anything is asked.
"""

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

from consumer.core.result import media_in

EXPECTED_PLACE = (
    "host, host/path/ or *.host (https), or http://127.0.0.1:port/path/ for this machine"
)
_URL = re.compile(r"[\x21-\x5b\x5d-\x7e]{1,4096}")  # visible ASCII without the backslash
_HOST = re.compile(r"(\*\.)?(?!-)[a-z0-9-]{1,63}(\.[a-z0-9-]{1,63})+")
_PREFIX = re.compile(r"/([A-Za-z0-9._~-]+/)*")
_DOTS = (".", "..")
_PORTS = {"https": 443, "http": 80}


class MediaRefused(ValueError):
    """A file is not fetched, or not kept; `reason` is a word for programs."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Place:
    """
    Where files may be fetched from: a host, or with `*.` any below it, and a path prefix.

    `scheme` is https, or http on this machine alone; `port` is exact.
    """

    host: str
    prefix: str = "/"
    scheme: str = "https"
    port: int = 443

    @property
    def is_loopback(self) -> bool:
        """Tell whether this place is on this machine, and was named as such."""
        return _is_loopback(self.host)

    def holds(self, source: "Source") -> bool:
        """Tell whether this URL lies in the place."""
        if (self.scheme, self.port) != (source.scheme, source.port):
            return False
        is_host = source.host == self.host
        if self.host.startswith("*."):
            is_host = source.host.endswith(self.host[1:])
        return is_host and source.path.startswith(self.prefix)


@dataclass(frozen=True, slots=True)
class Source:
    """A URL in its parts, judged; `url` is what is sent, as it stands."""

    url: str
    scheme: str
    host: str
    port: int
    path: str

    @property
    def is_loopback(self) -> bool:
        """Tell whether the host is this machine by its text."""
        return _is_loopback(self.host)


FAL_PLACES = (
    Place("fal.media"),
    Place("*.fal.media"),
    Place("storage.googleapis.com", "/falserverless/"),
)
"""Where fal keeps files. Source: fal docs and recorded outputs, 2024 to 2026."""


def parse_place(text: str) -> Place:
    """
    Return the place that a setting names. Raises ValueError with what was expected.

    `cdn.example.com/files/`, `*.example.com`, `http://127.0.0.1:9400/files/`.
    """
    given = text if "://" in text else f"https://{text}"
    try:
        parts = urlsplit(given)
        host, port = (parts.hostname or "").lower(), parts.port
    except ValueError as exc:
        raise ValueError(EXPECTED_PLACE) from exc
    prefix = parts.path if parts.path.endswith("/") else f"{parts.path}/"
    is_prefix = _PREFIX.fullmatch(prefix) and not set(prefix.split("/")) & set(_DOTS)
    is_bare = "@" not in parts.netloc and not parts.query and not parts.fragment
    schemes = ("https", "http") if _is_loopback(host) else ("https",)
    is_host = _is_loopback(host) or _is_name(host)
    if not (is_prefix and is_bare and is_host and parts.scheme in schemes and port != 0):
        raise ValueError(EXPECTED_PLACE)
    return Place(host, prefix, parts.scheme, port or _PORTS[parts.scheme])


def is_place(text: str) -> bool:
    """Tell whether a setting names a place in this form."""
    try:
        parse_place(text)
    except ValueError:
        return False
    return True


def urls_of(output: Any) -> list[str]:
    """
    Return the URLs of files that an output names, each once, in its order.

    Plain http among them: whether it may be fetched is for `source_of` to say.
    """
    found = media_in(output, schemes=("https://", "http://"))
    return list(dict.fromkeys(media.url for media in found))


def source_of(url: str, places: Sequence[Place]) -> Source:
    """
    Return a URL as it may be fetched.

    Raises MediaRefused `bad_url` for one that two readers could read in two ways, and
    `foreign_host` for one that lies in none of the places.
    """
    try:
        parts = urlsplit(url)
        host, port = (parts.hostname or "").lower(), parts.port
    except ValueError as exc:
        raise MediaRefused("bad_url") from exc
    if not _URL.fullmatch(url) or "@" in parts.netloc or not host or parts.scheme not in _PORTS:
        raise MediaRefused("bad_url")
    if _is_ambiguous(parts.path):
        raise MediaRefused("bad_url")
    whole = url.partition("#")[0]
    source = Source(whole, parts.scheme, host, port or _PORTS[parts.scheme], parts.path)
    if not any(place.holds(source) for place in places):
        raise MediaRefused("foreign_host")
    return source


def _is_name(host: str) -> bool:
    """Tell whether this is the name of a host, and not a number that some would dial."""
    if not _HOST.fullmatch(host):
        return False
    return not host.rpartition(".")[2].isdigit()


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _is_ambiguous(path: str) -> bool:
    """Tell whether a server might take this path for another one: dots, slashes, controls."""
    segments = unquote(path).split("/")
    is_odd = any(segment in _DOTS or "\\" in segment for segment in segments)
    has_hidden = "%2f" in path.lower() or not unquote(path).isprintable()
    return is_odd or has_hidden
