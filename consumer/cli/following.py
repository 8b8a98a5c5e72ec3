"""
Asking a running `serve` for something, in the words of the command line.

How a command is put on the log, and how its effects are read, is `consumer.commanding`.
"""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from consumer.cli.terminal import Failed
from consumer.commanding.desk import Desk, raise_if_set_aside
from consumer.core.command import command_event
from consumer.core.event import Event
from consumer.errors import CommandRefused, NoService, UndecodableEvent
from consumer.ports import Record

if TYPE_CHECKING:
    from consumer.settings import Settings

SOURCE = "fal-consumer/cli"

_REMEDIES = {
    "no_fal_key": "give `serve` (on Kafka `work`) a FAL_KEY or FAL_KEY_FILE and start it again",
    "endpoint_not_allowed": (
        "add it to FAL_CONSUMER_SUBMIT_ENDPOINTS of `serve` (on Kafka `work`), start that again,"
        " and submit under a new id"
    ),
    "start_deadline_passed": "give it more time with --start-within",
    "bad_tags": "fal takes up to ten: keys of a-z 0-9 . _ -, values without a comma",
    "locked": "only a human can end that: fal.ai/dashboard/billing",
    "unauthorized": "is the key whole, and not revoked? `fal-consumer check` tries it",
    "too_many_open": "wait until some have ended, or raise FAL_CONSUMER_MAX_OPEN_REQUESTS",
    "too_many_commands": "try again in a minute, or raise FAL_CONSUMER_COMMANDS_PER_MINUTE",
    "group": "its group is cancelled for good: submit under another --group",
    "superseded": "a newer one with this --supersedes key is at fal already",
    "command_conflict": "choose another --id, or give the same input and endpoint",
    "unknown_subject": "is the id right? `fal-consumer requests` lists what is known",
}


_ARGUMENTS = {
    "command_id": ("--id", "expected 1 to 200 visible ASCII characters without a space"),
    "subject": ("ID", "expected a request id, or a submission id (sub_…)"),
    "endpoint": ("ENDPOINT", "expected owner/app[/path], like fal-ai/flux/dev"),
    "request_id": ("REQUEST_ID", "expected a UUID, as fal's request ids are"),
    "tags": ("--tag", ""),
    "runner_hint": ("--runner-hint", "expected 1 to 256 visible ASCII characters"),
    "max_queue_length": ("--max-queue", ""),
    "object_lifecycle": ("--files-expire, --files-acl, --files-rule", ""),
    "group": ("--group", "expected 1 to 200 visible ASCII characters without a space"),
    "supersedes": ("--supersedes", "expected 1 to 200 visible ASCII characters without a space"),
    "start_by": ("--start-within", ""),
    "finish_by": ("--finish-within", ""),
}
# What a field of a command is called on the command line, and what it takes; pydantic's own
# sentence stands where none is given.


def command_of(fields: Mapping[str, Any]) -> Event:
    """Return the event of a command. Raises UsageError that names the argument that is wrong."""
    try:
        return command_event(fields, source=SOURCE, at=datetime.now(UTC))
    except UndecodableEvent as exc:
        path = exc.part.split(".")
        field = (
            path[2] if path[1:2] == ["options"] and len(path) > 2 else path[min(1, len(path) - 1)]
        )
        name, expected = _ARGUMENTS.get(field, (field, ""))
        problem = expected or exc.problem.removeprefix("Value error, ")
        raise click.UsageError(f"{name}: {problem}") from exc


def remedy(reason: str) -> str:
    """Return what to do about a refusal, or an empty text where the reason says it all."""
    return _REMEDIES.get(reason, "")


@asynccontextmanager
async def open_desk(settings: "Settings") -> AsyncIterator[Desk]:
    """
    Open the folder of a running `serve`, or Kafka and PostgreSQL.

    Raises Failed where none runs on the folder, or no longer.
    """
    from consumer.app import open_desk as opened  # noqa: PLC0415

    try:
        async with opened(settings) as desk:
            yield desk
    except NoService as exc:
        raise Failed(exc.problem, _what_then(exc)) from exc


def _what_then(error: NoService) -> str:
    if error.is_asked:
        return "what you asked for stands in the log: it is carried out when that starts again"
    return "start it there (on Kafka `work`), or name its folder with FAL_CONSUMER_DATA_DIR"


def refuse_dead_letters(
    news: Sequence[Record], command: Event, explain: Callable[[str], str] = remedy
) -> None:
    """Raise Failed when the command itself was set aside as a dead letter."""
    try:
        raise_if_set_aside(news, command)
    except CommandRefused as exc:
        raise Failed(str(exc), explain(exc.reason)) from exc
