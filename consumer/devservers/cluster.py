"""
A Kafka cluster on loopback: one broker or several, started, and ended for sure.
"""

import asyncio
import signal
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiokafka.helpers import create_ssl_context

from consumer.devservers.admin import Right, make_topic, permit
from consumer.devservers.broker import Broker
from consumer.devservers.certificates import Certificates, make_certificates
from consumer.devservers.child import ServerNotStarted
from consumer.devservers.formatting import format_folders
from consumer.devservers.java import classpath, java
from consumer.devservers.ports import free_ports
from consumer.devservers.properties import Plan, Seat, properties

ADMIN = "admin"
JVM = (
    "-Xms64m",
    "-Xmx384m",
    "-XX:+UseSerialGC",
    # The quick compiler alone: less work at the start, and no fewer records a second were seen.
    "-XX:TieredStopAtLevel=1",
    "-XX:ActiveProcessorCount=2",
    "-XX:-UsePerfData",
    "-XX:+ExitOnOutOfMemoryError",
    "-Djava.io.tmpdir=.",  # a killed process leaves its native libraries there: its own folder
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=HH:mm:ss.SSS",
)


class KafkaCluster:
    """A running cluster: where it listens, how to log in, and its brokers to kill and start."""

    def __init__(self, plan: Plan, brokers: Sequence[Broker]) -> None:
        self._plan = plan
        self.brokers = list(brokers)

    @property
    def servers(self) -> str:
        """Where clients reach the cluster: `127.0.0.1:port,127.0.0.1:port`."""
        return ",".join(broker.server for broker in self.brokers)

    @property
    def certificates(self) -> Certificates | None:
        """The throw-away authority of a cluster with TLS; it makes client certificates too."""
        return self._plan.certificates

    def client_options(self, user: str = ADMIN, mechanism: str = "PLAIN") -> dict[str, Any]:
        """
        Return the arguments that any aiokafka client takes to reach the cluster as that user.

        `mechanism` is PLAIN or SCRAM-SHA-256. Without users the name is a certificate's.
        """
        return {"bootstrap_servers": self.servers, **_login(self._plan, user, mechanism)}

    async def wait_ready(self) -> None:
        """
        Return once every running broker answers, and knows as many as run.

        Raises `ServerNotStarted` with the log of the first that does not.
        """
        running = [broker for broker in self.brokers if broker.is_running]
        try:
            async with asyncio.TaskGroup() as group:
                for broker in running:
                    group.create_task(broker.wait_ready(among=len(running)))
        except* ServerNotStarted as failed:
            raise failed.exceptions[0] from None

    async def make_topic(
        self, name: str, *, partitions: int = 1, config: Mapping[str, str] | None = None
    ) -> None:
        """Make a topic, kept as often as the cluster keeps topics. Raises aiokafka's errors."""
        await make_topic(self.client_options(), name, partitions=partitions, config=config)

    async def grant(self, user: str, *rights: Right) -> None:
        """Let a user do what the rights name; the brokers obey when this returns, or soon."""
        await permit(self.client_options(), user, rights)

    async def revoke(self, user: str, *rights: Right) -> None:
        """Take back what `grant` gave."""
        await permit(self.client_options(), user, rights, take_back=True)


@asynccontextmanager
async def open_kafka(
    folder: Path,
    *,
    brokers: int = 1,
    config: Mapping[str, str] | None = None,
    users: Mapping[str, str] | None = None,
    tls: bool = False,
) -> AsyncIterator[KafkaCluster]:
    """
    Run Apache Kafka in that folder, on free ports of 127.0.0.1, until the end of the block.

    `config` is added to every broker's server.properties. With `users` (name to password;
    `admin` may do all, the others nothing until told) clients log in with PLAIN or
    SCRAM-SHA-256. With `tls` the listener speaks TLS, and asks for a client certificate
    where there are no users. The processes are killed at the end, and die with this process.
    Raises `ConfigError` where the extra `dev` is missing, `ServerNotStarted` with the log.
    """
    jars = await asyncio.to_thread(classpath)
    certificates = make_certificates(folder / "tls") if tls else None
    plan = Plan(_seats(folder, brokers), config or {}, users, certificates)
    login = _login(plan, ADMIN, "PLAIN")
    made = [Broker(seat, _command(jars, seat, plan), login) for seat in plan.seats]
    await format_folders(jars, plan)
    cluster = KafkaCluster(plan, made)
    try:
        for broker in made:
            await broker.start()
        await cluster.wait_ready()
        yield cluster
    finally:
        for broker in made:  # all get it, even if the wait below is cancelled
            broker.send(signal.SIGKILL)
        for broker in made:
            await broker.wait_ended()


def _seats(folder: Path, brokers: int) -> list[Seat]:
    ports = free_ports(2 * brokers)
    seats = [
        Seat(node, ports[2 * node - 2], ports[2 * node - 1], folder.resolve() / f"broker-{node}")
        for node in range(1, brokers + 1)
    ]
    for seat in seats:
        seat.folder.mkdir(parents=True, exist_ok=True)
    return seats


def _command(jars: str, seat: Seat, plan: Plan) -> list[str]:
    """Write the broker's configuration; return the command that runs it."""
    seat.properties_file.touch(mode=0o600)
    seat.properties_file.write_text(properties(plan, seat))
    return [str(java()), *JVM, "-cp", jars, "kafka.Kafka", str(seat.properties_file)]


def _login(plan: Plan, user: str, mechanism: str) -> dict[str, Any]:
    options: dict[str, Any] = {"security_protocol": plan.protocol}
    if plan.users is not None:
        options["sasl_mechanism"] = mechanism
        options["sasl_plain_username"] = user
        options["sasl_plain_password"] = plan.users[user]
    if plan.certificates is not None:
        client = plan.certificates.client(user)
        options["ssl_context"] = create_ssl_context(
            cafile=str(plan.certificates.authority),
            certfile=str(client.certificate),
            keyfile=str(client.key),
        )
    return options
