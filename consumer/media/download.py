"""
Fetching the files of a result: without the key, from known places, to names of ours.

No redirect is followed, no cookie kept, no encoding taken. What is cut goes on where it
was cut; what is too large, or comes from elsewhere, is not kept.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from consumer.core.endpoint import is_request_id
from consumer.errors import InvariantBroken
from consumer.media.answers import Again, Coming, coming
from consumer.media.line import Line, open_line
from consumer.media.naming import extension_of, stem_of
from consumer.media.part import PartFile, kept
from consumer.media.places import MediaRefused, Place, Source, source_of

_CHUNK_BYTES = 256 * 1024
_MAX_RETRY_WAIT_S = 5.0


@dataclass(frozen=True, slots=True)
class DownloadLimits:
    """
    How large, how many, how long. Bytes and seconds.

    `tries` counts connections in a row that brought nothing new; `quiet_s` is how long one
    may bring nothing, `file_s` bounds one file in all.
    """

    max_file_bytes: int = 2 * 1024**3
    max_total_bytes: int = 10 * 1024**3
    at_once: int = 4
    connect_s: float = 10.0
    quiet_s: float = 30.0
    file_s: float = 3600.0
    tries: int = 5
    retry_wait_s: float = 0.5


@dataclass(frozen=True, slots=True)
class Download:
    """
    What became of one URL: `saved`, `already_there`, or `refused` and `failed` with a reason.

    A failed one is worth another run, which goes on where this one stopped.
    """

    url: str
    outcome: str
    reason: str = ""
    path: Path | None = None
    size: int = 0
    content_type: str = ""

    @property
    def is_here(self) -> bool:
        """Tell whether the file lies in the folder, whole."""
        return self.path is not None


Moved = Callable[[int, int, int | None], None]
"""Told as files grow: the number of the file from 1, its bytes here, and its size if known."""


def _untold(_number: int, _size: int, _total: int | None) -> None:
    """Tell nobody."""


class Downloader:
    """Saves files. Made by `open_downloader`."""

    def __init__(self, line: Line, places: Sequence[Place], limits: DownloadLimits) -> None:
        self._line = line
        self._places = places
        self._limits = limits

    async def save(
        self, folder: Path, request_id: str, urls: Sequence[str], moved: Moved = _untold
    ) -> list[Download]:
        """
        Save the files at these URLs in a folder, which is made, and tell what became of each.

        Names are the request's id and the file's number. Raises OSError where the folder
        cannot be written.
        """
        if not is_request_id(request_id):
            raise InvariantBroken("files are named by a request id, which is a UUID")
        await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True)
        errand = _Errand(folder, request_id, moved, {}, asyncio.Semaphore(self._limits.at_once))
        try:
            async with asyncio.TaskGroup() as tasks:
                started = [
                    tasks.create_task(self._save(errand, number, url))
                    for number, url in enumerate(urls, start=1)
                ]
        except* OSError as group:
            raise group.exceptions[0] from group
        return [task.result() for task in started]

    async def _save(self, errand: "_Errand", number: int, url: str) -> Download:
        stem = stem_of(errand.request_id, number)
        try:
            source = source_of(url, self._places)
            async with errand.slots:
                if (path := kept(errand.folder, stem)) is not None:
                    size = path.stat().st_size
                    return Download(url, "already_there", path=path, size=size)
                part = PartFile.open(errand.folder, stem, sha256(url.encode()).hexdigest())
                try:
                    await self._fill(errand, number, source, part)
                    path = await asyncio.to_thread(part.finish, extension_of(part.content_type))
                finally:
                    part.close()
        except MediaRefused as exc:
            return Download(url, "refused", exc.reason)
        except Again as exc:
            return Download(url, "failed", exc.reason)
        return Download(url, "saved", path=path, size=part.size, content_type=part.content_type)

    async def _fill(self, errand: "_Errand", number: int, source: Source, part: PartFile) -> None:
        """Bring a file to its whole length. Raises MediaRefused and Again; keeps what is usable."""
        try:
            async with asyncio.timeout(self._limits.file_s):
                await self._patiently(errand, number, source, part)
        except MediaRefused:
            part.drop()
            errand.sizes.pop(number, None)
            raise
        except BaseException as exc:  # cut, cancelled, or a disk that is full
            with suppress(OSError):
                part.checkpoint()
            if isinstance(exc, TimeoutError):
                raise Again("too_slow") from exc
            raise

    async def _patiently(
        self, errand: "_Errand", number: int, source: Source, part: PartFile
    ) -> None:
        failures = 0
        while True:
            before = part.size
            try:
                await self._try(errand, number, source, part)
            except Again as exc:
                failures = 1 if part.size > before else failures + 1
                if failures >= self._limits.tries:
                    raise
                wait_s = min(self._limits.retry_wait_s * 2 ** (failures - 1), _MAX_RETRY_WAIT_S)
                await asyncio.sleep(max(wait_s, exc.wait_s))
            else:
                return

    async def _try(self, errand: "_Errand", number: int, source: Source, part: PartFile) -> None:
        headers = _range(part)
        held = part.size if headers else 0
        try:
            async with self._line.get(source, headers) as response:
                found = coming(response.status, response.headers, held, part.total)
                if found is None:
                    return
                self._judge(errand, number, found.total or 0)
                if found.start == 0:
                    part.restart(found.validator, found.total, found.content_type)
                async for chunk in response.content.iter_chunked(_CHUNK_BYTES):
                    self._judge(errand, number, part.size + len(chunk))
                    part.write(chunk)
                    errand.moved(number, part.size, found.total)
            _require_whole(part, found)
        except Again as exc:
            if exc.reason == "restart":
                part.restart("", None, "")
            raise

    def _judge(self, errand: "_Errand", number: int, size: int) -> None:
        """Raise MediaRefused where a file of this size is too large, by itself or with the rest."""
        if size > self._limits.max_file_bytes:
            raise MediaRefused("too_large")
        errand.sizes[number] = max(size, errand.sizes.get(number, 0))
        if sum(errand.sizes.values()) > self._limits.max_total_bytes:
            raise MediaRefused("total_too_large")


@dataclass(frozen=True, slots=True)
class _Errand:
    """One call of `save`: where to, who is told, and the bytes that each file has or will have."""

    folder: Path
    request_id: str
    moved: Moved
    sizes: dict[int, int]
    slots: asyncio.Semaphore


@asynccontextmanager
async def open_downloader(
    places: Sequence[Place], limits: DownloadLimits | None = None
) -> AsyncIterator[Downloader]:
    """Open what saves files from these places. Closes its connections on leaving."""
    limits = limits or DownloadLimits()
    named = [place.host for place in places if place.is_loopback]
    async with open_line(named, connect_s=limits.connect_s, quiet_s=limits.quiet_s) as line:
        yield Downloader(line, places, limits)


def _range(part: PartFile) -> dict[str, str]:
    """Return the headers that ask for what is missing of the version at hand."""
    if not (part.size and part.validator):
        return {}
    return {"Range": f"bytes={part.size}-", "If-Range": part.validator}


def _require_whole(part: PartFile, found: Coming) -> None:
    if part.size == 0:
        raise MediaRefused("empty")
    if found.total is not None and part.size != found.total:
        raise Again("cut")
