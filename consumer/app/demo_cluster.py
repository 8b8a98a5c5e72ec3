"""
The demo on a cluster: real Kafka and PostgreSQL, a receiver, two workers, and accidents.

Every part is a process of its own with a folder of its own, started as an operator would;
the broker, the database and a worker are killed while the traffic comes, and everything
must add up all the same.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from pydantic import SecretStr

from consumer.app.cluster import open_kafka_log
from consumer.app.demo import ENDPOINTS, Demo, Progress, chosen_for, traffic
from consumer.app.reading import open_ledger
from consumer.app.topics import MakeOrder, make_topics
from consumer.app.upkeep import migrate_ledger
from consumer.app.values import utc_now
from consumer.core.standing import Request
from consumer.devservers import KafkaCluster, Postgres, open_kafka, open_postgres
from consumer.errors import LedgerUnavailable
from consumer.folder import DataFolder
from consumer.settings import Settings
from consumer.simulator import Simulator
from consumer.testing.rig import ServiceProcess, environ_of, free_port

_WORKERS = {
    "worker-1": "fetch,record,commands",
    "worker-2": "fetch,record,commands,sweeps",
}
# The first is the one that is killed. Rows that a killed sweep had leased are due again when
# the lease is over, after three minutes: nothing is lost, but nobody watches a demo so long.
_PARTITIONS = 6
_AT_ONCE = 3
_BROKER_AWAY_S = 4.0
_WORKER_AWAY_S = 3.0
_DATABASE_AWAY_S = 2.0
_LOOK_AGAIN_S = 0.1
# Long enough to be seen, and longer than any deadline of a send.


@dataclass(frozen=True)
class Parts:
    """The processes of the cluster, to be killed and started again."""

    kafka: KafkaCluster
    database: Postgres
    receiver: ServiceProcess
    workers: tuple[ServiceProcess, ...]


@dataclass(frozen=True, kw_only=True)
class ClusterDemo(Demo):
    """A demo on processes of its own; playing it kills some of them."""

    parts: Parts
    tell: Callable[[str], None]

    async def play(self) -> AsyncIterator[Progress]:
        """Play as the demo does, and let the accidents happen meanwhile, each one told."""
        known, all_known = asyncio.Event(), asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            accidents = tasks.create_task(self._accidents(known, all_known))
            async for progress in super().play():
                if progress.known >= self.total // 5:
                    known.set()
                if progress.known >= self.total:
                    all_known.set()
                yield progress
            await accidents

    async def requests(self) -> Sequence[Request]:
        """Return every request in the ledger, once its database answers."""
        while True:
            try:
                return await super().requests()
            except LedgerUnavailable:
                await asyncio.sleep(_LOOK_AGAIN_S)

    async def _accidents(self, known: asyncio.Event, all_known: asyncio.Event) -> None:
        (broker,) = self.parts.kafka.brokers
        victim = self.parts.workers[0]
        await known.wait()
        await broker.kill()
        self.tell("broker killed: the receiver answers 200 all the same, from its spool")
        await asyncio.sleep(_BROKER_AWAY_S)
        await broker.start()
        await broker.wait_ready()
        self.tell("broker back: the spool drains into Kafka")
        await self.parts.database.kill()
        self.tell("database killed: what it would record waits in Kafka")
        await asyncio.sleep(_DATABASE_AWAY_S)
        await self.parts.database.come_back()
        self.tell("database back: both workers go on where they stood")
        # Not while jobs are being sent: one killed between the call and its answer is known by
        # its webhook alone, and this traffic loses webhooks. It would stay open for a day.
        await all_known.wait()
        await victim.kill()
        self.tell("a worker killed: the other one takes over its partitions")
        await asyncio.sleep(_WORKER_AWAY_S)
        await victim.start()
        self.tell("the worker is back and shares the partitions again")


@asynccontextmanager
async def open_cluster_demo(
    folder: Path, *, total: int, seed: int, tell: Callable[[str], None]
) -> AsyncIterator[ClusterDemo]:
    """
    Start Kafka, PostgreSQL, a simulator, a receiver and two workers; `tell` hears the accidents.

    Raises ConfigError where a server cannot be started, with what is missing.
    """
    async with AsyncExitStack() as stack:
        kafka = await stack.enter_async_context(open_kafka(folder / "kafka"))
        database = await stack.enter_async_context(open_postgres())
        simulator = await stack.enter_async_context(Simulator(traffic(seed)))
        data = DataFolder(folder / "shared")
        data.make()
        port = free_port()
        chosen = chosen_for(simulator, data.path, port) | {
            "log_url": f"kafka://{kafka.servers}",
            "kafka_single_broker": True,
            "ledger_url": SecretStr(database.url()),
            "token_secrets_file": data.made_secret(data.token_secrets),
            "submit_endpoints": ENDPOINTS,
        }
        settings = Settings(**chosen)
        await make_topics(settings, MakeOrder(partitions=_PARTITIONS))
        await migrate_ledger(settings)
        environ = environ_of(chosen)
        receiver = ServiceProcess(folder / "receiver", environ, ("receive",), port=port)
        workers = tuple(
            ServiceProcess(folder / name, environ, ("work", "--handlers", parts))
            for name, parts in _WORKERS.items()
        )
        for process in (receiver, *workers):
            await stack.enter_async_context(process)
        log = await stack.enter_async_context(open_kafka_log(settings, utc_now))
        ledger = await stack.enter_async_context(open_ledger(settings))
        yield ClusterDemo(
            simulator,
            receiver.url,
            None,
            log,
            ledger,
            settings,
            total,
            _AT_ONCE,
            parts=Parts(kafka, database, receiver, workers),
            tell=tell,
        )
