"""
How one setting is read: text of the environment, or a TOML value, into a value of its type.

Every validator returns the value or raises a ValueError whose whole text is what was
expected. None of them says what it was given: that may be a secret in the wrong place.
"""

import ipaddress
import re
from collections.abc import Callable, Mapping
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, NamedTuple
from urllib.parse import urlsplit

from pydantic import BeforeValidator, SecretStr

from consumer.core.endpoint import is_endpoint_id
from consumer.media.places import EXPECTED_PLACE, is_place

KIB, MIB, GIB = 1024, 1024**2, 1024**3
_SIZE_UNITS = {"": 1, "b": 1, "kib": KIB, "mib": MIB, "gib": GIB, "tib": 1024**4}
_DURATION_UNITS = {"": 1, "ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}
_AMOUNT = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,6})?)\s*([A-Za-z]{0,3})")
_VISIBLE = re.compile(r"[\x21-\x7e]{1,1024}")
_SERVER = re.compile(r"[A-Za-z0-9_.-]+:[0-9]{1,5}|\[[0-9A-Fa-f:.]+\]:[0-9]{1,5}")
_BOOLEANS = {"true": True, "1": True, "yes": True, "on": True}
_BOOLEANS |= {"false": False, "0": False, "no": False, "off": False}


class Address(NamedTuple):
    """Where to listen. Port 0 is a free one."""

    host: str
    port: int

    def __str__(self) -> str:
        """Return `host:port`, an IPv6 host in brackets."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class NoListener(StrEnum):
    """The answer `none` to where the console listens."""

    NONE = "none"


def _text(value: Any, expected: str) -> str:
    if not isinstance(value, str):
        raise ValueError(expected)  # noqa: TRY004  (pydantic collects ValueError only)
    return value.strip()


def parse_path(value: Any) -> Path:
    """Return a path, of a text that is not empty."""
    if isinstance(value, Path):
        return value
    text = _text(value, "a path")
    if not text or "\0" in text:
        raise ValueError("a path")
    return Path(text)


def matching(pattern: re.Pattern[str], expected: str) -> BeforeValidator:
    """Return the validator of a text that the whole pattern matches, spaces around it dropped."""

    def parse(value: Any) -> Any:
        text = value.get_secret_value() if isinstance(value, SecretStr) else value
        if pattern.fullmatch(_text(text, expected)) is None:
            raise ValueError(expected)
        return _text(text, expected)

    return BeforeValidator(parse)


def one_of(*choices: str) -> BeforeValidator:
    """Return the validator of one of these words, in any case; it yields the word as given here."""
    expected = "one of " + ", ".join(choices)

    def parse(value: Any) -> str:
        text = _text(value, expected)
        for choice in choices:
            if text.lower() == choice.lower():
                return choice
        raise ValueError(expected)

    return BeforeValidator(parse)


def _amount(value: Any, units: Mapping[str, float], expected: str) -> float:
    """Return a number of base units from a number or from text like `30m`, `10MiB`."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return value
    found = _AMOUNT.fullmatch(_text(value, expected))
    if found is None or found[2].lower() not in units:
        raise ValueError(expected)
    number = float(found[1]) if "." in found[1] else int(found[1])
    return number * units[found[2].lower()]


def size(low: int, high: int, *, or_zero: bool = False) -> BeforeValidator:
    """Return the validator of a number of bytes, like `10MiB`, within bounds."""
    expected = f"a size from {low} to {high} bytes, like 1048576 or 1MiB"
    expected += ", or 0" if or_zero else ""

    def parse(value: Any) -> int:
        amount = _amount(value, _SIZE_UNITS, expected)
        if not (low <= amount <= high or (or_zero and amount == 0)):
            raise ValueError(expected)
        return int(amount)

    return BeforeValidator(parse)


def seconds(low: float, high: float) -> BeforeValidator:
    """Return the validator of a number of seconds, like `30m`, within bounds."""
    expected = f"seconds from {low:g} to {high:g}, like 90, 90s or 2m"

    def parse(value: Any) -> float:
        amount = _amount(value, _DURATION_UNITS, expected)
        if not low <= amount <= high:  # also NaN, which TOML can spell
            raise ValueError(expected)
        return float(amount)

    return BeforeValidator(parse)


def count(low: int, high: int) -> BeforeValidator:
    """Return the validator of a whole number within bounds, or None for none."""
    expected = f"a whole number from {low} to {high}"

    def parse(value: Any) -> int | None:
        if value is None or (isinstance(value, int) and not isinstance(value, bool)):
            number = value
        else:
            text = _text(value, expected)
            if not (text.isascii() and text.isdigit() and len(text) <= 12):
                raise ValueError(expected)
            number = int(text)
        if number is not None and not low <= number <= high:
            raise ValueError(expected)
        return number

    return BeforeValidator(parse)


def parse_span(value: Any) -> timedelta | None:
    """Return a span of time, or None for no span."""
    if value is None:
        return None
    expected = "a span from 1 second to 30 days, like 900, 30m or 2h"
    is_span = isinstance(value, timedelta)
    seconds = value.total_seconds() if is_span else _amount(value, _DURATION_UNITS, expected)
    if not 1 <= seconds <= 30 * 86400:
        raise ValueError(expected)
    return timedelta(seconds=seconds)


