"""
Reading the embedded log's files, from one thread that only reads.

A file that cannot be read is left out, said so once, and tried again; only when none can
be read is the log unavailable. Nothing here knows of groups' locks or of waiting.
"""

import sqlite3
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from consumer.core.event import Topic
from consumer.errors import ConfigError, LogUnavailable
from consumer.log.blocks import checksum, unpack
from consumer.log.files import Fault, LogFolder, error_name, fault_of, open_to_read
from consumer.log.groups import Offsets, read_offsets
from consumer.ports import Place, Position, Record
from consumer.telemetry import get_logger

_MAX_READ_BYTES = 32 << 20
"""Of blocks in one read; the first one always comes, however large."""

_AGAIN_AFTER_S = 5.0
"""How long a file that could not be read is left alone."""

T = TypeVar("T")

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Stretch:
    """Records that follow one another; none when the block that held them is damaged."""

    topic: Topic
    partition: int
    first: int
    end: int
    records: Sequence[Record] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Wanted:
    """
    What a read asks for: topics from places on (0 where none is named), but not those `without`.
    """

    topics: Sequence[Topic]
    places: Mapping[tuple[Topic, int], int]
    max_records: int
    key: str | None = None
    without: Collection[Place] = ()


class Reader:
    """Reads; every method runs in the reader's thread. `condemn` hears of a broken file."""

    def __init__(self, folder: LogFolder, *, condemn: Callable[[int, sqlite3.Error], None]) -> None:
        self._folder = folder
        self._condemn = condemn
        self._connections: dict[int, sqlite3.Connection] = {}
        self._silent_until: dict[int, float] = {}
        self._log = get_logger()
        self._turn = 0

    def fetch(self, wanted: Wanted) -> list[Stretch]:
        """
        Return what follows the wanted places: whole blocks, until `max_records` are reached.

        Topics and partitions take turns in being first. Raises LogUnavailable.
        """
        taken = _Taken(wanted)
        places = [
            (topic, number)
            for number in self._present()
            for topic in wanted.topics
            if (topic, number) not in wanted.without
        ]
        self._turn += 1
        start = self._turn % max(1, len(places))
        for topic, number in places[start:] + places[:start]:
            if taken.is_full:
                break
            self._ask(number, lambda source, t=topic, n=number: taken.take(source, t, n))  # type: ignore[misc]
        return taken.stretches

    def spans(self, topics: Iterable[Topic]) -> dict[tuple[Topic, int], range]:
        """Return the offsets that are there, by topic and partition. Raises LogUnavailable."""
        wanted = tuple(topics)
        found: dict[tuple[Topic, int], range] = {}
        for number in self._present():
            part = self._ask(number, lambda source: [_span(source, topic) for topic in wanted])
            found |= {
                (topic, number): span for topic, span in zip(wanted, part or (), strict=False)
            }
        return found

    def committed(self, group: str) -> Offsets:
        """Return a group's next offsets over all files. Raises LogUnavailable."""
        offsets: Offsets = {}
        for number in self._present():
            for place, at in (self._ask(number, lambda c: read_offsets(c, group)) or {}).items():
                offsets[place] = max(at, offsets.get(place, 0))
        return offsets

    def check(self) -> None:
        """Try every file. Raises ConfigError for a newer format, LogUnavailable."""
        for number in self._folder.list().present:
            with suppress(sqlite3.Error):
                open_to_read(self._folder, number).close()
        self._present()

    def close(self) -> None:
        """Close all connections."""
        for number in list(self._connections):
            self._drop(number)

    # ------------------------------------------------------------ files

    def _present(self) -> list[int]:
        """Return the files that can be read, with a connection to each."""
        present = self._folder.list().present
        for gone in self._connections.keys() - set(present):
            self._drop(gone)
        for number in present:
            if number not in self._connections and self._may_try(number):
                try:
                    self._connections[number] = open_to_read(self._folder, number)
                except sqlite3.Error as exc:
                    self._leave_out(number, exc)
                except ConfigError as exc:
                    self._be_silent(number, exc.code)
        readable = [number for number in present if number in self._connections]
        if present and not readable:
            raise LogUnavailable("no file can be read")
        return readable

    def _ask(self, number: int, question: Callable[[sqlite3.Connection], T]) -> T | None:
        connection = self._connections.get(number)
        if connection is None:
            return None
        try:
            return question(connection)
        except sqlite3.Error as exc:
            self._leave_out(number, exc)
            return None

    def _may_try(self, number: int) -> bool:
        return time.monotonic() >= self._silent_until.get(number, 0.0)

    def _leave_out(self, number: int, error: sqlite3.Error) -> None:
        self._drop(number)
        fault = fault_of(error)
        if fault is Fault.BUSY:
            return
        self._be_silent(number, error_name(error))
        if fault is Fault.BROKEN:
            self._condemn(number, error)

    def _be_silent(self, number: int, error: str) -> None:
        if number not in self._silent_until:
            self._log.error("log.unavailable", partition=number, error=error)
        self._silent_until[number] = time.monotonic() + _AGAIN_AFTER_S

    def _drop(self, number: int) -> None:
        connection = self._connections.pop(number, None)
        if connection is not None:
            with suppress(sqlite3.Error):
                connection.close()


def _span(source: sqlite3.Connection, topic: Topic) -> range:
    (end,) = source.execute(
        "SELECT next_offset FROM counters WHERE topic = ?", (topic.value,)
    ).fetchone()
    oldest = source.execute(
        f'SELECT last_offset - count + 1 FROM "{topic}" ORDER BY last_offset LIMIT 1'  # noqa: S608 - our name
    ).fetchone()
    return range(oldest[0] if oldest else end, end)


class _Taken:
    """What one read has gathered so far."""

    def __init__(self, wanted: Wanted) -> None:
        self._wanted = wanted
        self._key = None if wanted.key is None else wanted.key.encode("utf-8", "surrogatepass")
        self._bytes = 0
        self._count = 0
        self.stretches: list[Stretch] = []
        self.is_full = False

    def take(self, source: sqlite3.Connection, topic: Topic, partition: int) -> None:
        """Take blocks of one topic of one file, until full."""
        rows = source.execute(
            f'SELECT last_offset, count, appended_at, crc, block FROM "{topic}"'  # noqa: S608 - our name
            " WHERE last_offset >= ? ORDER BY last_offset",
            (self._wanted.places.get((topic, partition), 0),),
        )
        for last, count, appended_at, crc, block in rows:
            if self._bytes and self._bytes + len(block) > _MAX_READ_BYTES:
                self.is_full = True
            if self.is_full:
                break
            records = self._records(
                Position(topic, partition, last - count + 1), appended_at, crc, block
            )
            self.stretches.append(Stretch(topic, partition, last - count + 1, last + 1, records))
            self._bytes += len(block)
            self._count += len(records)
            self.is_full = self._count >= self._wanted.max_records
        rows.close()

    def _records(self, first: Position, appended_at: int, crc: int, block: bytes) -> list[Record]:
        if checksum(block) != crc:
            return []
        if self._key is not None and self._key not in block:
            return []
        instant = _EPOCH + timedelta(microseconds=appended_at)
        key = self._wanted.key
        return [
            Record(Position(first.topic, first.partition, offset), name, value, headers, instant)
            for offset, (name, headers, value) in enumerate(unpack(block), first.offset)
            if key is None or key == name
        ]
