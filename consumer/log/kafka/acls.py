"""
Who may do what on our topics: the table, the lines that grant it, and whether it holds.

Unsigned events rest on these rights: only the receiver and the worker may write topics
other than the commands. Pure; asking the brokers is `administration`.
"""

import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from itertools import groupby

from consumer.core.event import Topic
from consumer.log.kafka.place import KafkaPlace, group_name, topic_name
from consumer.log.kafka.topics import Finding, TopicState


class Part(StrEnum):
    """Who uses the topics. An operator makes them, and puts dead letters back by hand."""

    RECEIVER = "receiver"
    WORKER = "worker"
    SUBMITTER = "submitter"
    READER = "reader"
    OPERATOR = "operator"


_SEES = ("DescribeConfigs",)
_WRITES = ("Write", *_SEES)
_ALL = ("Read", "Write", "Create", "Alter", "AlterConfigs", *_SEES)

RIGHTS: Mapping[Part, Mapping[Topic, Sequence[str]]] = {
    Part.RECEIVER: {
        Topic.COMPLETIONS: _WRITES,
        Topic.LIFECYCLE: _WRITES,
        Topic.DEAD_LETTERS: _WRITES,
    },
    Part.WORKER: {
        Topic.COMPLETIONS: ("Read", *_WRITES),
        Topic.RESULTS: ("Read", *_WRITES),
        Topic.LIFECYCLE: ("Read", *_WRITES),
        Topic.COMMANDS: ("Read", *_SEES),
        Topic.DEAD_LETTERS: ("Read", *_WRITES),
    },
    Part.SUBMITTER: {Topic.COMMANDS: _WRITES},
    Part.READER: {Topic.RESULTS: ("Read",)},
    Part.OPERATOR: dict.fromkeys(Topic, _ALL),
}
"""What each part does with each topic. Read and Write hold Describe."""

WORKER_GROUPS = ("fetch", "record", "commands")
"""The groups in which a worker reads, one for each handler."""

_SERVICE = (Part.RECEIVER, Part.WORKER)


@dataclass(frozen=True, slots=True)
class Acl:
    """One right: this principal may do this with this resource, from any host."""

    principal: str
    operation: str
    resource_type: str
    resource_name: str
    pattern_type: str = "literal"
    permission: str = "allow"
    host: str = "*"


@dataclass(frozen=True, slots=True)
class User:
    """A Kafka user in its part. `group` is a reader's own, without prefix; its name if empty."""

    part: Part
    name: str
    group: str = ""

    @property
    def principal(self) -> str:
        """The user as Kafka's ACLs name it: `User:worker`."""
        return self.name if self.name.startswith("User:") else f"User:{self.name}"


@dataclass(frozen=True, slots=True)
class Writers:
    """
    Who may write which topic. Not guarded: everybody may, for the brokers have no authorizer.

    Hidden: this user may not ask.
    """

    allowed: Mapping[str, frozenset[str]] = field(default_factory=dict)
    is_guarded: bool = True
    is_hidden: bool = False


def acls_for(place: KafkaPlace, users: Iterable[User]) -> Sequence[Acl]:
    """Return every right that these users need, by user, then topics, then groups."""
    return [acl for user in users for acl in _rights_of(place, user)]


def _rights_of(place: KafkaPlace, user: User) -> Iterator[Acl]:
    for topic, operations in RIGHTS[user.part].items():
        for operation in operations:
            yield Acl(user.principal, operation, "topic", topic_name(place, topic))
    for group in _groups_of(user):
        yield Acl(user.principal, "Read", "group", group_name(place, group))
    if user.part is Part.OPERATOR:
        yield Acl(user.principal, "Describe", "cluster", "kafka-cluster")
        yield Acl(user.principal, "DescribeConfigs", "cluster", "kafka-cluster")


def _groups_of(user: User) -> Sequence[str]:
    match user.part:
        case Part.WORKER | Part.OPERATOR:
            return WORKER_GROUPS
        case Part.READER:
            return (user.group or user.name.removeprefix("User:"),)
        case _:
            return ()


