"""
What people and programs see: tables and words for people, JSON lines for programs.

Every foreign text passes `foreign` on its way to a terminal: no markup, no control
characters. JSON is ASCII, so it is safe as it is.
"""

import sys
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from types import TracebackType
from typing import Any, Self

import click
from rich.console import Console
from rich.status import Status
from rich.table import Table
from rich.text import Text

from consumer.cli import PROGRAM
from consumer.core.text import dump_json, printable

_PIPE_COLUMNS = 200
# Rich takes a pipe for 80 columns and would cut ids; whoever reads a pipe cuts for himself.

STYLES = {
    "succeeded": "green",
    "failed": "red",
    "cancelled": "yellow",
    "lost": "red",
    "ok": "green",
    "warning": "yellow",
    "IN_QUEUE": "yellow",
    "IN_PROGRESS": "cyan",
    "COMPLETED": "green",
    "NOT_FOUND": "red",
    "model_failed": "red",
    "infrastructure_failed": "red",
    "not_ready": "yellow",
    "expired": "red",
    "saved": "green",
    "refused": "red",
}
"""Colours of the words that mean something; a terminal without colours shows them plain."""


class Failed(click.ClickException):
    """What was asked for did not happen: exit code 1, with what to do next."""

    exit_code = 1

    def __init__(self, sentence: str, hint: str = "") -> None:
        super().__init__(sentence)
        self.hint = hint

    def show(self, file: Any = None) -> None:
        """Write the sentence and the hint to standard error."""
        out = file or sys.stderr
        click.echo(f"{PROGRAM}: {printable(self.message)}", file=out)
        if self.hint:
            click.echo(f"  {printable(self.hint)}", file=out)


class Narrator:
    """Tells on standard error where something stands: a spinner on a terminal, else lines."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False)
        self._status: Status | None = None
        self._said = ""

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._status = self._console.status("")
            self._status.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._status is not None:
            self._status.stop()

    def step(self, text: str) -> None:
        """Tell a person who looks on what happens now; a log file has no use for it."""
        if self._status is not None:
            self.say(text)

    def say(self, text: str) -> None:
        """Tell where it stands now; the same again says nothing."""
        if text == self._said:
            return
        self._said = text
        if self._status is not None:
            self._status.update(foreign(text))
        else:
            note(text)


def note(text: str) -> None:
    """Say something on standard error that is no answer."""
    click.echo(printable(text), err=True)


def foreign(text: Any) -> Text:
    """Return text that others wrote as it may stand on a terminal."""
    return Text(printable(str(text)))


def word(text: str) -> Text:
    """Return one of our own words, in its colour where it has one."""
    return Text(text, style=STYLES.get(text, ""))


def print_json(value: Mapping[str, Any]) -> None:
    """Write one JSON line to standard output, at once."""
    click.echo(dump_json(dict(value)).decode("ascii"))


def print_table(
    columns: Sequence[str], rows: Sequence[Sequence[Text | str]], *, whole: int = 1
) -> None:
    """Write a table to standard output. Its first `whole` columns are never wrapped."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for number, name in enumerate(columns):
        table.add_column(name, overflow="fold", no_wrap=number < whole)
    for row in rows:
        table.add_row(*(cell if isinstance(cell, Text) else foreign(cell) for cell in row))
    console().print(table)


def console() -> Console:
    """Return the console of standard output: no highlighting, no markup of foreign text."""
    width = None if sys.stdout.isatty() else _PIPE_COLUMNS
    return Console(width=width, highlight=False, markup=False)


def ago(instant: datetime, now: datetime) -> str:
    """Return how long ago something was, in the largest unit that tells it: `3m`, `2d`."""
    return short_span(now - instant)


def short_span(span: timedelta) -> str:
    """Return a span in the largest unit that tells it; below a minute with a tenth of a second."""
    seconds = span.total_seconds()
    if abs(seconds) < 60:
        return f"{seconds:.1f}s"
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if abs(seconds) >= size * 2 or unit == "m":
            return f"{seconds / size:.0f}{unit}"
    return ""
