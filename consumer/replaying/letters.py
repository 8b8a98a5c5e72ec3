"""
Reading dead letters, and putting back what they were.

A letter stays where it is; that it was replayed is told by a fact, and a
letter that dies again is a new one, its attempts counted on.
"""

from collections.abc import Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime

from consumer.core.event import NewRecord, Topic, decode
from consumer.core.fact import fact_from
from consumer.core.replay import (
    HANDLERS,
    REPLAYS,
    Letter,
    Replay,
    letter_of,
    marked,
    origin_place,
    original_of,
    replayed_letters,
)
from consumer.errors import EventError, UndecodableEvent
from consumer.ports import Log, Place, Position, Record
from consumer.replaying.replayer import Copy, Replayer
from consumer.replaying.spans import held, place_text, plain, record_at


@dataclass(frozen=True, slots=True)
class FoundLetter:
    """
    One dead letter without its bytes. `replayed_at` is when it was last put back, or None.
    """

    position: Position
    key: str
    size: int
    set_aside_at: datetime
    letter: Letter
    replayed_at: datetime | None

    @property
    def id(self) -> str:
        """How people name it: partition/offset."""
        return _id(self.position)


@dataclass(frozen=True, slots=True)
class Wanted:
    """
    Which dead letters: those named, by place or event id, or all that match; empty is any.
    """

    ids: frozenset[str] = frozenset()
    reasons: frozenset[str] = frozenset()
    handler: str = ""
    key: str | None = None
    waiting_only: bool = False

    def takes(self, found: FoundLetter) -> bool:
        """Tell whether a letter is one of them."""
        letter = found.letter
        return (
            (not self.ids or found.id in self.ids or letter.event_id in self.ids)
            and (not self.reasons or letter.reason in self.reasons)
            and (not self.handler or letter.handler == self.handler)
            and not (self.waiting_only and found.replayed_at is not None)
        )


async def find_letters(log: Log, wanted: Wanted) -> list[FoundLetter]:
    """Return the letters that are wanted, oldest first. Raises LogUnavailable."""
    replayed = await _replayed(log)
    letters = held(log, Topic.DEAD_LETTERS, key=wanted.key)
    async with aclosing(letters) as records:
        every = [_found(record, replayed) async for record in records]
    return sorted(filter(wanted.takes, every), key=lambda found: found.set_aside_at)


async def letter_at(log: Log, found: FoundLetter) -> Record | None:
    """Return the record of a letter, or None where retention took it meanwhile."""
    position = found.position
    return await record_at(log, (position.topic, position.partition), position.offset)


async def replay_letters(
    log: Log, replayer: Replayer, by: Replay, letters: Sequence[FoundLetter]
) -> None:
    """
    Put back what these letters were, each for the handler that set it aside.

    Raises LogUnavailable; what was put back until then is in the replayer's tally.
    """
    by_id = {found.id: found for found in letters}
    replayer.tally.total = len(by_id)
    await replayer.ask({"topic": Topic.DEAD_LETTERS.value, "letters": len(by_id)})
    waiting: list[Copy] = []
    async with aclosing(held(log, Topic.DEAD_LETTERS, within=_hull(letters))) as records:
        async for record in records:
            found = by_id.get(_id(record.position))
            if found is None:
                continue
            replayer.tally.looked_at += 1
            try:
                copy = await _copy(log, record, found.letter, by)
            except UndecodableEvent as exc:
                replayer.tally.refused.append(f"{found.id}: {exc}")
                continue
            if replayer.is_full(waiting, copy):
                await _put_back(replayer, waiting)
                waiting = []
            waiting.append(copy)
    await _put_back(replayer, waiting)


async def _put_back(replayer: Replayer, waiting: Sequence[Copy]) -> None:
    done = await replayer.put_back(waiting)
    letters = [of.removeprefix(f"{Topic.DEAD_LETTERS.value}/") for of in done]
    await replayer.tell({"letters": letters})


async def _copy(log: Log, record: Record, letter: Letter, by: Replay) -> Copy:
    of = place_text(record.position)
    original = await _original(log, record, letter)
    handler = letter.handler if letter.handler in HANDLERS else ""
    return Copy(of, marked(original, by, of=of, handler=handler, attempts=letter.attempts))


async def _original(log: Log, record: Record, letter: Letter) -> NewRecord:
    """Return what a letter was; where it had to leave the bytes out, from where they stood."""
    if letter.omitted_bytes is None:
        return original_of(plain(record))
    place = origin_place(letter)
    if place is None:
        raise UndecodableEvent("dlorigin", "tells no place, and the letter is without its bytes")
    stood = await record_at(log, place[:2], place[2])
    if stood is None:
        raise UndecodableEvent("dlorigin", "the log no longer holds the record, nor the letter")
    return plain(stood)


async def _replayed(log: Log) -> Mapping[str, datetime]:
    """Return when each letter was last put back, by its id."""
    told: dict[str, datetime] = {}
    async with aclosing(held(log, Topic.LIFECYCLE, key=REPLAYS)) as records:
        async for record in records:
            try:
                fact = fact_from(decode(record.headers, record.value))
            except EventError:
                continue
            told |= dict.fromkeys(replayed_letters(fact), fact.at)
    return told


def _found(record: Record, replayed: Mapping[str, datetime]) -> FoundLetter:
    letter = letter_of(record.headers)
    return FoundLetter(
        record.position,
        record.key,
        len(record.value),
        letter.set_aside_at or record.appended_at,
        letter,
        replayed.get(_id(record.position)),
    )


def _hull(letters: Sequence[FoundLetter]) -> dict[Place, range]:
    """Return the least ranges of offsets that hold all letters."""
    ranges: dict[Place, range] = {}
    for position in (found.position for found in letters):
        place = (position.topic, position.partition)
        known = ranges.get(place, range(position.offset, position.offset + 1))
        ranges[place] = range(
            min(known.start, position.offset), max(known.stop, position.offset + 1)
        )
    return ranges


def _id(position: Position) -> str:
    return f"{position.partition}/{position.offset}"