def parse_days(value: Any) -> int | None:
    """Return a number of days, or None for no end."""
    if value is None:
        return None
    expected = "a whole number of days from 1 to 36500"
    text = str(value) if type(value) is int else _text(value, expected)
    if not (text.isascii() and text.isdigit() and len(text) < 6 and 1 <= int(text) <= 36500):
        raise ValueError(expected)
    return int(text)


def parse_bool(value: Any) -> bool:
    """Return a boolean, of `true`/`false`, `yes`/`no`, `on`/`off`, `1`/`0`."""
    if isinstance(value, bool):
        return value
    expected = "true or false"
    text = _text(value, expected).lower()
    if text not in _BOOLEANS:
        raise ValueError(expected)
    return _BOOLEANS[text]


def parse_address(value: Any) -> Address:
    """Return an address to listen on; an IPv6 host stands in brackets."""
    if isinstance(value, Address):
        return value
    expected = "host:port, like 127.0.0.1:8080 or [::1]:8080"
    text = _text(value, expected)
    host, _, port = text.rpartition(":")
    if not _SERVER.fullmatch(text) or int(port) > 65535:
        raise ValueError(expected)
    return Address(host.strip("[]"), int(port))


def parse_console(value: Any) -> Address | NoListener | None:
    """Return an address to listen on, `none`, or None for the role's own default."""
    if value is None or value == NoListener.NONE:
        return None if value is None else NoListener.NONE
    try:
        return parse_address(value)
    except ValueError as exc:
        raise ValueError(f"{exc}, or none") from exc


def list_of(is_item: Callable[[str], bool], expected: str) -> BeforeValidator:
    """Return the validator of a list, or of a text split at commas; doubles count once."""

    def parse(value: Any) -> tuple[str, ...] | None:
        if value is None:
            return None
        items = value.split(",") if isinstance(value, str) else value
        if not isinstance(items, (list, tuple)):
            raise ValueError(expected)  # noqa: TRY004
        texts = [_text(item, expected) for item in items]
        kept = tuple(dict.fromkeys(text for text in texts if text))
        if not all(is_item(text) for text in kept):
            raise ValueError(expected)
        return kept

    return BeforeValidator(parse)


def is_loopback(host: str) -> bool:
    """Tell whether `host` is `localhost`, `::1` or in 127.0.0.0/8, by its text alone."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host.lower() == "localhost"
    if isinstance(address, ipaddress.IPv4Address):
        return address in ipaddress.ip_network("127.0.0.0/8")
    return address == ipaddress.ip_address("::1")


def parse_web_url(value: Any) -> str:
    """Return an address that a key may travel to, without a trailing slash."""
    expected = "an https:// address without user, query or fragment (http:// on loopback only)"
    text = _text(value, expected)
    try:
        parts = urlsplit(text)
        host, port = parts.hostname or "", parts.port
    except ValueError as exc:
        raise ValueError(expected) from exc
    is_bare = "@" not in parts.netloc and not set(text) & set("?#\\") and port != 0
    is_safe = parts.scheme == "https" or (parts.scheme == "http" and is_loopback(host))
    if not (host and is_bare and is_safe and _VISIBLE.fullmatch(text)):
        raise ValueError(expected)
    return text.rstrip("/")


def parse_log_url(value: Any) -> str:
    """Return where the log is; only its spelling is judged."""
    expected = "embedded: or kafka://host:port,host:port"
    text = _text(value, expected)
    servers = text.removeprefix("kafka://").split(",")
    is_kafka = text.startswith("kafka://") and all(map(_SERVER.fullmatch, servers))
    if text != "embedded:" and not is_kafka:
        raise ValueError(expected)
    return text


LedgerUrl = matching(
    re.compile(r"sqlite:|postgresql://[\x21-\x7e]+"), "sqlite: or postgresql://user@host/database"
)
VisibleText = matching(_VISIBLE, "1 to 1024 visible ASCII characters, no spaces")
TopicPrefix = matching(re.compile(r"[A-Za-z0-9._-]{0,64}"), "up to 64 of A-Z a-z 0-9 . _ -")
Accounts = list_of(
    lambda text: len(text) <= 256 and _VISIBLE.fullmatch(text) is not None,
    "fal user ids like github|12345, separated by commas",
)
RULES = ("finish_deadline", "start_deadline", "queue_wait", "superseded")
# Policies of `CancelPolicy` that nobody asked for by name.
CancelRules = list_of(RULES.__contains__, f"some of {', '.join(RULES)}, separated by commas")
Endpoints = list_of(is_endpoint_id, "endpoint ids like owner/app, separated by commas")
MediaHosts = list_of(is_place, f"a list of {EXPECTED_PLACE}, separated by commas")
Url = Annotated[str, BeforeValidator(parse_web_url)]
File = Annotated[Path, BeforeValidator(parse_path)]
