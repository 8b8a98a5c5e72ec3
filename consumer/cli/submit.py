"""`submit`: put a job on the log, see it sent, and, if wanted, wait for its result."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import click

from consumer.cli.following import command_of, open_desk, refuse_dead_letters, remedy
from consumer.cli.setup import (
    Explained,
    content,
    log_to_stderr,
    run_loop,
    tags_of,
    with_keys,
    with_settings,
)
from consumer.cli.submit_direct import Wish, order_of, submit_directly
from consumer.cli.submit_options import options_of, queue_options, span_of
from consumer.cli.terminal import (
    Failed,
    Narrator,
    console,
    foreign,
    note,
    print_json,
    short_span,
    word,
)
from consumer.commanding.desk import Desk
from consumer.commanding.submitting import Progress, progress_of
from consumer.core.command import Submit, parse_command, submission_id_of
from consumer.core.event import Event, format_time, parse_time
from consumer.core.result import Result
from consumer.core.standing import Request, Submission
from consumer.core.text import parse_json
from consumer.errors import CommandRefused

if TYPE_CHECKING:
    from consumer.settings import Settings


@dataclass
class Errand:
    """One submit on its way: the command, how to show it, and what is known of it by now."""

    command: Event
    waits: bool
    as_json: bool
    request_id: str = ""

    @property
    def submission_id(self) -> str:
        """Our id of the submission."""
        return submission_id_of(self.command.id)

    @property
    def input_sha256(self) -> str:
        """What makes two submits with one id the same."""
        command = parse_command(self.command.data)
        return command.input_sha256 if isinstance(command, Submit) else ""


@click.command(
    cls=Explained,
    example="""\
