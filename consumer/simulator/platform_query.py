"""
Reading the platform API's query parameters: ids, limits, cursors, time ranges. Pure.

Source for all of it: fal docs, Platform APIs, common parameters (read 2026-10-07).
"""

import base64
import binascii
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import TypeVar

from multidict import MultiMapping

DEFAULT_RANGE = timedelta(hours=24)
LONG_RANGE = timedelta(days=90)  # where a request id narrows the call
_MAX_ENDPOINTS = 50
Item = TypeVar("Item")


class BadQueryError(ValueError):
    """A parameter fal would answer 400 for; carries its name."""

    def __init__(self, parameter: str) -> None:
        super().__init__(parameter)
        self.parameter = parameter

    def __str__(self) -> str:
        return f"Invalid request parameters: {self.parameter}"


def endpoints(query: MultiMapping[str], *, required: bool) -> list[str]:
    """Return the endpoint ids, repeated or comma-separated, each once; raises BadQueryError."""
    given = [part for text in query.getall("endpoint_id", []) for part in text.split(",") if part]
    unique = list(dict.fromkeys(given))
    if len(unique) > _MAX_ENDPOINTS or (required and not unique):
        raise BadQueryError("endpoint_id")
    return unique


def limit(query: MultiMapping[str], *, default: int, most: int) -> int:
    """Return the page size, 1 to `most`; raises BadQueryError."""
    text = query.get("limit", str(default))
    if not text.isdecimal() or not 1 <= int(text) <= most:
        raise BadQueryError("limit")
    return int(text)


def page(query: MultiMapping[str]) -> int:
    """Return the page number, from 1; the cursor is that number in base64."""
    cursor = query.get("cursor")
    if cursor is None:
        return 1
    try:
        number = int(base64.b64decode(cursor, validate=True))
    except (binascii.Error, ValueError) as exc:
        raise BadQueryError("cursor") from exc
    if number < 1:
        raise BadQueryError("cursor")
    return number


def time_range(query: MultiMapping[str], now: float, default: timedelta) -> tuple[float, float]:
    """Return start (inclusive) and end (exclusive) as unix seconds; raises BadQueryError."""
    end = _instant(query.get("end"), "end", float("inf"))
    start = _instant(query.get("start"), "start", min(end, now) - default.total_seconds())
    return start, end


def paged(items: Iterable[Item], page_number: int, page_size: int) -> tuple[list[Item], str | None]:
    """Return one page and the cursor of the next, None when this is the last."""
    first = (page_number - 1) * page_size
    found = list(islice(items, first, first + page_size + 1))
    if len(found) <= page_size:
        return found, None
    return found[:page_size], base64.b64encode(str(page_number + 1).encode()).decode()


def iso(instant: float | None) -> str | None:
    """Return unix seconds as ISO 8601 in UTC."""
    if instant is None:
        return None
    return datetime.fromtimestamp(instant, UTC).isoformat().replace("+00:00", "Z")


def _instant(text: str | None, parameter: str, default: float) -> float:
    if text is None:
        return default
    try:
        # A plus sign that nobody encoded arrives as a space.
        moment = datetime.fromisoformat(text.replace(" ", "+"))
    except ValueError as exc:
        raise BadQueryError(parameter) from exc
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
