"""
A process that appends through the spool and drains it; run by the tests beside it.

Kafka is a file: a record is in it once its line is written. Arguments: folder of the spools,
file that is Kafka, name, how often Kafka is away (0 to 1), largest file that may be written
(0 = no bound), and how many events to append (0 = until killed). One line on standard output
for each acknowledged event: its key.
"""

import asyncio
import os
import random
import resource
import sys
from datetime import UTC, datetime
from hashlib import sha256
from itertools import count
from pathlib import Path

from consumer.core.event import NewRecord, Topic
from consumer.errors import LogUnavailable
from consumer.log.spool.publisher import Lanes, SpooledPublisher
from consumer.log.spool.spool import SpoolLimits
from consumer.ports import Position
from consumer.telemetry import Metrics, configure_logs

TOPICS = (Topic.COMPLETIONS, Topic.LIFECYCLE)
_IN_FLIGHT = 8


def value_of(key: str) -> bytes:
    """Return the value that belongs to a key: 2,000 bytes, hard to compress."""
    return (sha256(key.encode()).digest() * 63)[:2000]


class FileKafka:
    """Takes a record by a line: its key and the hash of its value. Away by chance, for a while."""

    def __init__(self, path: Path, away: float) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self._away = away
        self._is_away = away >= 1
        self._offsets = count()

    async def live_on(self) -> None:
        """Be away and back, so that about `away` of the time it is away."""
        while 0 < self._away < 1:
            self._is_away = random.random() < self._away
            await asyncio.sleep(0.05)

    async def append(self, record: NewRecord) -> Position:
        await asyncio.sleep(0.002)
        if self._is_away:
            raise LogUnavailable("away")
        line = f"{record.key} {sha256(record.value).hexdigest()}\n"
        os.write(self._file, line.encode())
        return Position(record.topic, 0, next(self._offsets))

    async def ping(self) -> None:
        if self._is_away:
            raise LogUnavailable("away")


async def spool_all(folder: Path, kafka: FileKafka, name: str, total: int) -> None:
    """Append from several tasks at once beside the draining, and say so after each."""
    numbers = iter(range(total)) if total else count()
    stop = asyncio.Event()

    async def append_some(front: SpooledPublisher) -> None:
        for number in numbers:
            key = f"{name}-{number}"
            topic = TOPICS[number % 2]
            while True:
                try:
                    await front.append(NewRecord(topic, key, value_of(key), ()))
                    break
                except LogUnavailable:
                    await asyncio.sleep(0.01)
            os.write(1, key.encode() + b"\n")

    async with SpooledPublisher.open(
        Lanes(kafka, kafka),
        folder,
        clock=lambda: datetime.now(UTC),
        limits=SpoolLimits(reserve_bytes=0),
        metrics=Metrics(),
    ) as front:
        living = asyncio.create_task(kafka.live_on())
        running = asyncio.create_task(front.run(stop))
        await asyncio.gather(*(append_some(front) for _ in range(_IN_FLIGHT)))
        stop.set()
        await running
        living.cancel()


def main() -> None:
    """Read the arguments and go."""
    configure_logs(level="info", format="json")
    folder, kafka, name, away, max_file_bytes, total = sys.argv[1:]
    if int(max_file_bytes):
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(max_file_bytes), resource.RLIM_INFINITY))
    asyncio.run(spool_all(Path(folder), FileKafka(Path(kafka), float(away)), name, int(total)))


if __name__ == "__main__":
    main()
