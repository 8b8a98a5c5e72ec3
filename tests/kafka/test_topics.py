"""Topics on Kafka: what they need, what they have, how they are made; who may use them."""

import asyncio
import re
import shlex
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.errors import TopicAuthorizationFailedError
from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)

from consumer.core.event import Topic
from consumer.core.result import MAX_OUTPUT_BYTES
from consumer.devservers import open_kafka
from consumer.errors import LogUnavailable
from consumer.handlers.commands import Commands
from consumer.handlers.fetch import Fetch
from consumer.handlers.record import RecordEvents
from consumer.log.kafka.acls import (
    RIGHTS,
    WORKER_GROUPS,
    Part,
    User,
    Writers,
    acls_for,
    guarded_names,
    lines_for,
    missing_rights,
    rights_finding,
    writers_finding,
)
from consumer.log.kafka.administration import open_administration
from consumer.log.kafka.place import KafkaPlace, Security
from consumer.log.kafka.topics import TopicFound, judged, record_bytes, request_bytes, topic_needs

MIB = 1024 * 1024
PLACE = KafkaPlace(("127.0.0.1:9092",))
NEEDS = topic_needs(PLACE, max_body_bytes=10 * MIB)
RESULTS = next(one for one in NEEDS if one.topic is Topic.RESULTS)
ALL = frozenset({"Read", "Write", "Describe", "DescribeConfigs"})
GOOD = TopicFound(
    RESULTS.name,
    12,
    3,
    configs={**RESULTS.configs, "compression.type": "producer", "retention.bytes": "-1"},
    operations=ALL,
)


def with_configs(**configs: str) -> TopicFound:
    changed = {name.replace("_", "."): value for name, value in configs.items()}
    return replace(GOOD, configs={**GOOD.configs, **changed})


def said(found: TopicFound | None, **more: bool) -> list[tuple[str, str]]:
    """Return what is found wrong: the verdict, and the first words of the sentence."""
    findings = judged(RESULTS, found, **more).findings
    return [(one.verdict, re.split(r"[:,]", one.text)[0]) for one in findings]


# ---------------------------------------------------------------- what they need


def test_each_topic_is_kept_long_enough_in_three_copies():
    """Each topic has three copies, two of which confirm; 30 days, commands 7; no compaction."""
    assert [(f"fal.{topic}", 3, 2) for topic in Topic] == [
        (one.name, one.replication, one.min_in_sync) for one in NEEDS
    ]
    assert {Topic.COMMANDS: timedelta(days=7)} == {
        one.topic: one.retention for one in NEEDS if one.retention != timedelta(days=30)
    }
    assert {"delete"} == {one.configs["cleanup.policy"] for one in NEEDS}


def test_a_single_broker_needs_one_copy():
    """Where the operator says that one broker is all there is, one copy is enough."""
    needs = topic_needs(replace(PLACE, is_single_broker=True), max_body_bytes=MIB)

    assert {(1, 1)} == {(one.replication, one.min_in_sync) for one in needs}


@pytest.mark.parametrize("max_body_bytes", [1024, 10 * MIB, 64 * MIB])
def test_every_record_fits_its_topic(max_body_bytes):
    """A body, an output of 10 MiB, and either as a dead letter fit, with what is around them."""
    sizes = {topic: record_bytes(topic, max_body_bytes=max_body_bytes) for topic in Topic}
    around = MIB // 2

    assert sizes[Topic.COMPLETIONS] > max(max_body_bytes, MAX_OUTPUT_BYTES) + around
    assert sizes[Topic.COMMANDS] > max_body_bytes + around
    assert sizes[Topic.RESULTS] > MAX_OUTPUT_BYTES + around
    others = max(size for topic, size in sizes.items() if topic is not Topic.DEAD_LETTERS)
    assert sizes[Topic.DEAD_LETTERS] > others + around
    assert request_bytes(max_body_bytes) > sizes[Topic.DEAD_LETTERS]


# ---------------------------------------------------------------- what they have


def test_a_topic_as_needed_is_ok():
    """A topic that has what it needs, or more, has no findings."""
    roomy = with_configs(retention_ms="-1", max_message_bytes="99999999", compression_type="gzip")

    assert ["ok", "ok"] == [judged(RESULTS, one).verdict for one in (GOOD, roomy)]


