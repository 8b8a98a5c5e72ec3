"""
The outage drill: what a receiver's callers notice while Kafka is away, and how it comes back.

One broker, one receiver, one worker. Prints latencies, what a start and a stop without Kafka
take, and how fast the spool drains beside live traffic; every delivery is held against the
topic at the end. Run: python -m drills.outage [--backlog N] [--rate N] [--seconds N]
"""

import argparse
import asyncio
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from consumer.app import utc_now
from consumer.core.completion import delivery_from
from consumer.core.event import Topic, decode
from consumer.ports import Log
from consumer.simulator import SimulatorConfig
from consumer.telemetry import configure_logs
from consumer.testing.rig import ServiceProcess
from drills.load import Load, Mix, mark_of
from drills.stage import KafkaStage, Plan, Timeline, open_stage, until

_PUBLISH_TIMEOUT_S = 1.0
_SAMPLE_EVERY_S = 1.0
_PATIENCE_S = 300.0


@dataclass(frozen=True)
class Size:
    """
    How much: live deliveries `rate` a second, so many `seconds` of each phase.

    A stop may take `stop_timeout_s`, and `stop_slack_s` for the process to end.
    """

    backlog: int = 60_000
    rate: float = 500.0
    seconds: float = 20.0
    stop_timeout_s: float = 10.0
    stop_slack_s: float = 1.0


@dataclass
class Report:
    """What a run measured. `mistakes` is empty when every promise held."""

    direct_p99_ms: float = 0.0
    slowest_ms: float = 0.0
    away_p50_ms: float = 0.0
    away_p99_ms: float = 0.0
    away_answers: int = 0
    start_s: float = 0.0
    stops_s: dict[str, float] = field(default_factory=dict)
    backlog: int = 0
    drained: int = 0
    drained_s: float = 0.0
    rates: list[float] = field(default_factory=list)
    live_p99_ms: float = 0.0
    debts: int = 0
    lost: int = 0
    mistakes: list[str] = field(default_factory=list)

    @property
    def drained_per_s(self) -> float:
        """How many events a second left the spool, on the whole."""
        return self.drained / self.drained_s if self.drained_s else 0.0

    def __str__(self) -> str:
        stops = ", ".join(f"{who} {took:.1f} s" for who, took in self.stops_s.items())
        ordered = sorted(self.rates) or [0.0]
        return (
            f"outage run: p99 to 200 {self.direct_p99_ms:.0f} ms with Kafka; broker killed: "
            f"slowest {self.slowest_ms:.0f} ms, then p50 {self.away_p50_ms:.0f} ms, p99 "
            f"{self.away_p99_ms:.0f} ms over {self.away_answers}; stops without Kafka: {stops}; a "
            f"receiver started without Kafka accepts after {self.start_s:.1f} s; broker back: "
            f"{self.drained} from the spool in {self.drained_s:.1f} s, {self.drained_per_s:.0f}/s "
            f"(the topic grows by at least {ordered[0]:.0f}/s, median "
            f"{ordered[len(ordered) // 2]:.0f}/s, with the live ones), "
            f"live p99 {self.live_p99_ms:.0f} ms; {self.debts} acknowledged, {self.lost} lost"
        )


async def run_outage(folder: Path, size: Size) -> Report:
    """Play one run in a folder of its own and return what it measured."""
    plan = Plan(
        SimulatorConfig(seed=1),
        brokers=1,
        workers=1,
        environ={
            "FAL_CONSUMER_PUBLISH_TIMEOUT_S": f"{_PUBLISH_TIMEOUT_S:g}",
            "FAL_CONSUMER_STOP_TIMEOUT_S": f"{size.stop_timeout_s:g}",
        },
    )
    async with open_stage(folder, plan) as stage:
        await stage.start()
        return await _Run(stage, size).play()


