"""The topics of the settings' Kafka: looked at, made, and who may use them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from consumer.app.cluster import kafka_place
from consumer.errors import ConfigError
from consumer.log.kafka.acls import (
    Acl,
    Part,
    User,
    acls_for,
    guarded_names,
    lines_for,
    rights_finding,
    writers_finding,
)
from consumer.log.kafka.administration import Administration, Refusal, open_administration
from consumer.log.kafka.place import KafkaPlace
from consumer.log.kafka.topics import (
    PARTITIONS,
    REPLICATION,
    Finding,
    TopicNeeds,
    TopicState,
    request_bytes,
    topic_needs,
)
from consumer.settings import Role, Settings, env_name

_REQUEST_BYTES = "socket.request.max.bytes"
_PARTS: Mapping[Role, Sequence[Part]] = {
    Role.SERVE: (Part.RECEIVER, Part.WORKER),
    Role.RECEIVE: (Part.RECEIVER,),
    Role.WORK: (Part.WORKER,),
}

Did = Literal["made", "would make", "changed", "would change", "as needed", "left", "refused"]


@dataclass(frozen=True, slots=True)
class ClusterLook:
    """What stands on a Kafka: its topics, and what else was found, each under a name."""

    servers: Sequence[str]
    brokers: int
    topics: Sequence[TopicState]
    findings: Sequence[tuple[str, Finding]]

    @property
    def is_as_needed(self) -> bool:
        """Tell whether nothing failed; warnings are allowed."""
        told = [state.verdict for state in self.topics]
        told += [finding.verdict for _, finding in self.findings]
        return "failed" not in told


@dataclass(frozen=True, slots=True)
class MakeOrder:
    """How topics are to be made. `fix` mends configuration that is not as needed."""

    partitions: int = PARTITIONS
    replication: int | None = None
    fix: bool = False
    dry_run: bool = False


@dataclass(frozen=True, slots=True)
class Step:
    """What was done about one topic, and what is left to do or was refused."""

    name: str
    did: Did
    text: str = ""

    @property
    def is_fine(self) -> bool:
        """Tell whether the topic is now as needed, or would be."""
        return self.did not in ("left", "refused")


async def look_at_topics(settings: Settings, role: Role | None = None) -> ClusterLook:
    """
    Return how the topics stand, and whether this user may do what the role does.

    Without a role it is enough to be a receiver or a worker. Writes nothing. Raises
    LogUnavailable and ConfigError.
    """
    place = _place(settings)
    needs = topic_needs(place, max_body_bytes=settings.max_body_bytes)
    async with open_administration(place) as administration:
        states = await administration.states(needs)
        answering = await administration.answering()
        findings = [_of_brokers(place, administration.brokers, len(answering), states)]
        for broker in answering:
            findings += await _of_requests(administration, broker, settings.max_body_bytes)
        if all(state.found for state in states):
            parts = _PARTS[role] if role else ()
            findings.append(("rights", rights_finding(states, parts)))
            writers = await administration.writers(guarded_names(states))
            findings.append(("writers", writers_finding(writers)))
        return ClusterLook(place.servers, administration.brokers, states, findings)


async def make_topics(settings: Settings, order: MakeOrder) -> Sequence[Step]:
    """
    Make the topics that are missing and, if asked to, mend the configuration of others.

    Nothing is made smaller and nothing is deleted; twice is harmless. Raises LogUnavailable
    and ConfigError.
    """
    place = _place(settings)
    _refuse_few_copies(place, order)
    needs = topic_needs(place, max_body_bytes=settings.max_body_bytes)
    async with open_administration(place) as administration:
        states = await administration.states(needs)
        steps = await _made(administration, states, order)
        steps |= {
            state.needs.name: await _mended(administration, state, order)
            for state in states
            if state.needs.name not in steps
        }
        return [steps[one.name] for one in needs]


def topic_acls(settings: Settings, users: Sequence[User]) -> tuple[Sequence[Acl], Sequence[str]]:
    """Return the rights that these users need, and the commands that grant them."""
    place = _place(settings)
    acls = acls_for(place, users)
    return acls, lines_for(place, acls)


def _place(settings: Settings) -> KafkaPlace:
    if settings.is_embedded:
        mistake = f"{env_name('log_url')}: embedded:, which has no topics to make; give kafka://…"
        raise ConfigError([mistake])
    return kafka_place(settings)


def _refuse_few_copies(place: KafkaPlace, order: MakeOrder) -> None:
    if order.replication is not None and order.replication < REPLICATION:
        if place.is_single_broker:
            return
        name = env_name("kafka_single_broker")
        mistake = f"--replication {order.replication}: fewer than {REPLICATION} only with {name}"
        raise ConfigError([mistake])


def _of_brokers(
    place: KafkaPlace, known: int, answering: int, states: Sequence[TopicState]
) -> tuple[str, Finding]:
    name = env_name("kafka_single_broker")
    text = f"{answering} of {known} answer, by way of {', '.join(place.servers)}"
    if answering < known:
        return "brokers", Finding(
            "failed", f"{text}: start those that are down, or let us reach them"
        )
    if place.is_single_broker and known < REPLICATION:
        return "brokers", Finding("ok", f"{text}; one copy of each record ({name})")
    if place.is_single_broker:
        return "brokers", Finding("warning", f"{text}: enough for three copies, unset {name}")
    if known >= REPLICATION:
        return "brokers", Finding("ok", text)
    if all(state.found and state.found.replication >= REPLICATION for state in states):
        return "brokers", Finding("warning", f"{text}: fewer than copies, so some are down")
    text += f": {REPLICATION} copies need as many brokers; on a single one set {name}"
    return "brokers", Finding("failed", text)


async def _of_requests(
    administration: Administration, broker: int, max_body_bytes: int
) -> list[tuple[str, Finding]]:
    """Return what stands in the way of a request with our largest record, where it can be seen."""
    told = await administration.maybe_broker_config(broker, _REQUEST_BYTES)
    needed = request_bytes(max_body_bytes)
    if told is None or not told.isdigit() or int(told) >= needed:
        return []
    text = f"{_REQUEST_BYTES} {told}, needs {needed}: raise it there"
    return [(f"broker {broker}", Finding("failed", text))]


async def _made(
    administration: Administration, states: Sequence[TopicState], order: MakeOrder
) -> dict[str, Step]:
    missing = [
        replace(state.needs, replication=order.replication or state.needs.replication)
        for state in states
        if state.is_missing
    ]
    refused = {
        one.topic: one.problem
        for one in await administration.create(
            missing, partitions=order.partitions, dry_run=order.dry_run
        )
    }
    made = [one.name for one in missing if one.name not in refused]
    if made and not order.dry_run:
        await administration.wait_for(made)
    advice = _advice(missing, administration.brokers)
    steps = {name: Step(name, "refused", why + advice) for name, why in refused.items()}
    return steps | {name: Step(name, "would make" if order.dry_run else "made") for name in made}


def _advice(missing: Sequence[TopicNeeds], brokers: int) -> str:
    if any(one.replication > brokers for one in missing):
        return f" Start more brokers, or set {env_name('kafka_single_broker')}."
    return ""


async def _mended(administration: Administration, state: TopicState, order: MakeOrder) -> Step:
    name, fixes = state.needs.name, state.fixes
    others = [one.text for one in state.findings if one.verdict == "failed" and not one.fix]
    told = "; ".join(f"{key} {value}" for key, value in fixes.items())
    if fixes and not order.fix:
        return Step(name, "left", "; ".join([f"--fix would set {told}", *others]))
    refused: Sequence[Refusal] = ()
    if fixes:
        refused = await administration.set_configs(name, fixes, dry_run=order.dry_run)
    if refused:
        return Step(name, "refused", "; ".join(one.problem for one in refused))
    if others:
        return Step(name, "left", "; ".join(others))
    if fixes:
        return Step(name, "would change" if order.dry_run else "changed", told)
    return Step(name, "as needed")
