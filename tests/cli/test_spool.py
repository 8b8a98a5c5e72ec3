"""`spool`: listed, shown, retried without Kafka; drained into a real one."""

import asyncio
import json

import pytest

from consumer.core.event import NewRecord, Topic
from consumer.errors import LogUnavailable, RecordRefused
from consumer.log.spool.publisher import Lanes, SpooledPublisher
from consumer.log.spool.spool import SpoolLimits
from consumer.telemetry import Metrics
from tests.cli.conftest import NOW


class _Never:
    """A Kafka that takes nothing: dead letters are refused, for all else it is away."""

    async def append(self, record):
        if record.topic is Topic.DEAD_LETTERS:
            raise RecordRefused(record.topic, "over the topic's limit")
        raise LogUnavailable("away")

    async def ping(self):
        raise LogUnavailable("away")


@pytest.fixture
def spooled(folder):
    """Return a data folder with two events in a spool, and one refused dead letter."""

    async def fill() -> None:
        async with SpooledPublisher.open(
            Lanes(_Never(), _Never()),
            folder.path / "spool",
            clock=lambda: NOW,
            limits=SpoolLimits(reserve_bytes=0),
            metrics=Metrics(),
        ) as front:
            for number in range(2):
                record = NewRecord(Topic.COMPLETIONS, folder.request_id(number), b"{}", ())
                await front.append(record)
            why = (("dlreason", b"record_refused"),)
            await front.append(
                NewRecord(Topic.DEAD_LETTERS, folder.request_id(9), b"secret body", why)
            )

    asyncio.run(fill())
    return folder


def lines(shown) -> list[dict]:
    return [json.loads(line) for line in shown.stdout.splitlines()]


def test_no_spool_is_said_so(folder):
    """Where nothing ever waited, the list says it and exits 0."""
    shown = folder.run("spool")

    assert (0, "no spool: nothing waits\n") == (shown.returncode, shown.stdout)
    assert (0, "") == (
        folder.run("spool", "--json").returncode,
        folder.run("spool", "--json").stdout,
    )


def test_a_spool_is_listed(spooled):
    """Name, holder, what waits, how old, what is refused."""
    (line,) = lines(spooled.run("spool", "--json"))
    table = spooled.run("spool").stdout

    assert line.pop("size_bytes") > 0
    path, name = line.pop("path"), line.pop("spool")
    assert path.endswith(f"/spool/{name}")
    assert {
        "held_by": None,
        "waiting": 2,
        "waiting_by_topic": {"completions": 2},
        "refused": 1,
        "oldest_at": "2026-11-23T12:00:00+00:00",
        "unreadable_files": 0,
    } == line
    assert ["SPOOL", "HELD", "BY", "WAITING", "OLDEST", "REFUSED", "ON", "DISK"] == (
        table.splitlines()[0].split()
    )
    assert [name, "nobody", "2"] == table.splitlines()[1].split()[:3]


def test_refused_records_are_shown_without_their_bodies(spooled):
    """Key, reason, size and Kafka's word; no body."""
    as_json, table = spooled.run("spool", "show", "--json"), spooled.run("spool", "show")
    (line,) = lines(as_json)

    assert line.pop("spool")
    assert {
        "topic": "dead-letters",
        "key": spooled.request_id(9),
        "since": "2026-11-23T12:00:00+00:00",
        "reason": "record_refused",
        "problem": "over the topic's limit",
        "size_bytes": line["size_bytes"],
    } == line
    assert "over the topic's limit" in table.stdout
    assert "secret body" not in as_json.stdout + table.stdout


def test_a_retry_lets_refused_records_wait_again(spooled):
    """After it nothing is refused, and one more waits."""
    retried, again = spooled.run("spool", "retry"), spooled.run("spool", "retry")
    (line,) = lines(spooled.run("spool", "--json"))

    assert retried.stdout.endswith(": 1 waiting again\n")
    assert "nothing is refused\n" == again.stdout == spooled.run("spool", "show").stdout
    assert (3, 0) == (line["waiting"], line["refused"])


def test_draining_needs_a_kafka(spooled):
    """On the embedded log there is nowhere to send to: exit code 2, and the setting's name."""
    shown = spooled.run("spool", "drain")

    assert 2 == shown.returncode
    assert "FAL_CONSUMER_LOG_URL" in shown.stderr


def test_draining_sends_everything_to_kafka(spooled, kafka, topic_prefix):
    """With its topics there, all arrive, the empty spool is gone, and the exit code is 0."""
    spooled.environ |= {
        "FAL_CONSUMER_LOG_URL": kafka.url,
        "FAL_CONSUMER_KAFKA_SINGLE_BROKER": "true",
        "FAL_CONSUMER_TOPIC_PREFIX": topic_prefix,
    }
    made = spooled.run("topics", "create")
    spooled.run("spool", "retry")

    drained = spooled.run("spool", "drain")
    events = spooled.run("events", "--topic", f"{topic_prefix}completions", "--json")

    assert 0 == made.returncode
    assert (0, "3 sent, 0 still waiting, 0 refused\n") == (drained.returncode, drained.stdout)
    assert "no spool: nothing waits\n" == spooled.run("spool").stdout
    assert {spooled.request_id(0), spooled.request_id(1)} == {line["key"] for line in lines(events)}
