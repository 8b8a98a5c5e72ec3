"""
Asking a running `serve` for something, and watching what comes of it.

A command is a record on `fal.commands`; its effects are read from the log and the ledger,
as any other reader would. Nothing here calls fal.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from consumer.cli.terminal import Failed
from consumer.core.command import command_event
from consumer.core.event import Event, Topic, encode, read_attributes
from consumer.errors import EventError, UndecodableEvent
from consumer.folder import DataFolder
from consumer.ports import Ledger, Record

if TYPE_CHECKING:
    from consumer.ports import Log
    from consumer.settings import Settings

SOURCE = "fal-consumer/cli"
_LOOK_EVERY_S = 0.15
_HOLDER_EVERY_S = 2.0
_WATCHED = (Topic.LIFECYCLE, Topic.DEAD_LETTERS)

_REMEDIES = {
    "no_fal_key": "give `serve` (on Kafka `work`) a FAL_KEY or FAL_KEY_FILE and start it again",
    "endpoint_not_allowed": (
        "add it to FAL_CONSUMER_SUBMIT_ENDPOINTS of `serve` (on Kafka `work`), start that again,"
        " and submit under a new id"
    ),
    "start_deadline_passed": "give it more time with --start-within",
    "command_conflict": "choose another --id, or give the same input and endpoint",
    "unknown_subject": "is the id right? `fal-consumer requests` lists what is known",
}


_ARGUMENTS = {
    "command_id": ("--id", "expected 1 to 200 visible ASCII characters without a space"),
    "subject": ("ID", "expected a request id, or a submission id (sub_…)"),
    "endpoint": ("ENDPOINT", "expected owner/app[/path], like fal-ai/flux/dev"),
    "request_id": ("REQUEST_ID", "expected a UUID, as fal's request ids are"),
    "tags": ("--tag", ""),
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
        field = exc.part.split(".")[1] if "." in exc.part else exc.part
        name, expected = _ARGUMENTS.get(field, (field, ""))
        problem = expected or exc.problem.removeprefix("Value error, ")
        raise click.UsageError(f"{name}: {problem}") from exc


def remedy(reason: str) -> str:
    """Return what to do about a refusal, or an empty text where the reason says it all."""
    return _REMEDIES.get(reason, "")


@dataclass
class Desk:
    """
    The log and the ledger of a folder that a `serve` holds, or those that machines share.

    `look` gives what the watched topics gained since the last look. Without a folder nobody
    here can tell whether a worker runs somewhere.
    """

    log: "Log"
    ledger: Ledger
    folder: DataFolder | None
    _places: dict[tuple[Topic, int], int] = field(default_factory=dict)
    _holder_seen_at: float = 0.0

    async def ask(self, command: Event) -> None:
        """Put a command on the log, durably; what follows from it will be seen by `look`."""
        spans = await self.log.offsets(_WATCHED)
        self._places = {place: span.stop for place, span in spans.items()}
        await self.log.append(encode(command))

    async def look(self) -> Sequence[Record]:
        """Wait a moment, then return what is new. Raises Failed when `serve` has gone."""
        await asyncio.sleep(_LOOK_EVERY_S)
        self._require_holder()
        news = []
        async for record in self.log.read(_WATCHED, start=dict(self._places)):
            position = record.position
            self._places[position.topic, position.partition] = position.offset + 1
            news.append(record)
        return news

    def _require_holder(self) -> None:
        if self.folder is None or time.monotonic() - self._holder_seen_at < _HOLDER_EVERY_S:
            return
        if self.folder.holder() is None:
            raise Failed(
                "`serve` (on Kafka `work`) has stopped meanwhile",
                "what you asked for stands in the log: it is carried out when that starts again",
            )
        self._holder_seen_at = time.monotonic()


@asynccontextmanager
async def open_desk(settings: "Settings") -> AsyncIterator[Desk]:
    """
    Open the folder of a running `serve`, or Kafka and PostgreSQL.

    Raises Failed where none runs on the folder.
    """
    from consumer.app import open_ledger, open_log  # noqa: PLC0415

    is_shared = not settings.is_sqlite and not settings.is_embedded
    folder = None if is_shared else DataFolder(settings.data_dir)
    if folder is not None and folder.holder() is None:
        raise Failed(
            f"no `fal-consumer serve` runs on {settings.data_dir}",
            "start it there (on Kafka `work`), or name its folder with FAL_CONSUMER_DATA_DIR",
        )
    async with open_log(settings) as log, open_ledger(settings) as ledger:
        yield Desk(log, ledger, folder)


def refuse_dead_letters(
    news: Sequence[Record], command: Event, explain: Callable[[str], str] = remedy
) -> None:
    """Raise Failed when the command itself was set aside as a dead letter."""
    for record in news:
        if record.position.topic is not Topic.DEAD_LETTERS:
            continue
        headers = dict(record.headers)
        try:
            is_ours = read_attributes(record.headers).get("id") == command.id
        except EventError:
            continue
        if is_ours:
            reason = headers.get("dlreason", b"").decode("utf-8", "replace")
            problem = headers.get("dlproblem", b"").decode("utf-8", "replace")
            raise Failed(f"refused: {problem or reason}", explain(reason))
