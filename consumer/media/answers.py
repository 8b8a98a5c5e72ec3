"""
What the host of a file answers, judged before a byte of it is kept. Pure.

Source: RFC 9110, sections 13.1.5 (If-Range), 14.4 (Content-Range) and 15.3.7 (206).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from consumer.media.places import MediaRefused

_RANGE = re.compile(r"bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18})")
_UNMET = re.compile(r"bytes \*/([0-9]{1,18})")
_NUMBER = re.compile(r"[0-9]{1,18}")
_VALIDATOR = re.compile(r'"[\x21\x23-\x7e]{0,200}"|[A-Z][A-Za-z0-9,: -]{10,40} GMT')
_MAX_WAIT_S = 30.0


class Again(Exception):
    """A try failed and another may not; `reason` is a word, `wait_s` what the host asks for."""

    def __init__(self, reason: str, wait_s: float = 0.0) -> None:
        super().__init__(reason)
        self.reason = reason
        self.wait_s = wait_s


@dataclass(frozen=True, slots=True)
class Coming:
    """
    The bytes that follow: from `start` on, `total` in the whole file where it is known.

    `validator` names this version of the file, empty where it cannot be asked for by it.
    """

    start: int
    total: int | None
    validator: str
    content_type: str


def coming(status: int, headers: Mapping[str, str], held: int, known: int | None) -> Coming | None:
    """
    Return what follows an answer to a request from byte `held` on; None: nothing is missing.

    `known` is the size that an earlier answer told. Raises MediaRefused for what will not
    change, and Again, with the reason `restart` where only the beginning can be had.
    """
    if status == 416:
        unmet = _UNMET.fullmatch(headers.get("Content-Range", ""))
        if held and unmet and int(unmet[1]) == held:
            return None
        raise Again("restart")
    _raise_unless_ok(status, headers)
    encoding = headers.get("Content-Encoding", "identity").strip().lower()
    kind = headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if encoding not in ("", "identity") or kind.startswith("multipart/"):
        raise MediaRefused("encoded")
    length = _length(headers)
    if status == 200:
        if length == 0:
            raise MediaRefused("empty")
        if length is None and headers.get("Transfer-Encoding", "").lower() != "chunked":
            raise MediaRefused("no_length")
        return Coming(0, length, _validator(headers), kind)
    return _part(headers, length, held, known)


def _part(headers: Mapping[str, str], length: int | None, held: int, known: int | None) -> Coming:
    found = _RANGE.fullmatch(headers.get("Content-Range", ""))
    if found is None:
        raise Again("restart")
    first, last, total = int(found[1]), int(found[2]), int(found[3])
    is_rest = held and first == held and last == total - 1 and first <= last
    if not is_rest or (known is not None and total != known):
        raise Again("restart")
    if length is not None and length != total - held:
        raise MediaRefused("wrong_length")
    kind = headers.get("Content-Type", "").partition(";")[0].strip().lower()
    return Coming(held, total, _validator(headers), kind)


def _raise_unless_ok(status: int, headers: Mapping[str, str]) -> None:
    if status in (200, 206):
        return
    if 300 <= status < 400:
        raise MediaRefused("redirect")
    if status in (404, 410):
        raise MediaRefused("gone")
    if status in (401, 403):
        raise MediaRefused("forbidden")
    if status >= 500 or status in (408, 425, 429):
        text = headers.get("Retry-After", "").strip()
        wait_s = min(float(text), _MAX_WAIT_S) if _NUMBER.fullmatch(text) else 0.0
        raise Again(f"http_{status}", wait_s)
    raise MediaRefused(f"http_{status}")


def _length(headers: Mapping[str, str]) -> int | None:
    text = headers.get("Content-Length", "").strip()
    return int(text) if _NUMBER.fullmatch(text) else None


def _validator(headers: Mapping[str, str]) -> str:
    """Return a strong entity tag, else the date of the last change: what If-Range may carry."""
    for name in ("ETag", "Last-Modified"):
        text = headers.get(name, "").strip()
        if _VALIDATOR.fullmatch(text):
            return text
    return ""
