"""`track` and `cancel`: asking a running `serve` about a request, and waiting for its answer."""

import asyncio
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import click

from consumer.cli.direct import Named, locate, maybe_request_argument, open_fal
from consumer.cli.following import command_of, open_desk, refuse_dead_letters, remedy
from consumer.cli.setup import (
    Answer,
    Explained,
    log_to_stderr,
    run_loop,
    tags_of,
    with_keys,
    with_settings,
)
from consumer.cli.submit_direct import UNRECORDED
from consumer.cli.terminal import Failed, Narrator, note, print_json
from consumer.commanding.cancelling import Cancelled, cancel_by
from consumer.commanding.desk import facts_about
from consumer.core.event import Event
from consumer.core.fact import FactName, Witness
from consumer.errors import CommandRefused

if TYPE_CHECKING:
    from consumer.settings import Settings

_PATIENCE_S = 120.0
# `serve` looks for an unknown id for half a minute, and asks a silent fal again and again:
# by then a person wants the terminal back. What was asked for is not given up.


@click.command(
    cls=Explained,
    example="fal-consumer track fal-ai/flux/dev 019f6af7-3088-7f03-b97d-84fec4a3ce12",
)
@click.argument("endpoint")
@click.argument("request_id")
@click.option(
    "--tag",
    "tags",
    multiple=True,
    metavar="NAME=VALUE",
    callback=tags_of,
    help="Comes back with the result. Repeat it, up to ten times.",
)
@with_keys
@click.option("--json", "as_json", is_flag=True, help="Print a JSON line.")
@with_settings
def track(  # noqa: PLR0913  click hands over one argument an option
    settings: "Settings",
    *,
    endpoint: str,
    request_id: str,
    tags: dict[str, str],
    group: str | None,
    supersedes: str | None,
    as_json: bool,
) -> None:
    """
    Follow a request that somebody else submitted with the same fal account.

    From then on it is asked after, recorded, and ends with a result like any other.
    """
    log_to_stderr()
    command = command_of(
        {
            "command": "track",
            "command_id": uuid4().hex,
            "endpoint": endpoint,
            "request_id": request_id,
            "tags": tags,
            "group": group,
            "supersedes": supersedes,
        }
    )
    run_loop(_within_patience(_track(settings, command), command.subject))
    if as_json:
        print_json({"request_id": command.subject, "outcome": "tracked"})
    else:
        click.echo(f"tracked: {command.subject}")


async def _track(settings: "Settings", command: Event) -> None:
    async with open_desk(settings) as desk:
        with Narrator() as narrator:
            narrator.step("handing it over")
            await desk.ask(command)
            while True:
                news = await desk.look()
                refuse_dead_letters(news, command)
                facts = facts_about(news, {command.subject})
                if any(
                    fact.name is FactName.TRACKED and fact.witness is Witness.COMMAND
                    for fact in facts
                ):
                    return


@click.command(
    cls=Explained,
    example="""\
fal-consumer cancel 019f6af7-3088-7f03-b97d-84fec4a3ce12
fal-consumer cancel --group batch-7
fal-consumer cancel --direct fal-ai/flux/dev 019f6af7-3088-7f03-b97d-84fec4a3ce12""",
)
@maybe_request_argument
@click.option("--group", metavar="NAME", help="Everything in a group, for good.")
@click.option(
    "--direct", is_flag=True, help="Ask fal at once, without a service; nothing is recorded."
)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON line.")
@with_settings
def cancel(
    settings: "Settings", *, named: Named | None, group: str | None, direct: bool, as_json: bool
) -> None:
    """
    Ask fal to stop a request. ID is a request id, or a submission id (sub_…).

    With --group everything in that group, what is still to come under its name included.

    Goes through the running `serve`, on Kafka `work`, which needs no ENDPOINT. With --direct
    it asks fal at once; ENDPOINT is then needed where the ledger here does not know it.

    Prints what came of it: removed, asked, remembered, stopped (exit code 0), refused,
    unknown or ended (exit code 1). Asked is not cancelled: a running job may still succeed.
    """
    if (named is None) == (group is None):
        raise click.UsageError("give either an ID or --group NAME")
    subject = named.subject if named else None
    if direct and named is not None:
        note(UNRECORDED)
        found = run_loop(_cancel_directly(settings, named))
    elif direct or (named is not None and named.endpoint):
        raise click.UsageError("give the ID alone, or --direct: a service knows the endpoint")
    else:
        log_to_stderr()
        command = command_of(
            {"command": "cancel", "command_id": uuid4().hex, "subject": subject, "group": group}
        )
        found = run_loop(_within_patience(_cancel(settings, command), subject or "ID"))
    if as_json:
        about = {"group": group} if subject is None else {"subject": subject}
        print_json({**about, "outcome": found.outcome})
    else:
        click.echo(f"{found.outcome}: {found.sentence}")
    click.get_current_context().exit(0 if found.is_on_its_way else 1)


_DIRECT_OUTCOMES = {
    "OK": Cancelled("removed", "fal took it out of the queue", is_on_its_way=True),
    "CANCELLATION_REQUESTED": Cancelled(
        "asked", "fal was asked to stop it; it may still succeed", is_on_its_way=True
    ),
    "ALREADY_COMPLETED": Cancelled("ended", "it has ended already", is_on_its_way=False),
    "NOT_FOUND": Cancelled("unknown", "fal knows no such request", is_on_its_way=False),
}
# By fal's own words (`ports.CancelAnswer`).


async def _cancel_directly(settings: "Settings", named: Named) -> Cancelled:
    located = await locate(settings, named, "cancel --direct")
    async with open_fal(settings) as fal:
        answer = await fal.cancel(*located)
    return _DIRECT_OUTCOMES[answer.outcome.value]


async def _cancel(settings: "Settings", command: Event) -> Cancelled:
    async with open_desk(settings) as desk:
        with Narrator() as narrator:
            narrator.step("handing it over, and waiting for what fal says")
            try:
                return await cancel_by(desk, command)
            except CommandRefused as exc:
                raise Failed(str(exc), remedy(exc.reason)) from exc


async def _within_patience(work: Coroutine[Any, Any, Answer], subject: str) -> Answer:
    try:
        async with asyncio.timeout(_PATIENCE_S):
            return await work
    except TimeoutError as exc:
        raise Failed(
            f"no answer within {_PATIENCE_S:g} s; the service goes on trying",
            f"look at it with: fal-consumer timeline {subject}",
        ) from exc
