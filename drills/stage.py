"""
The product on a real Kafka, each part a process of its own, beside a stand-in for fal.

One receiver with a data folder, workers that share another; whatever a drill wants to kill,
stop or start again is reached from here.
"""

import asyncio
import json
import logging
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from shutil import which
from subprocess import run
from typing import Any

from pydantic import SecretStr

from consumer.app import utc_now
from consumer.app.cluster import kafka_place, open_kafka_log
from consumer.app.upkeep import migrate_ledger
from consumer.devservers import KafkaCluster, open_kafka
from consumer.errors import LogUnavailable
from consumer.log.kafka.administration import open_administration
from consumer.log.kafka.topics import topic_needs
from consumer.log.spool.counting import count_waiting
from consumer.log.spool.places import list_places
from consumer.ports import Log
from consumer.settings import Settings
from consumer.simulator import Simulator, SimulatorConfig
from consumer.testing.rig import ServiceProcess

ENDPOINT = "fal-ai/flux/dev"
MIB = 1024 * 1024
_DRAIN = "drain"
_LOOK_EVERY_S = 0.2
_AGREEING = 4
_EXPECTED_LINES = ("{", "receiver listens", "console listens", "warning: ")


@dataclass(frozen=True)
class Plan:
    """
    What a stage is made of. `environ` is given to every process, beside what it needs.

    Without a `ledger_url` the workers share a SQLite ledger in their folder.
    """

    simulator: SimulatorConfig
    brokers: int = 3
    workers: int = 2
    receiver_folder: Path | None = None
    partitions: int = 6
    ledger_url: str = ""
    environ: Mapping[str, str] = field(default_factory=dict)


class KafkaStage:
    """Brokers, a receiver, workers and the stand-in for fal. Made by `open_stage`."""

    def __init__(
        self, folder: Path, plan: Plan, cluster: KafkaCluster, simulator: Simulator
    ) -> None:
        self.cluster = cluster
        self.simulator = simulator
        self.account = plan.simulator.account
        self._folder = folder
        self._plan = plan
        self._secrets = folder / "token-secrets"
        self._secrets.write_text("a secret of the drill, long enough to be one\n")
        self.processes: list[ServiceProcess] = []
        self.settings = Settings(
            data_dir=folder / "worker",
            log_url=f"kafka://{cluster.servers}",
            ledger_url=SecretStr(plan.ledger_url or "sqlite:"),
            kafka_single_broker=plan.brokers == 1,
            token_secrets_file=self._secrets,
            log_reserve_bytes=0,
        )
        self.receiver = self.new_receiver(plan.receiver_folder or folder / "receiver")
        self.workers = [self.new_worker() for _ in range(plan.workers)]

    def new_receiver(self, folder: Path) -> ServiceProcess:
        """Return a receiver that has not started yet."""
        return self._process("receive", folder, {})

    def new_worker(self) -> ServiceProcess:
        """Return a worker that has not started yet; all of them share one data folder."""
        environ = {
            "FAL_KEY": "drill:key",
            "FAL_CONSUMER_PUBLIC_URL": self.receiver.url,
            "FAL_CONSUMER_QUEUE_URL": self.simulator.url,
            "FAL_CONSUMER_API_URL": self.simulator.platform_url,
            "FAL_CONSUMER_SUBMIT_ENDPOINTS": ENDPOINT,
        }
        if self._plan.ledger_url:
            environ["FAL_CONSUMER_LEDGER_URL"] = self._plan.ledger_url
        return self._process("work", self._folder / "worker", environ)

    def _process(self, verb: str, folder: Path, environ: Mapping[str, str]) -> ServiceProcess:
        shared = {
            "FAL_CONSUMER_LOG_URL": f"kafka://{self.cluster.servers}",
            "FAL_CONSUMER_KAFKA_SINGLE_BROKER": str(self._plan.brokers == 1).lower(),
            "FAL_CONSUMER_ACCOUNTS": self.account,
            "FAL_CONSUMER_JWKS_URL": self.simulator.jwks_url,
            "FAL_CONSUMER_TOKEN_SECRETS_FILE": str(self._secrets),
            "FAL_CONSUMER_LOG_RESERVE_BYTES": "0",
        }
        process = ServiceProcess(
            folder,
            {**shared, **environ, **self._plan.environ},
            (verb,),
            log_file=self._folder / f"{verb}-{len(self.processes)}.log",
        )
        self.processes.append(process)
        return process

    # ------------------------------------------------------------ Kafka

    async def start(self) -> None:
        """Start the receiver and the workers, and return once all of them answer."""
        if self._plan.ledger_url:
            await migrate_ledger(self.settings)
        async with asyncio.TaskGroup() as tasks:
            for process in (self.receiver, *self.workers):
                tasks.create_task(process.start())

    async def stop(self) -> None:
        """Stop the receiver, then the workers; AssertionError unless each ends with 0."""
        for process in (self.receiver, *self.workers):
            assert await process.stop() == 0, process.last_words()

    async def make_topics(self) -> None:
        """Make the topics, as `fal-consumer topics create` does."""
        needs = topic_needs(kafka_place(self.settings), max_body_bytes=self.settings.max_body_bytes)
        async with open_administration(kafka_place(self.settings)) as administration:
            refused = await administration.create(
                needs, partitions=self._plan.partitions, dry_run=False
            )
            assert not refused, refused
            await administration.wait_for([one.name for one in needs])

    async def is_in_sync(self) -> bool:
        """Tell whether every partition has its leader and all its replicas."""
        for _ in range(_AGREEING):  # one that was just away tells what it knew before
            if not await self._are_topics_fine():
                return False
        return True

    async def _are_topics_fine(self) -> bool:
        place = kafka_place(self.settings)
        needs = topic_needs(place, max_body_bytes=self.settings.max_body_bytes)
        try:
            async with open_administration(place) as administration:
                states = await administration.states(needs)
        except LogUnavailable:
            return False
        await asyncio.sleep(_LOOK_EVERY_S)
        return all(state.verdict == "ok" for state in states)

    @asynccontextmanager
    async def log(self) -> AsyncIterator[Log]:
        """Open the log as a command does."""
        async with open_kafka_log(self.settings, utc_now) as log:
            yield log

    # ------------------------------------------------------------ the spool

    async def is_drained(self) -> bool:
        """Tell whether no record waits in the spool."""
        return not await self.spooled()

    async def spooled(self) -> int:
        """Return how many records wait in the spools of the receiver's folder."""
        return await asyncio.to_thread(_waiting, self.receiver.folder / "spool")

    def stray_lines(self) -> list[str]:
        """Return what the processes wrote besides log lines and what a start says."""
        return [
            line
            for path in sorted(self._folder.glob("*-*.log"))
            for line in path.read_text(encoding="utf-8", errors="replace").splitlines()
            if not line.startswith(_EXPECTED_LINES)
        ]

    def told(self, event: str) -> Iterator[dict[str, Any]]:
        """Give the lines of this event from the logs of all receivers, all starts."""
        for path in sorted(self._folder.glob("receive-*.log")):
            with path.open(encoding="utf-8", errors="replace") as lines:
                for line in lines:
                    if event in line and line.startswith("{"):
                        yield json.loads(line)


