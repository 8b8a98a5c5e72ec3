"""The front of the spool: where a new event goes, and that nothing acknowledged is missing."""

import asyncio
from collections import Counter
from dataclasses import replace

import pytest
from structlog.testing import capture_logs

from consumer.core.event import Topic
from consumer.errors import LogUnavailable, RecordRefused
from consumer.log.spool.spool import NOWHERE
from consumer.ports import Position
from consumer.telemetry import Metrics
from tests.spool.stage import LIMITS, FarSide, opened, record, running


@pytest.fixture
def far():
    return FarSide()


def events_of(logs, name):
    return [
        {k: v for k, v in line.items() if k != "log_level"}
        for line in logs
        if line["event"] == name
    ]


async def test_events_go_to_kafka_while_it_answers(far, tmp_path):
    """With Kafka there, a record has its place in Kafka, and nothing waits."""
    async with opened(far, tmp_path) as front:
        position = await front.append(record("k"))

    assert Position(Topic.COMPLETIONS, position.partition, 0) == position
    assert position.partition >= 0
    assert Counter({"k": 1}) == far.keys()


async def test_the_first_miss_goes_to_the_spool_and_so_do_those_after(far, tmp_path):
    """A send that misses its deadline waits on disk; the next ones do not even try."""
    far.is_away = True
    async with opened(far, tmp_path) as front:
        with capture_logs() as logs:
            positions = [await front.append(record(f"k-{n}")) for n in range(3)]

        assert [Position(Topic.COMPLETIONS, NOWHERE, n) for n in range(3)] == positions
        assert Counter({"k-0": 1}) == far.tries
        assert 3 == front.waiting
        expected = {"event": "spool.took_over", "topic": "completions", "problem": "no answer"}
        assert [expected] == events_of(logs, "spool.took_over")


async def test_one_topic_in_trouble_leaves_the_others_alone(far, tmp_path):
    """Where one topic is not taken, the others go straight to Kafka."""
    far.stuck_topics = {Topic.COMPLETIONS}
    async with opened(far, tmp_path) as front:
        await front.append(record("a"))
        await front.append(record("b", topic=Topic.LIFECYCLE))

        assert Counter({"b": 1}) == far.keys()
        assert 1 == front.waiting


async def test_a_start_without_kafka_accepts(far, tmp_path):
    """With Kafka absent from the start, records are taken, and arrive when it is there."""
    far.is_away = True
    async with running(far, tmp_path) as front:
        for n in range(50):
            await front.append(record(f"k-{n}"))
        far.is_away = False
        await far.until(lambda: not front.waiting)

    assert {f"k-{n}" for n in range(50)} == set(far.keys())


async def test_the_backlog_leads_back_to_kafka(far, tmp_path):
    """After some acknowledged sends from the spool, new events go straight to Kafka again."""
    far.is_away = True
    async with running(far, tmp_path) as front:
        with capture_logs() as logs:
            for n in range(20):
                await front.append(record(f"k-{n}"))
            far.is_away = False
            await far.until(lambda: events_of(logs, "spool.handed_back"))
            position = await front.append(record("new"))
            await far.until(lambda: events_of(logs, "spool.drained"))

    assert position.partition >= 0
    assert [20] == [line["records"] for line in events_of(logs, "spool.drained")]
    assert Counter([*(f"k-{n}" for n in range(20)), "new"]) == far.keys()


async def test_new_events_go_direct_beside_the_backlog(far, tmp_path):
    """A record that Kafka does not take yet is in nobody's way."""
    async with running(far, tmp_path) as front:
        far.is_away = True
        for n in range(10):
            await front.append(record(f"k-{n}"))
        far.stuck_keys = {"k-0"}
        far.is_away = False
        await far.until(lambda: front.waiting == 1)
        position = await front.append(record("new"))

        assert position.partition >= 0
        assert 1 == front.waiting


async def test_an_idle_spool_is_left_when_kafka_is_back(far, tmp_path):
    """Where nothing waits that could find out, a ping does."""
    async with running(far, tmp_path) as front:
        far.stuck_topics = {Topic.RESULTS}
        await front.append(record("a", topic=Topic.RESULTS))
        far.refused_topics = set(Topic)
        far.stuck_topics = set()
        await far.until(lambda: front.refused == 1 and not front.describes()[:-1])


async def test_a_late_miss_does_not_turn_away_again(far, tmp_path):
    """A send that began before Kafka was back and ends after it changes nothing."""
    async with running(far, tmp_path) as front:
        far.deadline_s = 0.6
        far.stuck_keys = {"slow"}
        slow = asyncio.create_task(front.append(record("slow")))
        await far.until(lambda: far.tries["slow"])
        far.is_away, far.deadline_s, far.stuck_keys = True, 0.01, set()
        for n in range(5):
            await front.append(record(f"k-{n}"))
        far.is_away = False
        await far.until(lambda: not front.waiting and not front.describes())
        assert NOWHERE == (await slow).partition
        position = await front.append(record("b"))

    assert position.partition >= 0


