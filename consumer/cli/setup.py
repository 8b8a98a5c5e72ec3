"""
What verbs begin with: an example in the help, settings, logs, an event loop, signals.

Imports nothing heavy at the top: every verb's `--help` passes through here.
"""

import asyncio
import functools
import os
import signal
import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from consumer.settings import Settings

Answer = TypeVar("Answer")
_Verb = Callable[..., Any]


class Explained(click.Command):
    """A command whose help ends with an example, its lines as they are."""

    def __init__(self, *args: Any, example: str, **options: Any) -> None:
        super().__init__(*args, **options)
        self.example = example

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Write the example."""
        with formatter.section("Example"):
            for line in self.example.splitlines():
                formatter.write(f"  {line}\n")


class ExplainedGroup(Explained, click.Group):
    """A verb of several commands whose help ends with an example."""


def content(_ctx: click.Context, _parameter: click.Parameter, given: str | None) -> bytes | None:
    """Return the bytes of the file that an option names; `-` is standard input."""
    if given is None:
        return None
    try:
        return sys.stdin.buffer.read() if given == "-" else Path(given).read_bytes()
    except (OSError, ValueError) as exc:
        problem = getattr(exc, "strerror", None) or str(exc)
        raise click.BadParameter(f"{given!r} cannot be read ({problem})") from exc


def tags_of(
    _ctx: click.Context, _parameter: click.Parameter, given: tuple[str, ...]
) -> dict[str, str]:
    """Return the tags that an option gives as NAME=VALUE, repeated."""
    tags = dict(text.partition("=")[::2] for text in given)
    if not all(tags) or not all("=" in text for text in given):
        raise click.BadParameter("expected NAME=VALUE, like customer=17")
    return tags


def with_keys(verb: _Verb) -> _Verb:
    """Give a verb `--group` and `--supersedes`."""
    group = click.option(
        "--group", metavar="NAME", help="Cancelled together: `cancel --group NAME`."
    )
    supersedes = click.option(
        "--supersedes",
        metavar="KEY",
        help="Of each KEY only the newest is wanted: older ones that still wait are cancelled.",
    )
    return group(supersedes(verb))


def with_settings(verb: _Verb) -> _Verb:
    """Give a verb `--config` and, as its first argument, the settings. Raises ConfigError."""

    @click.option(
        "--config",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="TOML file with settings; the environment wins over it.",
    )
    @functools.wraps(verb)
    def run(*args: Any, config: Path | None, **options: Any) -> Any:
        from consumer.settings import load_settings  # noqa: PLC0415

        return verb(load_settings(os.environ, config), *args, **options)

    return run


def log_to_stderr(settings: "Settings | None" = None) -> None:
    """
    Send log lines to standard error: as configured for a service, only trouble for a question.
    """
    from consumer.telemetry import configure_logs  # noqa: PLC0415

    chosen = settings.log_format if settings else None
    by_terminal = "console" if sys.stderr.isatty() else "json"
    level = settings.log_level if settings else "warning"
    configure_logs(level=level, format=chosen or by_terminal)


def run_loop(work: Coroutine[Any, Any, Answer], *, fast: bool = False) -> Answer:
    """Run `work` to its end; `fast` uses uvloop where it is installed."""
    factory: Callable[[], asyncio.AbstractEventLoop] | None = None
    if fast:
        try:
            from uvloop import new_event_loop as factory  # noqa: PLC0415
        except ImportError:  # a platform without it
            factory = None
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(work)


@contextmanager
def stop_on_signals(stop: asyncio.Event) -> Iterator[None]:
    """
    Set `stop` at the first SIGTERM or SIGINT; a second one ends the process at once.

    The exit code is then 128 and the signal's number, as a shell would say.
    """
    loop = asyncio.get_running_loop()

    def ask(number: int) -> None:
        if stop.is_set():
            os._exit(128 + number)
        stop.set()

    numbers = (signal.SIGTERM, signal.SIGINT)
    for number in numbers:
        loop.add_signal_handler(number, ask, number)
    try:
        yield
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)