def lines_for(place: KafkaPlace, acls: Sequence[Acl]) -> Sequence[str]:
    """Return the calls of `kafka-acls.sh` that grant these rights, for any POSIX shell."""
    head = ["kafka-acls.sh", "--bootstrap-server", ",".join(place.servers)]
    head += ["--command-config", "admin.properties", "--add"]
    by_resource = [
        (acl.principal, acl.resource_type, acl.resource_name, tuple(group))
        for (acl, group) in _by_resource(acls)
    ]
    lines = []
    for (principal, kind, operations), rows in groupby(
        by_resource, key=lambda row: (row[0], row[1], row[3])
    ):
        words = [*head, "--allow-principal", principal]
        words += [word for operation in operations for word in ("--operation", operation)]
        if kind == "cluster":
            words.append("--cluster")
        else:
            words += [word for row in rows for word in (f"--{kind}", row[2])]
        lines.append(shlex.join(words))
    return lines


def _by_resource(acls: Sequence[Acl]) -> Iterator[tuple[Acl, list[str]]]:
    for _, group in groupby(
        acls, key=lambda one: (one.principal, one.resource_type, one.resource_name)
    ):
        rows = list(group)
        yield rows[0], [row.operation for row in rows]


def as_fields(acl: Acl) -> dict[str, str]:
    """Return a right as programs read it: flat text."""
    return asdict(acl)


# ---------------------------------------------------------------- whether it holds


def missing_rights(part: Part, states: Sequence[TopicState]) -> Sequence[str]:
    """Return what this user lacks to play a part, as `Write fal.results`."""
    held = {
        state.needs.topic: state.found.operations if state.found else frozenset[str]()
        for state in states
    }
    return [
        f"{operation} {state.needs.name}"
        for state in states
        for operation in RIGHTS[part].get(state.needs.topic, ())
        if operation not in held[state.needs.topic]
    ]


def rights_finding(states: Sequence[TopicState], parts: Sequence[Part] = ()) -> Finding:
    """
    Return whether this user may do what all these parts do.

    Without parts: whether it may do what a receiver or what a worker does; one is enough.
    """
    looked_at = parts or _SERVICE
    missing = {part: missing_rights(part, states) for part in looked_at}
    able = [part for part in looked_at if not missing[part]]
    lacks = "; ".join(
        f"for a {part} it lacks {', '.join(missing[part])}" for part in looked_at if missing[part]
    )
    can = f"this user may do what a {' and a '.join(able)} does"
    if not lacks:
        return Finding("ok", can)
    if able and not parts:
        return Finding("ok", f"{can}; {lacks}")
    return Finding("failed", f"{lacks}: see fal-consumer topics acls")


def writers_finding(writers: Writers) -> Finding:
    """Return whether only known users may write what nobody signs, as far as it can be seen."""
    if not writers.is_guarded:
        text = "the brokers have no authorizer: whoever reaches them can invent results"
        return Finding("warning", text)
    if writers.is_hidden:
        return Finding("ok", "this user may not see who else may write; ask with an operator's")
    open_to_all = [name for name, who in writers.allowed.items() if "User:*" in who]
    if open_to_all:
        return Finding("failed", f"everybody may write {', '.join(open_to_all)}: remove that ACL")
    unnamed = [name for name, who in writers.allowed.items() if not who]
    if unnamed:
        text = (
            f"no ACL says who may write {', '.join(unnamed)}: fine for super users only, open to "
            "all where the brokers set allow.everyone.if.no.acl.found"
        )
        return Finding("warning", text)
    names = sorted({who for allowed in writers.allowed.values() for who in allowed})
    return Finding("ok", f"besides super users only {', '.join(names)} may write them")


def guarded_names(states: Sequence[TopicState]) -> Sequence[str]:
    """Return the topics that only receiver and worker may write: all but the commands."""
    return [state.needs.name for state in states if state.needs.topic is not Topic.COMMANDS]
