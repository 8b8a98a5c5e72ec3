"""`result`: what became of a request at fal, and its files."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.text import Text

from consumer.cli.direct import Located, Named, locate, open_fal, request_argument
from consumer.cli.downloads import print_downloads, row_of, save_files
from consumer.cli.setup import Explained, run_loop, with_settings
from consumer.cli.terminal import Failed, console, foreign, note, print_json, print_table, word

if TYPE_CHECKING:
    from consumer.fal import RequestResult
    from consumer.media.download import Download
    from consumer.settings import Settings

_MAX_SHOWN_LINES = 40
_MAX_LINE_CHARS = 2000
_SUCCEEDED, _NOT_READY = "succeeded", "not_ready"
_NEXT = {
    _NOT_READY: "follow it with: fal-consumer stream {place}",
    "expired": "fal keeps a result for an hour at least, files longer; the ledger of a service"
    " that followed it has the output: fal-consumer timeline {request_id} --json",
    "infrastructure_failed": "nothing is wrong with the input: it may be submitted again",
}


@dataclass(frozen=True, slots=True)
class Answer:
    """What fal answered, which files it names, and what became of those."""

    located: Located
    result: "RequestResult"
    urls: "Sequence[str]"
    downloads: "Sequence[Download] | None" = None

    @property
    def exit_code(self) -> int:
        """0 for success with every file here that was asked for, 3 for not yet, else 1."""
        if self.result.outcome == _NOT_READY:
            return 3
        is_whole = all(one.is_here for one in self.downloads or ())
        return 0 if self.result.outcome == _SUCCEEDED and is_whole else 1


@click.command(
    cls=Explained,
    example="""\
fal-consumer result 019f6af7-3088-7f03-b97d-84fec4a3ce12 --download pictures
fal-consumer result fal-ai/flux/dev 019f6af7-3088-7f03-b97d-84fec4a3ce12 --json | jq .output""",
)
@request_argument
@click.option(
    "--download",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Save its files there, under names made of the request id. A run that was cut goes on.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the whole result as a JSON line.")
@with_settings
def result(settings: "Settings", *, named: Named, folder: Path | None, as_json: bool) -> None:
    """
    Read the result of a request from fal: succeeded, model_failed, infrastructure_failed,
    not_ready or expired.

    ID alone will do where the ledger here knows the request. Asks fal itself, with the
    configured key; reading is free and repeatable, and nothing is recorded. Files are fetched
    without the key, from fal's hosts and those of FAL_CONSUMER_MEDIA_HOSTS alone.

    Exit code 0: succeeded, and every file saved that was asked for; 1: failed, expired,
    unknown, or a file that was not saved; 3: not ready yet; 2: wrong usage or settings.
    """
    answer = run_loop(_asked(settings, named, folder))
    print_answer(answer, as_json=as_json)
    click.get_current_context().exit(answer.exit_code)


async def _asked(settings: "Settings", named: Named, folder: Path | None) -> Answer:
    from consumer.media.places import urls_of  # noqa: PLC0415

    located = await locate(settings, named, "result")
    async with open_fal(settings) as fal:
        found = await fal.result(*located)
    is_ok = found.outcome == _SUCCEEDED  # an error's detail holds links too: no files
    urls = urls_of(found.output) if is_ok else []
    if folder is None or not is_ok:
        return Answer(located, found, urls)
    downloads = await save_files(settings, folder, located.request_id, urls)
    return Answer(located, found, urls, downloads)


def print_answer(answer: Answer, *, as_json: bool) -> None:
    """Write a result: a JSON line for programs, a page for people."""
    if as_json:
        _print_line(answer)
    else:
        _print(answer)


# ---------------------------------------------------------------- for programs


def _print_line(answer: Answer) -> None:
    found = answer.result
    # The output as it was parsed: pydantic would not write a deep one.
    told = found.model_dump(mode="json", exclude={"output", "detail"})
    told |= {"endpoint": answer.located.endpoint, "media": list(answer.urls)}
    told |= {"output": found.output, "detail": found.detail}
    if answer.downloads is not None:
        told["files"] = [row_of(one) for one in answer.downloads]
    try:
        print_json(told)
    except ValueError as exc:
        raise Failed(f"the output cannot be written as JSON ({exc})") from exc


# ---------------------------------------------------------------- for people


def _print(answer: Answer) -> None:
    found, out = answer.result, console()
    head = foreign(f"  {answer.located.request_id}  {answer.located.endpoint}")
    out.print(Text.assemble(word(found.outcome.value), head))
    for line in _facts(found):
        out.print(line, soft_wrap=True)
    _print_detail(found)
    if answer.downloads is not None:
        print_downloads(answer.downloads)
    elif found.outcome == _SUCCEEDED:
        _print_output(found, answer.urls)
    if (hint := _NEXT.get(found.outcome.value)) is not None:
        place = f"{answer.located.endpoint} {answer.located.request_id}"
        note(hint.format(place=place, request_id=answer.located.request_id))


def _facts(found: "RequestResult") -> list[Text]:
    told = {
        "HTTP status": found.http_status if found.outcome != _SUCCEEDED else None,
        "error type": found.error_type,
        "billable units": found.billable_units,
    }
    lines = [foreign(f"  {name}: {value}") for name, value in told.items() if value is not None]
    if found.is_own_deadline:
        lines.append(Text("  it did not start within the time that its submitter gave it"))
    return lines


def _print_detail(found: "RequestResult") -> None:
    """Write why it failed: a table of fields where the model said so by field."""
    detail = found.detail
    if detail is None:
        return
    problems = [one for one in detail if isinstance(one, dict)] if isinstance(detail, list) else []
    if not problems:
        text = detail if isinstance(detail, str) else json.dumps(detail)
        console().print(foreign(f"  {text[:_MAX_LINE_CHARS]}"), soft_wrap=True)
        return
    print_table(
        ("FIELD", "PROBLEM", "TYPE"),
        [(_where(one), str(one.get("msg", "")), str(one.get("type", ""))) for one in problems],
        whole=0,
    )


def _where(problem: dict[str, Any]) -> str:
    path = problem.get("loc")
    return ".".join(str(part) for part in path) if isinstance(path, list) else ""


def _print_output(found: "RequestResult", urls: "Sequence[str]") -> None:
    out = console()
    for url in urls:
        out.print(foreign(f"  {url}"), soft_wrap=True)
    if found.output_base64 is not None:
        out.print(foreign(f"  output: {found.content_type or 'bytes'}, no JSON (--json has it)"))
        return
    try:
        lines = json.dumps(found.output, indent=2, ensure_ascii=True).splitlines()
    except RecursionError:
        lines = []
    for line in lines[:_MAX_SHOWN_LINES]:
        out.print(foreign(line[:_MAX_LINE_CHARS]), soft_wrap=True)
    if len(lines) > _MAX_SHOWN_LINES or any(len(line) > _MAX_LINE_CHARS for line in lines):
        note("the output is longer (--json has it whole)")