@pytest.mark.parametrize(
    "found, expected",
    [
        (None, [("failed", "is not there")]),
        (replace(GOOD, replication=1), [("failed", "replication 1")]),
        (replace(GOOD, leaderless=2), [("failed", "2 of 12 partitions have no leader")]),
        (replace(GOOD, out_of_sync=1), [("warning", "1 of 12 partitions lack a replica in sync")]),
        (replace(GOOD, configs=None), [("warning", "its configuration is hidden")]),
        (with_configs(retention_ms="1000"), [("failed", "retention.ms 1000")]),
        (with_configs(max_message_bytes="1048588"), [("failed", "max.message.bytes 1048588")]),
        (with_configs(min_insync_replicas="1"), [("failed", "min.insync.replicas 1")]),
        (with_configs(min_insync_replicas="3"), [("warning", "min.insync.replicas 3 of 3")]),
        (with_configs(cleanup_policy="compact"), [("failed", "cleanup.policy compact")]),
        (
            with_configs(unclean_leader_election_enable="true"),
            [("failed", "unclean.leader.election.enable true")],
        ),
        (with_configs(compression_type="zstd"), [("failed", "compression.type zstd")]),
        (with_configs(retention_bytes="5"), [("warning", "retention.bytes 5")]),
    ],
)
def test_what_is_not_as_needed_is_told(found, expected):
    """Each thing that would lose, refuse or hide records is one finding of its own."""
    assert expected == said(found)


def test_a_hidden_topic_is_not_a_missing_one():
    """A topic that this user may not see is told apart, for it must not be made again."""
    state = judged(RESULTS, None, is_hidden=True)

    assert (False, "failed") == (state.is_missing, state.verdict)
    assert "grant Describe" in state.text


def test_no_fix_asks_for_more_copies_than_there_are():
    """With too few replicas nothing is set that would stop every write."""
    lonely = replace(with_configs(min_insync_replicas="1", retention_ms="5"), replication=1)

    assert ["retention.ms"] == list(judged(RESULTS, lonely).fixes)


# ---------------------------------------------------------------- who may use them


def test_only_receiver_and_worker_write_what_nobody_signs():
    """Beside the operator, nobody else may write any topic but the commands."""
    writers = {
        (part, topic)
        for part, rights in RIGHTS.items()
        for topic, operations in rights.items()
        if "Write" in operations and part is not Part.OPERATOR
    }

    assert {part for part, topic in writers if topic is not Topic.COMMANDS} == {
        Part.RECEIVER,
        Part.WORKER,
    }
    assert {Part.SUBMITTER} == {part for part, topic in writers if topic is Topic.COMMANDS}


def test_a_worker_may_read_what_its_handlers_read():
    """The worker's groups and topics are those of the handlers."""
    handlers = (Fetch, RecordEvents, Commands)
    reads = {topic for topic, rights in RIGHTS[Part.WORKER].items() if "Read" in rights}

    assert {handler.name for handler in handlers} == set(WORKER_GROUPS)
    assert {topic for handler in handlers for topic in handler.topics} <= reads


def test_groups_are_named_with_the_prefix_and_literally():
    """A reader's group is its own: no pattern lets it into a worker's."""
    users = [User(Part.WORKER, "jobs"), User(Part.READER, "shop"), User(Part.READER, "b", "bills")]
    acls = [acl for acl in acls_for(PLACE, users) if acl.resource_type == "group"]

    assert {"literal"} == {acl.pattern_type for acl in acls}
    assert [
        ("User:jobs", "fal.fetch"),
        ("User:jobs", "fal.record"),
        ("User:jobs", "fal.commands"),
        ("User:shop", "fal.shop"),
        ("User:b", "fal.bills"),
    ] == [(acl.principal, acl.resource_name) for acl in acls]


def test_lines_grant_exactly_the_rights():
    """The printed commands name each right once, and any user name survives the shell."""
    users = [User(part, "CN=a b,OU=$x") for part in Part]
    acls = acls_for(PLACE, users)

    granted = set()
    for line in lines_for(PLACE, acls):
        words = shlex.split(line)
        pairs = list(pairwise(words))
        operations = [value for word, value in pairs if word == "--operation"]
        named = [(word, value) for word, value in pairs if word in ("--topic", "--group")]
        named += [("--cluster", "kafka-cluster")] if "--cluster" in words else []
        (principal,) = (value for word, value in pairs if word == "--allow-principal")
        granted |= {(principal, op, kind[2:], name) for op in operations for kind, name in named}

    assert granted == {
        (acl.principal, acl.operation, acl.resource_type, acl.resource_name) for acl in acls
    }


