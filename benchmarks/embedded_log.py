"""
What an append to the embedded log costs: appends a second, and CPU microseconds of each.

Run `python benchmarks/embedded_log.py [FOLDER]`; the folder says which disk is measured.
CPU is the whole process's, user and system, all threads; the loop is the one in use.
"""

import asyncio
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import uvloop

from consumer.core.event import NewRecord, Topic
from consumer.log.embedded import EmbeddedLog

_VALUE = bytes(range(256)) * 4
_HEADERS = (
    ("ce_specversion", b"1.0"),
    ("ce_type", b"fal-consumer.completion.webhook.v1"),
    ("ce_id", b"0123456789abcdef0123456789abcdef01234567"),
    ("ce_source", b"https://queue.fal.run"),
    ("ce_subject", b"3c3c3c3c-0000-4000-8000-000000000000"),
    ("ce_time", b"2026-01-01T00:00:00.000000Z"),
    ("content-type", b"application/json"),
    ("ce_falsignature", b"f" * 128),
    ("ce_faltimestamp", b"1767225600"),
    ("ce_faluserid", b"user_0123456789"),
    ("ce_falkey", b"k" * 43),
    ("ce_falaccount", b"ours"),
)


async def _append_many(log: EmbeddedLog, count: int, latencies: list[float]) -> None:
    for number in range(count):
        started = time.perf_counter()
        await log.append(NewRecord(Topic.COMPLETIONS, f"request-{number}", _VALUE, _HEADERS))
        latencies.append(time.perf_counter() - started)


async def _measure(folder: Path, in_flight: int, total: int) -> None:
    async with EmbeddedLog.open(folder, clock=lambda: datetime.now(UTC)) as log:
        await _append_many(log, 10, [])
        latencies: list[float] = []
        started, cpu = time.perf_counter(), time.process_time()
        async with asyncio.TaskGroup() as group:
            for _ in range(in_flight):
                group.create_task(_append_many(log, total // in_flight, latencies))
        wall, cpu = time.perf_counter() - started, time.process_time() - cpu
    latencies.sort()
    count = len(latencies)
    print(
        f"{in_flight:5} in flight: {count / wall:9,.0f} appends/s, "
        f"{cpu / count * 1e6:6.1f} us CPU each, "
        f"p50 {latencies[count // 2] * 1e3:.2f} ms, p99 {latencies[count * 99 // 100] * 1e3:.2f} ms"
    )


def main() -> None:
    """Measure at 1, 64 and 512 in flight, 1 KB values, 12 headers."""
    parent = Path(sys.argv[1]) if len(sys.argv) > 1 else None
    for in_flight, total in ((1, 3_000), (64, 64_000), (512, 102_400)):
        with tempfile.TemporaryDirectory(dir=parent) as folder:
            uvloop.run(_measure(Path(folder) / "log", in_flight, total))


if __name__ == "__main__":
    main()