async def test_neither_kafka_nor_spool_is_no_success(far, tmp_path):
    """Past the spool's size, a record that Kafka does not take is refused with both reasons."""
    far.is_away = True
    limits = replace(LIMITS, max_bytes=1 << 20)
    async with opened(far, tmp_path, limits=limits) as front:
        for n in range(20):
            await front.append(record(f"k-{n}", size=50_000))
        with pytest.raises(LogUnavailable) as refusal:
            await front.append(record("one too many", size=50_000))

        assert 20 == front.waiting
        assert (
            "Kafka: no answer; spool: the spool has reached its size limit" == refusal.value.problem
        )
        with pytest.raises(LogUnavailable):
            await front.ping()


async def test_a_full_spool_still_finds_kafka(far, tmp_path):
    """With the spool full and Kafka back, a record goes to Kafka though nothing drains."""
    far.is_away = True
    limits = replace(LIMITS, max_bytes=1 << 20)
    async with opened(far, tmp_path, limits=limits) as front:
        for n in range(20):
            await front.append(record(f"k-{n}", size=50_000))
        with pytest.raises(LogUnavailable):
            await front.append(record("one too many", size=50_000))
        far.is_away = False
        await asyncio.sleep(0.1)  # the pause after that failed try
        position = await front.append(record("new", size=50_000))

    assert position.partition >= 0


async def test_the_size_limit_bounds_what_waits_not_what_passed(far, tmp_path):
    """Ten times the limit passes through the spool, for what is acknowledged leaves it."""
    limits = replace(LIMITS, max_bytes=1 << 20)
    async with running(far, tmp_path, limits=limits) as front:
        for turn in range(12):
            far.is_away = True
            for n in range(18):
                await front.append(record(f"k-{turn}-{n}", size=50_000))
            far.is_away = False
            await far.until(lambda: not front.waiting and not front.describes())

    assert 12 * 18 == len(far.keys())
    assert sum(path.stat().st_size for path in tmp_path.glob("*/waiting/*.sqlite")) < 6 << 20


async def test_a_refused_record_surfaces(far, tmp_path):
    """A record that Kafka refuses is its caller's to set aside."""
    far.refused_topics = {Topic.COMPLETIONS}
    async with opened(far, tmp_path) as front:
        with pytest.raises(RecordRefused):
            await front.append(record("k"))

        assert (0, 0) == (front.waiting, front.refused)


async def test_a_refused_dead_letter_is_kept(far, tmp_path):
    """A dead letter that Kafka refuses too is durable among the refused, and said so."""
    far.refused_topics = {Topic.DEAD_LETTERS}
    async with opened(far, tmp_path) as front:
        with capture_logs() as logs:
            position = await front.append(record("k", topic=Topic.DEAD_LETTERS))

        assert Position(Topic.DEAD_LETTERS, NOWHERE, 0) == position
        assert ["1 records are refused by Kafka: see `fal-consumer spool show`"] == list(
            front.describes()
        )
        assert 1 == len(events_of(logs, "spool.record_refused"))
    async with opened(far, tmp_path) as front:
        assert 1 == front.refused


async def test_metrics_tell_what_waits(far, tmp_path):
    """Depth, bytes, age, refused: as they are now; spooled and drained: counted."""
    metrics = Metrics()

    def values():
        found = {}
        for family in metrics.registry.collect():
            for sample in family.samples:
                if "spool" in sample.name and not sample.name.endswith("_created"):
                    found[sample.name.removeprefix("fal_consumer_")] = sample.value
        return found

    far.is_away = True
    async with running(far, tmp_path, metrics=metrics) as front:
        for n in range(5):
            await front.append(record(f"k-{n}"))
        await far.until(lambda: values()["spool_oldest_seconds"] > 0)
        waiting = values()
        far.is_away = False
        await far.until(lambda: not front.waiting)
        after = values()

    assert (5, 5, 0) == (
        waiting["spool_records"],
        waiting["spooled_total"],
        waiting["spool_refused_records"],
    )
    assert 5 * record("k-0").size == waiting["spool_bytes"]
    assert {
        "spool_records": 0,
        "spool_bytes": 0,
        "spool_oldest_seconds": 0,
        "spool_refused_records": 0,
        "spooled_total": 5,
        "spool_drained_total": 5,
    } == after


async def test_readiness_asks_whoever_takes(far, tmp_path):
    """Ready while Kafka or the spool takes records, and the trouble is a sentence."""
    async with opened(far, tmp_path) as front:
        await front.ping()
        far.is_away = True
        await front.append(record("k"))
        await front.ping()

        assert [
            "Kafka does not take completions: no answer; events go to the spool",
            "1 events wait in the spool",
        ] == list(front.describes())