def rights_of(*parts: Part) -> list:
    """Return the topics as a user with the rights of these parts sees them."""
    held = {
        topic: frozenset(right for part in parts for right in RIGHTS[part].get(topic, ()))
        for topic in Topic
    }
    return [judged(one, replace(GOOD, name=one.name, operations=held[one.topic])) for one in NEEDS]


def test_a_user_is_judged_by_the_part_it_plays():
    """A receiver's user is enough for a receiver, and what it lacks for a worker is named."""
    receiver = rights_of(Part.RECEIVER)

    assert "ok" == rights_finding(receiver, [Part.RECEIVER]).verdict
    assert "ok" == rights_finding(receiver).verdict
    assert "failed" == rights_finding(receiver, [Part.RECEIVER, Part.WORKER]).verdict
    assert "Write fal.results" in missing_rights(Part.WORKER, receiver)
    assert "failed" == rights_finding(rights_of(Part.READER)).verdict


@pytest.mark.parametrize(
    "writers, verdict",
    [
        (Writers(is_guarded=False), "warning"),
        (Writers(is_hidden=True), "ok"),
        (Writers({"fal.results": frozenset({"User:jobs"})}), "ok"),
        (Writers({"fal.results": frozenset({"User:*", "User:jobs"})}), "failed"),
        (Writers({"fal.results": frozenset()}), "warning"),
    ],
)
def test_who_else_may_write_is_told(writers, verdict):
    """Results that everybody may write are a failure; brokers without authorizer a warning."""
    assert verdict == writers_finding(writers).verdict


# ---------------------------------------------------------------- on a real Kafka


@pytest.fixture
def place(kafka, topic_prefix) -> KafkaPlace:
    return KafkaPlace((kafka.servers,), topic_prefix, is_single_broker=True)


async def test_topics_are_made_as_needed_and_stay(place):
    """What is made has what it needs, on every broker; making it again changes nothing."""
    needs = topic_needs(place, max_body_bytes=10 * MIB)
    async with open_administration(place) as administration:
        before = await administration.states(needs)
        assert [] == await administration.create(needs, partitions=3, dry_run=True)
        dry = await administration.states(needs)
        assert [] == await administration.create(needs, partitions=3, dry_run=False)
        await administration.wait_for([one.name for one in needs])
        assert [] == await administration.create(needs, partitions=3, dry_run=False)
        after = await administration.states(needs)

    assert ([True] * 5, [True] * 5) == (
        [state.is_missing for state in before],
        [state.is_missing for state in dry],
    )
    assert [("ok", 3)] * 5 == [(state.verdict, state.found.partitions) for state in after]


async def test_a_fix_changes_what_it_names_and_nothing_else(place):
    """Configuration that somebody set beside ours survives a fix."""
    (one, *_) = topic_needs(place, max_body_bytes=10 * MIB)
    async with open_administration(place) as administration:
        await administration.create([one], partitions=1, dry_run=False)
        await administration.wait_for([one.name])
        ours = {"max.message.bytes": "1000", "retention.bytes": "777", "cleanup.policy": "compact"}
        assert [] == await administration.set_configs(one.name, ours, dry_run=False)
        (spoilt,) = await administration.states([one])
        fixes = {name: value for name, value in spoilt.fixes.items() if name != "retention.bytes"}
        assert [] == await administration.set_configs(one.name, fixes, dry_run=True)
        (unchanged,) = await administration.states([one])
        assert [] == await administration.set_configs(one.name, fixes, dry_run=False)
        (fixed,) = await administration.states([one])

    assert ("failed", spoilt) == (spoilt.verdict, unchanged)
    assert ("warning", "777") == (fixed.verdict, fixed.found.configs["retention.bytes"])


async def test_what_the_brokers_refuse_is_told_with_their_reason(place):
    """More copies than brokers, or a value that is none, comes back as a sentence."""
    needs = [replace(topic_needs(place, max_body_bytes=MIB)[0], replication=7)]
    async with open_administration(place) as administration:
        (copies,) = await administration.create(needs, partitions=1, dry_run=True)
        (unknown,) = await administration.set_configs(
            needs[0].name, {"retention.ms": "soon"}, dry_run=True
        )

    assert copies.problem.startswith("InvalidReplicationFactor: ")
    assert needs[0].name == unknown.topic


