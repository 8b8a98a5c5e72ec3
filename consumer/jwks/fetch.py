"""
One fetch of a JWKS document over HTTP: bounded in time and size, to the configured host only.

No caching and no judgement of the keys: that is `jwks`. Every failure is KeysUnavailable.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

import aiohttp

from consumer.errors import KeysUnavailable

MAX_DOCUMENT_BYTES = 64 * 1024
# fal's document of 2026-07-16 has 340 bytes.
FETCH_DEADLINE = timedelta(seconds=5)
# A delivery may wait for one fetch, and fal waits 15 s for the answer to it.


@dataclass(frozen=True, slots=True)
class Fetched:
    """A document, and the other side's clock as it answered (aware UTC), if it told."""

    document: bytes = field(repr=False)
    server_time: datetime | None = None


Fetch = Callable[[str], Awaitable[Fetched]]
"""Fetches the document at a URL. Raises KeysUnavailable, and nothing else."""


async def fetch_document(url: str, *, deadline: timedelta = FETCH_DEADLINE) -> Fetched:
    """
    Return the document at `url`, asked for directly or through `HTTPS_PROXY`.

    A redirect is not followed: another host's keys are not fal's. Raises KeysUnavailable
    for anything but a 200 with at most 64 KiB within the deadline.
    """
    try:
        async with asyncio.timeout(deadline.total_seconds()):
            return await _get(url)
    except TimeoutError as exc:
        raise KeysUnavailable("no whole answer within the deadline") from exc
    except (aiohttp.ClientError, OSError, ValueError) as exc:
        # The class alone: the text may hold the address of a proxy with its password.
        raise KeysUnavailable(f"no answer ({type(exc).__name__})") from exc


async def _get(url: str) -> Fetched:
    headers = {"Accept": "application/json", "Accept-Encoding": "identity"}
    async with (
        aiohttp.ClientSession(trust_env=True, auto_decompress=False) as session,
        session.get(url, headers=headers, allow_redirects=False) as answer,
    ):
        if answer.status != 200:
            raise KeysUnavailable(f"answered {answer.status}")
        if answer.headers.get("Content-Encoding", "identity").lower() != "identity":
            raise KeysUnavailable("answered with an encoding that was not asked for")
        document = bytearray()
        async for chunk in answer.content.iter_chunked(16 * 1024):
            document += chunk
            if len(document) > MAX_DOCUMENT_BYTES:
                raise KeysUnavailable(f"answered more than {MAX_DOCUMENT_BYTES} bytes")
        return Fetched(bytes(document), _maybe_time(answer.headers))


def _maybe_time(headers: Mapping[str, str]) -> datetime | None:
    """Return the time of the answer: `Date`, which a cache leaves alone, and its `Age`."""
    date, age = headers.get("Date", ""), headers.get("Age", "")
    try:
        made_at = parsedate_to_datetime(date)
    except ValueError:
        return None
    if made_at.tzinfo is None:
        made_at = made_at.replace(tzinfo=UTC)
    waited_s = int(age) if age.isascii() and age.isdecimal() and len(age) <= 7 else 0
    return made_at.astimezone(UTC) + timedelta(seconds=waited_s)
