"""Saving the files of a result, with a bar for each, and telling what became of them."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from consumer.cli.terminal import Failed, note, print_table, word

if TYPE_CHECKING:
    from consumer.media.download import Download
    from consumer.settings import Settings

_REASONS = {
    "foreign_host": "its host is none that files may come from (FAL_CONSUMER_MEDIA_HOSTS adds one)",
    "bad_url": "its address could be read in two ways",
    "private_address": "its name leads to a private address",
    "redirect": "the host sends elsewhere, which is not followed",
    "gone": "it is no longer there",
    "forbidden": "the host does not give it",
    "too_large": "it is larger than FAL_CONSUMER_MEDIA_MAX_FILE_BYTES",
    "total_too_large": "all together are larger than FAL_CONSUMER_MEDIA_MAX_TOTAL_BYTES",
    "encoded": "the host answered in an encoding that was not asked for",
    "no_length": "the host tells no length, so nobody knows whether it is whole",
    "wrong_length": "the host told two lengths",
    "empty": "it is empty",
    "restart": "the host does not give it from its beginning",
    "busy": "another process is saving it",
    "bad_certificate": "the host's certificate is not valid",
    "proxy_refused": "the proxy refused",
    "unreadable_answer": "the host's answer is no HTTP",
    "no_connection": "no connection was made; the same again goes on",
    "cut": "the connection was cut again and again; the same again goes on",
    "too_slow": "it took too long; the same again goes on",
}


async def save_files(
    settings: "Settings", folder: Path, request_id: str, urls: Sequence[str]
) -> "list[Download]":
    """
    Save files into a folder, telling a terminal how far each is.

    Raises Failed where the folder cannot be written.
    """
    from consumer.app import open_downloads  # noqa: PLC0415

    if not urls:
        note("it names no files")
        return []
    with Bars(len(urls)) as bars:
        try:
            async with open_downloads(settings) as downloader:
                return await downloader.save(folder, request_id, urls, bars.move)
        except OSError as exc:
            raise Failed(
                f"{folder} cannot be written ({exc.strerror or exc})",
                "what was saved so far stays; the same again goes on",
            ) from exc


class Bars:
    """A bar for each file on standard error, where that is a terminal."""

    def __init__(self, count: int, out: Console | None = None) -> None:
        self._count = count
        self._console = out or Console(stderr=True, highlight=False)
        self._progress = Progress(
            TextColumn("file {task.fields[number]}"),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._tasks: dict[int, Any] = {}

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def move(self, number: int, size: int, total: int | None) -> None:
        """Show how far a file is."""
        if number not in self._tasks:
            name = f"{number}/{self._count}"
            self._tasks[number] = self._progress.add_task("", number=name, total=total)
        self._progress.update(self._tasks[number], completed=size, total=total)


def row_of(one: "Download") -> dict[str, Any]:
    """Return what became of a file as programs read it."""
    return {
        "url": one.url,
        "outcome": one.outcome,
        "reason": one.reason or None,
        "path": str(one.path) if one.path else None,
        "bytes": one.size if one.path else None,
        "content_type": one.content_type or None,
    }


def print_downloads(downloads: "Sequence[Download]") -> None:
    """Write what became of files as a table, and why some are not here."""
    here = [one for one in downloads if one.is_here]
    if here:
        print_table(
            ("FILE", "BYTES", ""),
            [(str(one.path), str(one.size), word(one.outcome.replace("_", " "))) for one in here],
            whole=3,
        )
    for one in downloads:
        if not one.is_here:
            why = _REASONS.get(one.reason, f"the host answered {one.reason.removeprefix('http_')}")
            note(f"not saved: {one.url}: {why}")