echo '{"prompt": "a cat"}' | fal-consumer submit fal-ai/flux/dev --input - --wait""",
)
@click.argument("endpoint")
@click.option(
    "--input",
    "source",
    callback=content,
    required=True,
    metavar="FILE",
    help="The model's input, a JSON object; - is standard input.",
)
@click.option("--wait", "waits", is_flag=True, help="Wait for the result and print it.")
@click.option(
    "--tag",
    "tags",
    multiple=True,
    metavar="NAME=VALUE",
    callback=tags_of,
    help="Comes back with the result. Repeat it, up to ten times.",
)
@click.option(
    "--start-within",
    metavar="SPAN",
    callback=span_of,
    help="Cancel it if it has not started after this: 10m, 2h.",
)
@click.option(
    "--finish-within",
    metavar="SPAN",
    callback=span_of,
    help="Cancel it if it has not finished after this.",
)
@with_keys
@click.option(
    "--id",
    "command_id",
    metavar="ID",
    help="Your own id of this job: the same id again never sends a second one.",
)
@queue_options
@click.option(
    "--direct",
    is_flag=True,
    help="Ask fal at once, without a service; nothing is recorded, nobody follows it.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON: the ids, or the whole result.")
@with_settings
def submit(  # noqa: PLR0913  click hands over one argument an option
    settings: "Settings",
    *,
    endpoint: str,
    source: bytes,
    waits: bool,
    direct: bool,
    as_json: bool,
    **more: Any,
) -> None:
    """
    Submit a job to fal through the running `serve`, on Kafka `work`; never twice.

    Runs in the data folder of that process. With --direct it asks fal at once instead, once;
    then no --id can tell a repeat.

    Prints the request id as soon as fal has given one; with --wait the result when it is
    there. Exit code 1: refused, not known to be sent, or (with --wait) any end but success.
    """
    if direct:
        _require_fit_for_direct(more)
    command = command_of(_fields(endpoint, source, more))
    if direct:
        order = order_of(command, more["start_within"])
        code = submit_directly(settings, order, Wish(waits, as_json))
        click.get_current_context().exit(code)
    log_to_stderr()
    errand = Errand(command, waits, as_json)
    try:
        code = run_loop(_submit(settings, errand))
    except KeyboardInterrupt:
        note(
            "the job goes on without you; look at it with: "
            f"fal-consumer timeline {errand.request_id or errand.submission_id}"
        )
        raise
    click.get_current_context().exit(code)


def _require_fit_for_direct(more: Mapping[str, Any]) -> None:
    """Raise UsageError for what only a service can hold to."""
    if more["command_id"] is not None:
        raise click.UsageError(
            "--id: with --direct nothing remembers it, so it cannot tell a repeat"
        )
    if more["finish_within"] is not None:
        raise click.UsageError("--finish-within: with --direct nobody cancels it in time")


def _fields(endpoint: str, source: bytes, more: Mapping[str, Any]) -> dict[str, Any]:
    try:
        value = parse_json(source)
    except ValueError as exc:
        raise click.UsageError("--input: not JSON") from exc
    if not isinstance(value, dict):
        raise click.UsageError(f"--input: expected a JSON object, got {type(value).__name__}")
    now = datetime.now(UTC)
    return {
        "command": "submit",
        "command_id": uuid4().hex if more["command_id"] is None else more["command_id"],
        "endpoint": endpoint,
        "input": value,
        "tags": more["tags"],
        "options": options_of(more),
        "group": more["group"],
        "supersedes": more["supersedes"],
        "start_by": _deadline(now, more["start_within"]),
        "finish_by": _deadline(now, more["finish_within"]),
    }


def _deadline(now: datetime, span: timedelta | None) -> str | None:
    return None if span is None else format_time(now + span)


async def _submit(settings: "Settings", errand: Errand) -> int:
    async with open_desk(settings) as desk:
        with Narrator() as narrator:
            narrator.step("handing it over")
            await desk.ask(errand.command)
            submission = await _sent(desk, errand, narrator)
            errand.request_id = submission.request.value if submission.request else ""
            if errand.waits:
                request = await _ended(desk, errand.request_id, narrator)
        if not errand.waits:
            _print_sent(submission, errand)
            return 0
        document = await desk.ledger.result(errand.request_id)
        result = Result.model_validate(parse_json(document or b"{}"))
        _print_result(result, request, errand)
        return 0 if result.outcome == "succeeded" else 1


async def _sent(desk: Desk, errand: Errand, narrator: Narrator) -> Submission:
    """Return the submission once fal gave it a request id. Raises Failed where it never will."""
    while True:
        refuse_dead_letters(await desk.look(), errand.command)
        submission = await desk.ledger.submission(errand.submission_id)
        try:
            progress = progress_of(submission, errand.input_sha256)
        except CommandRefused as exc:
            raise _failed(exc, errand) from exc
        if submission is not None and progress is Progress.SENT:
            return submission
        if progress is Progress.UNKNOWN and not errand.waits:
            raise Failed(
                "fal did not answer clearly: the job may exist, and is not sent again",
                f"`serve` goes on looking for it; {_look_hint(errand)}",
            )
        if progress is Progress.UNKNOWN:
            narrator.say("fal did not answer clearly; looking for the job")
        elif progress is Progress.SENDING:
            narrator.step("sending it to fal")


def _failed(refusal: CommandRefused, errand: Errand) -> Failed:
    if refusal.reason == "command_conflict":
        return Failed("refused: this --id was used with another input", remedy(refusal.reason))
    return Failed(str(refusal), remedy(refusal.reason) or _look_hint(errand))


async def _ended(desk: Desk, request_id: str, narrator: Narrator) -> Request:
    """Return the request once it has an end and its result is published."""
    while True:
        request = await desk.ledger.request(request_id)
        if request is not None:
            if request.result is not None and not request.is_open:
                return request
            narrator.say(f"{request_id}: {_standing(request)}")
        await desk.look()


def _standing(request: Request) -> str:
    if request.state.value == "queued" and request.queue_position is not None:
        return f"queued, {request.queue_position} ahead of it"
    return f"{request.state.value}, fetching its result" if request.end else request.state.value


def _look_hint(errand: Errand) -> str:
    return f"look at it with: fal-consumer timeline {errand.request_id or errand.submission_id}"


def _print_sent(submission: Submission, errand: Errand) -> None:
    if errand.as_json:
        print_json(
            {
                "request_id": errand.request_id,
                "submission_id": submission.submission_id,
                "command_id": errand.command.id,
                "state": submission.state.value,
            }
        )
    else:
        click.echo(errand.request_id)


def _print_result(result: Result, request: Request, errand: Errand) -> None:
    if errand.as_json:
        print_json(result.model_dump(mode="json"))
        return
    out = console()
    took = short_span(parse_time(result.ended_at) - request.first_at)
    out.print(word(result.outcome), foreign(f"{errand.request_id} after {took}"))
    problem = result.error_type or result.error or result.reason
    if result.outcome != "succeeded" and problem:
        out.print(foreign(f"  {problem}"))
    for media in result.media if result.outcome == "succeeded" else ():
        out.print(foreign(f"  {media.url}"), soft_wrap=True)
    if result.billable_units is not None:
        out.print(foreign(f"  billable units: {result.billable_units}"))
    if result.output_missing is not None:
        out.print(foreign(f"  no output: {result.output_missing}"))
    elif result.outcome == "succeeded" and not result.media:
        out.print(foreign(f"  the output: fal-consumer timeline {errand.request_id} --json"))
