"""
A process that appends and says what was acknowledged; run by the tests beside it.

Arguments: folder, name, how many to append (0 = until killed), in flight, value bytes, and
the largest file this process may write (0 = no bound). One JSON line for each acknowledged
record: position and key; the value follows from the key.
"""

import asyncio
import json
import os
import resource
import sys
from datetime import UTC, datetime
from hashlib import sha256
from itertools import count
from pathlib import Path

from consumer.core.event import NewRecord, Topic
from consumer.log.embedded import EmbeddedLog
from consumer.telemetry import configure_logs

TOPICS = (Topic.COMPLETIONS, Topic.LIFECYCLE)


def value_of(key: str, size: int) -> bytes:
    """Return the value that belongs to a key: hard to compress, and long as asked."""
    block = sha256(key.encode()).digest()
    return (block * (size // len(block) + 1))[:size]


async def append_all(folder: Path, name: str, total: int, in_flight: int, size: int) -> None:
    """Append from so many tasks at once, and say so after each acknowledgement."""
    numbers = iter(range(total)) if total else count()

    async def append_some(log: EmbeddedLog) -> None:
        for number in numbers:
            key = f"{name}-{number}"
            topic = TOPICS[number % 2]
            position = await log.append(NewRecord(topic, key, value_of(key, size), ()))
            line = json.dumps([position.topic, position.partition, position.offset, key])
            os.write(1, line.encode() + b"\n")

    async with (
        EmbeddedLog.open(folder, clock=lambda: datetime.now(UTC)) as log,
        asyncio.TaskGroup() as group,
    ):
        for _ in range(in_flight):
            group.create_task(append_some(log))


def main() -> None:
    """Read the arguments and go."""
    configure_logs(level="info", format="json")
    folder, name, total, in_flight, size, max_file_bytes = sys.argv[1:]
    if int(max_file_bytes):
        bound = (int(max_file_bytes), resource.RLIM_INFINITY)
        resource.setrlimit(resource.RLIMIT_FSIZE, bound)
    asyncio.run(append_all(Path(folder), name, int(total), int(in_flight), int(size)))


if __name__ == "__main__":
    main()
