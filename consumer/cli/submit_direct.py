"""`submit --direct`: to fal at once, without a service. Nothing is recorded, nobody follows."""

from contextlib import aclosing
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

import click

from consumer.cli.direct import Located, open_fal, refusal
from consumer.cli.result import Answer, print_answer
from consumer.cli.setup import run_loop
from consumer.cli.status import standing_of
from consumer.cli.terminal import Failed, Narrator, note, print_json
from consumer.core.command import Submit, parse_command
from consumer.core.event import Event
from consumer.errors import InvariantBroken
from consumer.ports import SubmitOrder

if TYPE_CHECKING:
    from consumer.fal import FalClient, Submission
    from consumer.settings import Settings

UNRECORDED = "asking fal at once: nothing is recorded, and no service follows it"


@dataclass(frozen=True, slots=True)
class Wish:
    """What is shown of a direct submit, and whether its result is waited for."""

    waits: bool
    as_json: bool


def order_of(command: Event, start_within: timedelta | None) -> SubmitOrder:
    """Return the order that a submit command stands for, its start deadline as a span."""
    job = parse_command(command.data)
    if not isinstance(job, Submit):
        raise InvariantBroken("a submit's command is a submit")
    return SubmitOrder(
        job.endpoint,
        job.input,
        start_timeout_s=start_within.total_seconds() if start_within else None,
        tags=job.tags,
        options=job.options,
    )


def submit_directly(settings: "Settings", order: SubmitOrder, wish: Wish) -> int:
    """
    Submit a job once, by ourselves, and return the exit code.

    Raises Failed where no job exists, or nobody knows.
    """
    if not settings.may_submit(order.endpoint):
        raise Failed(
            f"{order.endpoint} may not be submitted here",
            "FAL_CONSUMER_SUBMIT_ENDPOINTS lists what may; it counts for every way to submit",
        )
    note(UNRECORDED)
    try:
        return run_loop(_submit(settings, order, wish))
    except KeyboardInterrupt:
        note("a job that fal took goes on without you")
        raise


async def _submit(settings: "Settings", order: SubmitOrder, wish: Wish) -> int:
    async with open_fal(settings) as fal:
        submission = await fal.submit(order)
        _refuse(submission)
        located = Located(order.endpoint, submission.request_id or "")
        if not wish.waits:
            _print_submission(submission, located, wish)
            return 0
        note(f"submitted: {located.request_id}")
        answer = await _ended(fal, located)
    print_answer(answer, as_json=wish.as_json)
    return 1 if answer.exit_code else 0


def _refuse(submission: "Submission") -> None:
    """Raise Failed unless fal took the job."""
    if submission.outcome == "refused":
        raise refusal(submission.http_status, submission.reason or "unknown")
    if submission.outcome == "unknown":
        raise Failed(
            f"fal did not answer clearly ({submission.reason}): the job may exist",
            "submitting again may pay twice; fal.ai/dashboard/requests shows whether it runs",
        )


def _print_submission(submission: "Submission", located: Located, wish: Wish) -> None:
    if wish.as_json:
        print_json({**submission.model_dump(mode="json"), "endpoint": located.endpoint})
        return
    click.echo(located.request_id)
    note(f"follow it with: fal-consumer stream {located.endpoint} {located.request_id}")


async def _ended(fal: "FalClient", located: Located) -> Answer:
    """Return the result of a request once fal says that it is completed."""
    from consumer.media.places import urls_of  # noqa: PLC0415

    with Narrator() as narrator:
        async with aclosing(fal.stream_status(*located)) as states:
            async for state in states:
                narrator.say(f"{located.request_id}: {standing_of(state).plain}")
    found = await fal.result(*located)
    urls = urls_of(found.output) if found.outcome == "succeeded" else []
    return Answer(located, found, urls)
