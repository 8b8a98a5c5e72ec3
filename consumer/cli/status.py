"""`status` and `stream`: where a request stands at fal, now and as it changes."""

from contextlib import aclosing
from datetime import datetime
from typing import TYPE_CHECKING, Any, Self

import click
from rich.console import Console
from rich.text import Text

from consumer.cli.direct import Located, Named, locate, open_fal, request_argument
from consumer.cli.setup import Explained, run_loop, with_settings
from consumer.cli.terminal import console, foreign, note, print_json, print_table, word

if TYPE_CHECKING:
    from consumer.fal import LogLine, Status
    from consumer.settings import Settings

_UNKNOWN = "NOT_FOUND"


@click.command(
    cls=Explained,
    example="""\
fal-consumer status 019f6af7-3088-7f03-b97d-84fec4a3ce12
fal-consumer status fal-ai/flux/dev 019f6af7-3088-7f03-b97d-84fec4a3ce12 --logs""",
)
@request_argument
@click.option("--logs", "has_logs", is_flag=True, help="Also the lines that its run has written.")
@click.option("--json", "as_json", is_flag=True, help="Print fal's whole answer as a JSON line.")
@with_settings
def status(settings: "Settings", *, named: Named, has_logs: bool, as_json: bool) -> None:
    """
    Ask fal where a request stands: its place in the queue, its logs, how it ended.

    ID alone will do where the ledger here knows the request: a request id, a submission id
    (sub_…) or the --id of a submit. Asks fal itself, with the configured key; no service is
    needed and nothing is recorded.

    COMPLETED covers success, failure and cancellation: `result` tells which. Exit code 1: fal
    knows no such request, or did not answer; 2: wrong usage or settings.
    """
    located, found = run_loop(_asked(settings, named, has_logs=has_logs))
    if as_json:
        print_json(_row(located, found))
    else:
        _print(located, found)
        _hint(located, found.status.value)
    click.get_current_context().exit(1 if found.status == _UNKNOWN else 0)


async def _asked(settings: "Settings", named: Named, *, has_logs: bool) -> "tuple[Located, Status]":
    located = await locate(settings, named, "status")
    async with open_fal(settings) as fal:
        return located, await fal.status(*located, has_logs=has_logs)


def _row(located: Located, found: "Status") -> dict[str, Any]:
    told = found.model_dump(mode="json")
    return {**told, "request_id": located.request_id, "endpoint": located.endpoint}


def _print(located: Located, found: "Status") -> None:
    ran = found.metrics.inference_time if found.metrics else None
    print_table(
        ("REQUEST", "STATUS", "ENDPOINT", "AHEAD", "RAN", "ERROR"),
        [
            (
                located.request_id,
                word(found.status.value),
                located.endpoint,
                "" if found.queue_position is None else str(found.queue_position),
                "" if ran is None else f"{ran:.1f}s",
                found.error_type or found.error or "",
            )
        ],
        whole=2,
    )
    for line in found.logs or ():
        console().print(_log_line(line), soft_wrap=True)


def _hint(located: Located, status_word: str) -> None:
    """Say what to ask next, where there is something."""
    if status_word == "COMPLETED":
        note(f"its result: fal-consumer result {located.endpoint} {located.request_id}")
    elif status_word == _UNKNOWN:
        note(f"what is recorded here: fal-consumer timeline {located.request_id}")


# ---------------------------------------------------------------- as it changes


@click.command(
    cls=Explained,
    example="""\
fal-consumer stream 019f6af7-3088-7f03-b97d-84fec4a3ce12
fal-consumer stream fal-ai/flux/dev 019f6af7-3088-7f03-b97d-84fec4a3ce12 --json | your-program""",
)
@request_argument
@click.option("--no-logs", is_flag=True, help="States only, without the lines of its run.")
@click.option("--json", "as_json", is_flag=True, help="Print each state as a JSON line.")
@with_settings
def stream(settings: "Settings", *, named: Named, no_logs: bool, as_json: bool) -> None:
    """
    Follow a request at fal until it is completed: its place in the queue, its state, its logs.

    Each state is told once, also when the connection is cut and opened again. ID alone will
    do where the ledger here knows the request. Ctrl-C leaves the job alone. Asks fal itself;
    no service is needed and nothing is recorded.

    Exit code 0: completed, which covers success and failure; `result` tells which. 1: fal
    knows no such request, or stopped answering; 2: wrong usage or settings.
    """
    try:
        is_known = run_loop(_followed(settings, named, has_logs=not no_logs, as_json=as_json))
    except KeyboardInterrupt:
        note("the job goes on without you")
        raise
    click.get_current_context().exit(0 if is_known else 1)


async def _followed(settings: "Settings", named: Named, *, has_logs: bool, as_json: bool) -> bool:
    located = await locate(settings, named, "stream")
    async with open_fal(settings) as fal:
        states = fal.stream_status(*located, has_logs=has_logs)
        async with aclosing(states):
            last = None
            with Ticker(located, is_silent=as_json) as ticker:
                async for last in states:
                    if as_json:
                        print_json(_row(located, last))
                    else:
                        ticker.tell(last)
    word_of_it = last.status.value if last is not None else _UNKNOWN
    if not as_json:
        _hint(located, word_of_it)
    return word_of_it != _UNKNOWN


class Ticker:
    """
    Writes what is new in a request, a line each; on a terminal with a spinner that shows where it
    stands below them.
    """

    def __init__(self, located: Located, *, is_silent: bool, out: Console | None = None) -> None:
        self._console = out or console()
        self._status = None
        self._told = ""
        if self._console.is_terminal and not is_silent:
            self._status = self._console.status(foreign(f"asking for {located.request_id}"))

    def __enter__(self) -> Self:
        if self._status is not None:
            self._status.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._status is not None:
            self._status.stop()

    def tell(self, found: "Status") -> None:
        """Write the log lines that are new, then the state where it is new."""
        for line in found.logs or ():
            self._console.print(_log_line(line), soft_wrap=True)
        standing = standing_of(found)
        if standing.plain != self._told:
            self._told = standing.plain
            now = datetime.now().astimezone()
            self._console.print(Text.assemble(f"{now:%H:%M:%S}  ", standing), soft_wrap=True)
        if self._status is not None:
            self._status.update(standing)


def standing_of(found: "Status") -> Text:
    """Return where a request stands, as one line."""
    line = Text().append_text(word(found.status.value))
    if found.queue_position is not None:
        line.append(f"  {found.queue_position} ahead of it")
    ran = found.metrics.inference_time if found.metrics else None
    if ran is not None:
        line.append(f"  ran {ran:.1f}s")
    problem = ": ".join(part for part in (found.error_type, found.error) if part)
    return line.append_text(foreign(f"  {problem}")) if problem else line


def _log_line(line: "LogLine") -> Text:
    level = f"{line.level}: " if line.level and line.level not in ("INFO", "STDOUT") else ""
    return Text.assemble(("  | ", "dim"), foreign(f"{level}{line.message}"))