def _waiting(spools: Path) -> int:
    return sum(count_waiting(place.waiting, _DRAIN).total for place in list_places(spools))


@asynccontextmanager
async def open_stage(folder: Path, plan: Plan) -> AsyncIterator[KafkaStage]:
    """Start brokers and stand-in, make the topics; whatever was started is killed at the end."""
    # Each try to reach a broker that was killed would be a line.
    logging.getLogger("aiokafka").addHandler(logging.NullHandler())
    async with AsyncExitStack() as stack:
        cluster = await stack.enter_async_context(
            open_kafka(folder / "kafka", brokers=plan.brokers)
        )
        await cluster.wait_ready()
        simulator = await stack.enter_async_context(Simulator(plan.simulator))
        stage = KafkaStage(folder, plan, cluster, simulator)
        await stage.make_topics()
        try:
            yield stage
        finally:
            for process in stage.processes:
                if process.starts:
                    await process.kill()


@contextmanager
def small_disk(place: Path, mib: int) -> Iterator[bool]:
    """Mount a file system of that size; gives False where this user may not."""
    place.mkdir(parents=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={mib}m", "tmpfs", str(place)]
    is_mounted = bool(which("mount")) and (
        run(command, capture_output=True, check=False).returncode == 0
    )
    try:
        yield is_mounted
    finally:
        if is_mounted:
            run(["umount", "-l", str(place)], check=True)


async def until(is_so: Callable[[], Awaitable[bool]], *, within_s: float) -> None:
    """Return once it is so, asked again and again. Raises TimeoutError."""
    async with asyncio.timeout(within_s):
        while not await is_so():  # noqa: ASYNC110  other processes make it so
            await asyncio.sleep(_LOOK_EVERY_S)


class Timeline:
    """Says on standard error what happened when."""

    def __init__(self) -> None:
        self._began = time.monotonic()

    @property
    def now_s(self) -> float:
        """Seconds since the beginning."""
        return time.monotonic() - self._began

    def __call__(self, said: str) -> None:
        """Print a line."""
        print(f"{self.now_s:7.1f} s  {said}", file=sys.stderr, flush=True)