class _Run:
    """The phases of one run, in order."""

    def __init__(self, stage: KafkaStage, size: Size) -> None:
        self._stage = stage
        self._size = size
        self._say = Timeline()
        self._report = Report()
        mix = Mix(bytes_each=1000, large=0.0, failed=0.0, copied=0.0, resent=0.0)
        key = stage.simulator.keys.signing
        self._load = Load(lambda: stage.receiver.port, key, stage.account, seed=1, mix=mix)

    async def play(self) -> Report:
        """Return the report of the whole run."""
        broker = self._stage.cluster.brokers[0]
        began = time.monotonic()
        await self._load_for(self._size.seconds)
        self._report.direct_p99_ms = self._load.posted.p_ms(0.99, since=began)
        self._say(f"with Kafka: p99 {self._report.direct_p99_ms:.1f} ms")
        await broker.kill()
        await self._away()
        await self._stop_all()
        await self._start_without_kafka()
        await self._fill()
        await broker.start()
        await broker.wait_ready()
        await self._drain()
        await self._stop("the receiver, with Kafka", self._stage.receiver)
        await self._count()
        return self._report

    async def _load_for(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        await self._load.run(lambda: self._size.rate, lambda: time.monotonic() >= end)

    async def _away(self) -> None:
        """Kafka is away: the first deliveries wait for the deadline, those after it must not."""
        killed, posted, report = time.monotonic(), self._load.posted, self._report
        await self._load_for(self._size.seconds + 2 * _PUBLISH_TIMEOUT_S)
        report.slowest_ms = posted.p_ms(1.0, since=killed)
        since = killed + 2 * _PUBLISH_TIMEOUT_S
        report.away_p50_ms = posted.p_ms(0.5, since=since)
        report.away_p99_ms = posted.p_ms(0.99, since=since)
        report.away_answers = sum(at >= since for at, _, _ in posted.took_ms)
        self._say(f"without Kafka: p50 {report.away_p50_ms:.1f}, p99 {report.away_p99_ms:.1f} ms")
        refused = {status for at, _, status in posted.took_ms if at >= killed} - {200}
        if refused:
            report.mistakes.append(f"without Kafka some were answered {sorted(refused)}")

    async def _stop_all(self) -> None:
        await self._stop("the receiver", self._stage.receiver)
        await self._stop("the worker", self._stage.workers[0])

    async def _stop(self, name: str, process: ServiceProcess) -> None:
        began = time.monotonic()
        code = await process.stop()
        took_s = time.monotonic() - began
        self._report.stops_s[name] = took_s
        self._say(f"{name} stopped in {took_s:.1f} s")
        if code != 0:
            self._report.mistakes.append(f"{name} ended with {code}: {process.last_words()}")
        if took_s > self._size.stop_timeout_s + self._size.stop_slack_s:
            self._report.mistakes.append(f"{name} took {took_s:.1f} s to stop")

    async def _start_without_kafka(self) -> None:
        began = time.monotonic()
        await self._stage.receiver.start()

        async def accepts() -> bool:
            return await self._load.post_one() == 200

        await until(accepts, within_s=_PATIENCE_S)
        self._report.start_s = time.monotonic() - began
        self._say(f"started without Kafka and accepted after {self._report.start_s:.1f} s")

    async def _fill(self) -> None:
        """Let the backlog grow to its size."""
        missing = self._size.backlog - await self._stage.spooled()
        await self._load.run_fast(max(0, missing), callers=64)
        self._say(f"{await self._stage.spooled()} wait in the spool")

    async def _drain(self) -> None:
        """Kafka is back: watch the backlog go, beside live deliveries."""
        report, began, began_at = self._report, time.monotonic(), utc_now().isoformat()
        report.backlog = await self._stage.spooled()
        is_empty = asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._load.run(lambda: self._size.rate, is_empty.is_set))
            await self._watch()
            report.drained_s = time.monotonic() - began
            is_empty.set()
        report.live_p99_ms = self._load.posted.p_ms(0.99, since=began)
        # What came meanwhile may have gone through the spool too.
        report.drained = report.backlog + sum(
            line.get("partition") == -1 and line["timestamp"] >= began_at
            for line in self._stage.told("delivery.accepted")
        )
        self._say(f"drained in {report.drained_s:.1f} s, live p99 {report.live_p99_ms:.1f} ms")

    async def _watch(self) -> None:
        """Note by how much the topic grows each second, until the spool is empty."""
        async with asyncio.timeout(_PATIENCE_S), self._stage.log() as log:
            at, held = time.monotonic(), await _records(log)
            while await self._stage.spooled():
                await asyncio.sleep(_SAMPLE_EVERY_S)
                now, now_held = time.monotonic(), await _records(log)
                self._report.rates.append((now_held - held) / (now - at))
                at, held = now, now_held

    async def _count(self) -> None:
        posted = self._load.posted
        missing, seen = set(posted.debts), set[str]()
        async with self._stage.log() as log:
            async for record in log.read([Topic.COMPLETIONS]):
                headers = delivery_from(decode(record.headers, record.value)).headers
                missing.discard(mark_of(headers.request_id, headers.signature, record.value))
                seen.add(record.key)
        self._report.debts, self._report.lost = len(posted.debts), len(missing)
        if missing or posted.kept - seen:
            self._report.mistakes.append(f"{len(missing)} acknowledged are not in the topic")


async def _records(log: Log) -> int:
    return sum(span.stop for span in (await log.offsets([Topic.COMPLETIONS])).values())


def main() -> int:
    """Play a run and print what it measured; 1 when a promise was broken."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backlog", type=int, default=Size.backlog)
    parser.add_argument("--rate", type=float, default=Size.rate)
    parser.add_argument("--seconds", type=float, default=Size.seconds)
    parser.add_argument("--folder", type=Path, help="kept afterwards; else a temporary one")
    chosen = parser.parse_args()
    if chosen.folder:
        chosen.folder.mkdir(parents=True)
    size = Size(backlog=chosen.backlog, rate=chosen.rate, seconds=chosen.seconds)
    configure_logs(level="error", format="json")
    with tempfile.TemporaryDirectory(prefix="fal-consumer-outage-") as folder:
        report = asyncio.run(run_outage(chosen.folder or Path(folder), size))
    print(report)
    for mistake in report.mistakes:
        print(f"broken: {mistake}")
    return 1 if report.mistakes else 0


if __name__ == "__main__":
    sys.exit(main())
