"""
What a broker is told: the lines of its server.properties. PURE.

Sized for tests on a small machine: few threads, few partitions of Kafka's own topics.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from consumer.devservers.certificates import Certificates


@dataclass(frozen=True, slots=True)
class Seat:
    """A broker's place in the cluster: its number from 1, its two ports, its folder."""

    node: int
    port: int
    controller_port: int
    folder: Path

    @property
    def properties_file(self) -> Path:
        """The broker's server.properties, made from the plan before its first start."""
        return self.folder / "server.properties"


@dataclass(frozen=True, slots=True)
class Plan:
    """What all brokers of a cluster share. `users` maps names to passwords."""

    seats: Sequence[Seat]
    config: Mapping[str, str] = field(default_factory=dict)
    users: Mapping[str, str] | None = None
    certificates: Certificates | None = None

    @property
    def protocol(self) -> str:
        """The security protocol of the listener that clients use, in Kafka's words."""
        if self.users is not None:
            return "SASL_SSL" if self.certificates else "SASL_PLAINTEXT"
        return "SSL" if self.certificates else "PLAINTEXT"


SMALL = {
    "auto.create.topics.enable": "false",
    "num.network.threads": "2",
    "num.io.threads": "4",
    "background.threads": "2",
    "num.recovery.threads.per.data.dir": "1",
    "log.cleaner.dedupe.buffer.size": "16777216",
    "offsets.topic.num.partitions": "4",
    "transaction.state.log.num.partitions": "2",
    "share.coordinator.state.topic.num.partitions": "2",
    "group.initial.rebalance.delay.ms": "0",
    "group.min.session.timeout.ms": "1000",
    # A dead broker is noticed after 2 s, not 9; one that comes back waits as long.
    "broker.session.timeout.ms": "2000",
    "broker.heartbeat.interval.ms": "200",
}


def properties(plan: Plan, seat: Seat) -> str:
    """Return the text of the server.properties of one broker."""
    values = {
        **_roles(plan, seat),
        **SMALL,
        **_factors(len(plan.seats)),
        **_access(plan),
        **_tls(plan),
        **plan.config,
    }
    return "".join(f"{key}={_escaped(value)}\n" for key, value in values.items())


def _escaped(value: str) -> str:
    """Return a value as Java's properties format takes it, on one line."""
    return value.replace("\\", "\\\\").replace("\n", "\\n")


def _roles(plan: Plan, seat: Seat) -> dict[str, str]:
    voters = [f"{one.node}@127.0.0.1:{one.controller_port}" for one in plan.seats]
    client = f"{plan.protocol}://127.0.0.1:{seat.port}"
    return {
        "process.roles": "broker,controller",
        "node.id": str(seat.node),
        "controller.quorum.voters": ",".join(voters),
        "listeners": f"{client},CONTROLLER://127.0.0.1:{seat.controller_port}",
        "advertised.listeners": client,
        "inter.broker.listener.name": plan.protocol,
        "controller.listener.names": "CONTROLLER",
        "listener.security.protocol.map": f"{plan.protocol}:{plan.protocol},CONTROLLER:PLAINTEXT",
        "log.dirs": str(seat.folder / "kafka"),
    }


def _factors(brokers: int) -> dict[str, str]:
    """Return how often records are kept: on every broker up to three, one may be missing."""
    copies, needed = str(min(brokers, 3)), str(max(1, min(brokers, 3) - 1))
    return {
        "default.replication.factor": copies,
        "min.insync.replicas": needed,
        "offsets.topic.replication.factor": copies,
        "transaction.state.log.replication.factor": copies,
        "transaction.state.log.min.isr": needed,
        "share.coordinator.state.topic.replication.factor": copies,
        "share.coordinator.state.topic.min.isr": needed,
    }


def _access(plan: Plan) -> dict[str, str]:
    """Return the lines that ask for a name and a password, and judge what each may do."""
    if plan.users is None:
        return {}
    if "admin" not in plan.users:
        raise ValueError("users must hold `admin`: the brokers log in to one another as admin")
    login = "org.apache.kafka.common.security.{}LoginModule required"
    quoted = {name: _quoted(password) for name, password in plan.users.items()}
    plain = " ".join(f"user_{name}={password}" for name, password in quoted.items())
    listener = f"listener.name.{plan.protocol.lower()}"
    return {
        "sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-256",
        "sasl.mechanism.inter.broker.protocol": "PLAIN",
        f"{listener}.plain.sasl.jaas.config": (
            f"{login.format('plain.Plain')} username=admin password={quoted['admin']} {plain};"
        ),
        f"{listener}.scram-sha-256.sasl.jaas.config": f"{login.format('scram.Scram')};",
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        # The controllers talk over a listener without names, among themselves.
        "super.users": "User:admin;User:ANONYMOUS",
    }


def _quoted(text: str) -> str:
    """Return text as a quoted word of a JAAS line."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _tls(plan: Plan) -> dict[str, str]:
    if plan.certificates is None:
        return {}
    server = plan.certificates.server
    return {
        "ssl.keystore.type": "PEM",
        "ssl.keystore.certificate.chain": server.certificate.read_text(),
        "ssl.keystore.key": server.key.read_text(),
        "ssl.truststore.type": "PEM",
        "ssl.truststore.certificates": plan.certificates.authority.read_text(),
        "ssl.client.auth": "required" if plan.users is None else "requested",
    }
