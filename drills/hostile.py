"""
A flood of hostile requests beside genuine traffic, with figures: `make drill`.

Genuine deliveries come at a steady rate, first alone, then beside the flood, which is sent
from a process of its own. Ends with 0 when every promise held, with 1 and what broke when not.
Run: python drills/hostile.py [--count 100000] [--rate 50] [--seed 7]
"""

import argparse
import asyncio
import multiprocessing
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from pathlib import Path
from uuid import uuid4

import uvloop

from consumer.receiving.limits import ReceiverLimits
from consumer.testing.deliveries import webhook_body
from consumer.testing.hostile import CANARY, Tally, Traffic, attack
from consumer.testing.receiver_process import ReceiverProcess, receiver_process
from consumer.testing.receiving import Caller

MAX_GROWTH_MIB = 100
MAX_P99_RATIO = 3
QUIET_S = 10
_SHOTS_AT_ONCE = 16


@dataclass
class Genuine:
    """What became of the genuine deliveries: statuses, and latencies in milliseconds."""

    statuses: dict[int, int]
    took_ms: list[float]

    def at(self, share: float) -> float:
        """Return the latency below which this share of the deliveries was answered."""
        ordered = sorted(self.took_ms)
        return ordered[min(int(len(ordered) * share), len(ordered) - 1)]


async def deliver(child: ReceiverProcess, rate: float, until: asyncio.Event) -> Genuine:
    """Send genuine deliveries at a steady rate, whatever the answers take."""
    caller, found = Caller(child.host, child.port, deadline_s=30), Genuine({}, [])

    async def one() -> None:
        request_id = str(uuid4())
        body = webhook_body(request_id)
        headers = child.signer.headers(request_id, body, at=datetime.now(UTC))
        began = time.perf_counter()
        status = await caller.post(body, headers)
        found.took_ms.append((time.perf_counter() - began) * 1e3)
        found.statuses[status] = found.statuses.get(status, 0) + 1

    async with asyncio.TaskGroup() as tasks:
        while not until.is_set():
            tasks.create_task(one())
            await asyncio.sleep(1 / rate)
    return found


def flood(host: str, port: int, count: int, seed: int, pipe: Connection) -> None:
    """In a process of its own: fire all shots, and send back what came of them."""
    limits = ReceiverLimits()

    async def fire() -> Tally:
        tally = Tally()
        for number in range(0, count, 1000):
            # Signed anew, so that timestamps stay near the present.
            traffic = Traffic(
                seed + number, at=datetime.now(UTC), max_body_bytes=limits.max_body_bytes
            )
            shots = traffic.shots(min(1000, count - number))
            part = await attack(host, port, shots, at_once=_SHOTS_AT_ONCE)
            tally.answers += part.answers
            tally.unfair += part.unfair
        return tally

    pipe.send(uvloop.run(fire()))


async def run(count: int, rate: float, seed: int, folder: Path) -> list[str]:
    """Run the drill, print its figures, and return what broke."""
    async with receiver_process(folder) as child:
        quiet_over = asyncio.Event()
        asyncio.get_running_loop().call_later(QUIET_S, quiet_over.set)
        quiet = await deliver(child, rate, quiet_over)
        before_mib, began = child.rss_mib(), time.perf_counter()
        ours, theirs = multiprocessing.get_context("spawn").Pipe()
        process = multiprocessing.get_context("spawn").Process(
            target=flood, args=(child.host, child.port, count, seed, theirs)
        )
        process.start()
        flood_over = asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            beside = tasks.create_task(deliver(child, rate, flood_over))
            tally: Tally = await asyncio.to_thread(ours.recv)
            flood_over.set()
        took_s, grown_mib = time.perf_counter() - began, child.rss_mib() - before_mib
        process.join()
    show(tally, quiet, beside.result(), took_s, grown_mib)
    return broken(tally, quiet, beside.result(), grown_mib, child.lines)


def show(tally: Tally, quiet: Genuine, beside: Genuine, took_s: float, grown_mib: float) -> None:
    """Print the figures."""
    total = tally.answers.total()
    print(f"{total} hostile requests in {took_s:.0f} s ({total / took_s:.0f}/s)")
    kinds = sorted({kind for kind, _ in tally.answers})
    for kind in kinds:
        answers = sorted((s, n) for (k, s), n in tally.answers.items() if k == kind)
        print(f"  {kind:12}", "  ".join(f"{status or 'cut'}: {n}" for status, n in answers))
    for name, found in (("quiet", quiet), ("beside", beside)):
        print(
            f"genuine, {name:6} {found.statuses}  p50 {found.at(0.5):.1f} ms"
            f"  p99 {found.at(0.99):.1f} ms  worst {max(found.took_ms):.1f} ms"
        )
    print(f"memory grew by {grown_mib:.1f} MiB")


def broken(
    tally: Tally, quiet: Genuine, beside: Genuine, grown_mib: float, lines: bytes
) -> list[str]:
    """Return a sentence for each promise that did not hold."""
    found = [f"unfair answer to {kind}: {answer!r}" for kind, answer in tally.unfair[:10]]
    accepted = sum(n for (_, status), n in tally.answers.items() if status == 200)
    if accepted:
        found.append(f"{accepted} hostile requests were accepted")
    if set(quiet.statuses) | set(beside.statuses) != {200}:
        found.append("genuine deliveries were refused")
    if beside.at(0.99) > MAX_P99_RATIO * quiet.at(0.99):
        found.append(f"p99 beside the flood is over {MAX_P99_RATIO} times the quiet one")
    if grown_mib > MAX_GROWTH_MIB:
        found.append(f"memory grew by more than {MAX_GROWTH_MIB} MiB")
    # A request id that keeps the grammar may be told as claimed; nothing else foreign may.
    if CANARY.encode() in lines.replace(f"{CANARY}-id".encode(), b""):
        found.append("foreign text is in the log lines")
    if b"Traceback" in lines:
        found.append("a traceback is in the log lines")
    return found


def main() -> int:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--rate", type=float, default=50)
    parser.add_argument("--seed", type=int, default=7)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        faults = uvloop.run(run(asked.count, asked.rate, asked.seed, Path(folder)))
    for fault in faults:
        print("BROKEN:", fault)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
