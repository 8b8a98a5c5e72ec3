"""
Asking a running service for something, and watching what comes of it.

A command is a record on `fal.commands`; its effects are read from the log and the ledger,
as any other reader would.
"""

import asyncio
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from consumer.core.event import Event, Topic, decode, encode, read_attributes
from consumer.core.fact import Fact, fact_from
from consumer.errors import CommandRefused, EventError, NoService
from consumer.folder import DataFolder
from consumer.ports import Ledger, Log, Record

_LOOK_EVERY_S = 0.15
_HOLDER_EVERY_S = 2.0
_WATCHED = (Topic.LIFECYCLE, Topic.DEAD_LETTERS)


@dataclass
class Desk:
    """
    The log and the ledger of a folder that a service holds, or those that machines share.

    One desk for one command: `look` gives what the watched topics gained since the last look.
    Without a folder nobody here can tell whether a worker runs somewhere.
    """

    log: Log
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
        """Wait a moment, then return what is new. Raises NoService when the service has gone."""
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
            raise NoService(str(self.folder.path), is_asked=True)
        self._holder_seen_at = time.monotonic()


def require_service(folder: DataFolder) -> None:
    """Raise NoService where nobody works on the folder."""
    if folder.holder() is None:
        raise NoService(str(folder.path))


def raise_if_set_aside(news: Sequence[Record], command: Event) -> None:
    """Raise CommandRefused when the command itself was set aside as a dead letter."""
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
            raise CommandRefused(reason, problem)


def facts_about(news: Sequence[Record], subjects: Collection[str]) -> list[Fact]:
    """Return the facts about these subjects among the records; what is unreadable is no answer."""
    facts = []
    for record in news:
        if record.position.topic is not Topic.LIFECYCLE or record.key not in subjects:
            continue
        try:
            facts.append(fact_from(decode(record.headers, record.value)))
        except EventError:
            continue
    return facts