async def test_a_kafka_that_is_not_there_is_told_by_address():
    """Nobody listening is LogUnavailable, with each server and the system's words."""
    place = KafkaPlace(("127.0.0.1:1", "localhost:1"))

    with pytest.raises(LogUnavailable) as told:
        async with open_administration(place):
            pass

    assert "127.0.0.1:1: Connection refused; localhost:1: " in told.value.problem


def login(cluster, user: str, password: str) -> KafkaPlace:
    security = Security("SASL_PLAINTEXT", "PLAIN", user, password)
    return KafkaPlace(tuple(cluster.servers.split(",")), security=security, is_single_broker=True)


async def grant(cluster, users: list[User]) -> None:
    """Give these users the rights that we print, as the cluster's admin."""
    kinds = {"topic": "TOPIC", "group": "GROUP", "cluster": "BROKER"}
    options = {"bootstrap.servers": cluster.servers, "security.protocol": "SASL_PLAINTEXT"}
    options |= {"sasl.mechanism": "PLAIN", "sasl.username": "admin", "sasl.password": "a"}
    bindings = [
        AclBinding(
            ResourceType[kinds[acl.resource_type]],
            acl.resource_name,
            ResourcePatternType[acl.pattern_type.upper()],
            acl.principal,
            acl.host,
            AclOperation[re.sub(r"(?<=[a-z])(?=[A-Z])", "_", acl.operation).upper()],
            AclPermissionType[acl.permission.upper()],
        )
        for acl in acls_for(login(cluster, "admin", "a"), users)
    ]
    client = AdminClient(options)
    for answer in client.create_acls(bindings).values():
        await asyncio.wrap_future(answer)


async def write(cluster, user: str, topic: str) -> None:
    async with AIOKafkaProducer(**cluster.client_options(user), enable_idempotence=True) as writer:
        await writer.send_and_wait(topic, b"{}", key=b"k")


@pytest.mark.slow
async def test_the_printed_rights_are_enough_and_not_more(tmp_path, kafka):
    """
    With the rights that we print the topics are made by an operator, and each user sees its
    own part and what it lacks; a receiver writes completions, and no results.
    """
    names = {"operator": "o", "receiver": "r", "worker": "w", "submitter": "s", "reader": "x"}
    async with open_kafka(tmp_path, users={"admin": "a"} | names) as cluster:
        await grant(cluster, [User(Part(name), name) for name in names])
        needs = topic_needs(login(cluster, "operator", "o"), max_body_bytes=10 * MIB)
        async with open_administration(login(cluster, "operator", "o")) as administration:
            assert [] == await administration.create(needs, partitions=1, dry_run=False)
            await administration.wait_for([one.name for one in needs])
            seen = await administration.states(needs)
            writers = await administration.writers(guarded_names(seen))
            (broker,) = await administration.answering()
            limit = await administration.maybe_broker_config(broker, "socket.request.max.bytes")
        lacks = {}
        for name in ("receiver", "worker", "submitter"):
            async with open_administration(login(cluster, name, names[name])) as administration:
                states = await administration.states(needs)
                lacks[name] = missing_rights(Part(name), states)
                hidden = (await administration.writers(guarded_names(states))).is_hidden
        await write(cluster, "receiver", "fal.completions")
        with pytest.raises(TopicAuthorizationFailedError):
            await write(cluster, "receiver", "fal.results")
        with pytest.raises(TopicAuthorizationFailedError):
            await write(cluster, "submitter", "fal.lifecycle")
        with pytest.raises(LogUnavailable) as wrong:
            async with open_administration(login(cluster, "worker", "guessed")):
                pass

    assert ["ok"] * 5 == [state.verdict for state in seen]
    assert {"User:receiver", "User:worker", "User:operator"} == writers.allowed["fal.completions"]
    assert {"User:worker", "User:operator"} == writers.allowed["fal.results"]
    assert ("104857600", True) == (limit, hidden)
    assert {"receiver": [], "worker": [], "submitter": []} == lacks
    assert "SaslAuthenticationFailed" in wrong.value.problem
