"""
What every log promises, as functions over a `Backend`; run on each engine.

Kafka-shaped: several partitions may exist, order holds per key only, and a position says
nothing about another partition's.
"""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime, timedelta
from typing import Protocol

import pytest

from consumer.core.event import Headers, NewRecord, Topic
from consumer.errors import LogUnavailable, RecordRefused
from consumer.ports import Log, Position, Record, Subscription

SOON = timedelta(seconds=20)
"""Far more than any wait here takes; reached only when something is broken."""

NOW = timedelta(0)
MAX_RECORD_BYTES = 100_000
"""Every backend under test refuses larger records."""


class Backend(Protocol):
    """An empty log of one engine. Opened again it has restarted; twice at once, it is shared."""

    def open(self) -> AbstractAsyncContextManager[Log]: ...


def record(
    key: str = "key", value: bytes = b"value", *, topic=Topic.COMPLETIONS, headers: Headers = ()
) -> NewRecord:
    """Return a record where only what matters is named."""
    return NewRecord(topic, key, value, headers)


async def gather(subscription: Subscription, count: int) -> list[Record]:
    """Poll until `count` records came; fail when they do not come soon."""
    found: list[Record] = []
    async with asyncio.timeout(SOON.total_seconds()):
        while len(found) < count:
            found += await subscription.poll(max_records=100, timeout=timedelta(seconds=1))
    return found


def low_water(records: Sequence[Record]) -> Mapping[tuple[Topic, int], int]:
    """Return the next offsets once all these records are done."""
    offsets: dict[tuple[Topic, int], int] = {}
    for position in (record.position for record in records):
        place = (position.topic, position.partition)
        offsets[place] = max(position.offset + 1, offsets.get(place, 0))
    return offsets


def values_by_key(records: Sequence[Record]) -> dict[str, list[bytes]]:
    """Return the values of each key, in the order they came."""
    found: dict[str, list[bytes]] = {}
    for one in records:
        found.setdefault(one.key, []).append(one.value)
    return found


async def returns_records_as_appended(backend: Backend) -> None:
    """A record comes back whole: odd bytes, repeated and empty headers, at its position."""
    headers = (("ce_id", b"\x00\xff"), ("ce_id", b""), ("ünïcode", "ü".encode()))
    sent = record("kéy \N{SNOWMAN}", bytes(range(256)), headers=headers)
    before = datetime.now(UTC) - timedelta(seconds=1)

    async with backend.open() as log, log.subscribe("group", [Topic.COMPLETIONS]) as subscription:
        position = await log.append(sent)
        (found,) = await gather(subscription, 1)

    assert (position, sent.key, sent.value, sent.headers) == (
        found.position,
        found.key,
        found.value,
        found.headers,
    )
    assert before <= found.appended_at <= datetime.now(UTC) + timedelta(seconds=1)
    assert timedelta(0) == found.appended_at.utcoffset()


async def takes_empty_values(backend: Backend) -> None:
    """A record may be empty but for its topic and key."""
    async with backend.open() as log, log.subscribe("group", [Topic.COMPLETIONS]) as subscription:
        await log.append(record(value=b""))
        (found,) = await gather(subscription, 1)

    assert (b"", ()) == (found.value, found.headers)


async def keeps_order_per_key(backend: Backend) -> None:
    """Records of one key come in the order they were appended."""
    async with backend.open() as log, log.subscribe("group", [Topic.COMPLETIONS]) as subscription:
        for number in range(40):
            await log.append(record(f"key-{number % 4}", b"%d" % number))
        found = await gather(subscription, 40)

    expected = {f"key-{k}": [b"%d" % n for n in range(k, 40, 4)] for k in range(4)}
    assert expected == values_by_key(found)


async def keeps_order_of_appends_that_wait_together(backend: Backend) -> None:
    """Appends of one key that are started in turn, without waiting, keep their order."""
    sent = [b"%d" % number for number in range(200)]

    async with backend.open() as log, log.subscribe("group", [Topic.COMPLETIONS]) as subscription:
        positions = await asyncio.gather(*(log.append(record("key", value)) for value in sent))
        found = await gather(subscription, len(sent))

    assert {"key": sent} == values_by_key(found)
    assert sorted(positions) == list(positions) == [one.position for one in found]


async def counts_offsets_without_gaps(backend: Backend) -> None:
    """Offsets start at 0 in each topic and partition, and rise by one."""
    async with backend.open() as log:
        positions = [
            await log.append(record(f"key-{number}", topic=topic))
            for topic in (Topic.COMPLETIONS, Topic.COMMANDS)
            for number in range(20)
        ]

    by_place: dict[tuple[Topic, int], list[int]] = {}
    for position in positions:
        by_place.setdefault((position.topic, position.partition), []).append(position.offset)
    assert {p: list(range(len(o))) for p, o in by_place.items()} == by_place


async def keeps_topics_apart(backend: Backend) -> None:
    """A subscription gets the topics it named, and no other."""
    async with (
        backend.open() as log,
        log.subscribe("group", [Topic.RESULTS, Topic.COMMANDS]) as subscription,
    ):
        for topic in Topic:
            await log.append(record(value=topic.encode(), topic=topic))
        found = await gather(subscription, 2)
        rest = await subscription.poll(max_records=10, timeout=NOW)

    assert {b"results", b"commands"} == {one.value for one in found}
    assert [] == list(rest)


async def survives_a_restart(backend: Backend) -> None:
    """What was acknowledged is there after a restart, and offsets go on where they were."""
    async with backend.open() as log:
        first = await log.append(record(value=b"before"))
    async with backend.open() as log, log.subscribe("group", [Topic.COMPLETIONS]) as subscription:
        second = await log.append(record(value=b"after"))
        found = await gather(subscription, 2)

    assert [(first, b"before"), (second, b"after")] == [(one.position, one.value) for one in found]
    assert Position(first.topic, first.partition, first.offset + 1) == second


async def starts_at_the_earliest_record(backend: Backend) -> None:
    """A group that never committed starts at the earliest record, after a restart as well."""
    async with backend.open() as log:
        await log.append(record(value=b"1"))
        async with log.subscribe("group", [Topic.COMPLETIONS]) as subscription:
            assert [b"1"] == [one.value for one in await gather(subscription, 1)]
    async with backend.open() as log, log.subscribe("group", [Topic.COMPLETIONS]) as subscription:
        assert [b"1"] == [one.value for one in await gather(subscription, 1)]


async def gives_each_record_once(backend: Backend) -> None:
    """Within a subscription each record comes once, whether committed or not."""
    async with backend.open() as log, log.subscribe("group", [Topic.COMPLETIONS]) as subscription:
        for number in range(10):
            await log.append(record(f"key-{number}", b"%d" % number))
        found: list[Record] = []
        while len(found) < 10:
            some = await subscription.poll(max_records=3, timeout=SOON)
            assert 1 <= len(some) <= 3
            found += some
        rest = await subscription.poll(max_records=3, timeout=NOW)

    assert sorted(b"%d" % n for n in range(10)) == sorted(one.value for one in found)
    assert [] == list(rest)


async def continues_where_it_committed(backend: Backend) -> None:
    """After commit and restart the next record is the one after the committed."""
    async with backend.open() as log:
        for number in range(10):
            await log.append(record("key", b"%d" % number))
        async with log.subscribe("group", [Topic.COMPLETIONS]) as subscription:
            found = await gather(subscription, 10)
            await subscription.commit(low_water(found[:4]))
    async with backend.open() as log, log.subscribe("group", [Topic.COMPLETIONS]) as subscription:
        again = await gather(subscription, 6)

    assert [b"%d" % n for n in range(4, 10)] == [one.value for one in again]


async def never_moves_a_commit_back(backend: Backend) -> None:
    """A commit of a lower offset changes nothing."""
    async with backend.open() as log:
        for number in range(5):
            await log.append(record("key", b"%d" % number))
        async with log.subscribe("group", [Topic.COMPLETIONS]) as subscription:
            found = await gather(subscription, 5)
            await subscription.commit(low_water(found))
            await subscription.commit(low_water(found[:1]))
            assert 0 == await subscription.lag()
        async with log.subscribe("group", [Topic.COMPLETIONS]) as subscription:
            assert [] == list(await subscription.poll(max_records=5, timeout=NOW))


async def keeps_groups_apart(backend: Backend) -> None:
    """What one group commits is nothing to another."""
    async with (
        backend.open() as log,
        log.subscribe("one", [Topic.COMPLETIONS]) as one,
        log.subscribe("two", [Topic.COMPLETIONS]) as two,
    ):
        await log.append(record())
        await one.commit(low_water(await gather(one, 1)))

        assert (0, 1) == (await one.lag(), await two.lag())
        assert 1 == len(await gather(two, 1))


async def counts_lag_over_partitions(backend: Backend) -> None:
    """Lag is what stands after the committed offsets, polled or not."""
    async with (
        backend.open() as log,
        log.subscribe("group", [Topic.COMPLETIONS, Topic.RESULTS]) as subscription,
    ):
        assert 0 == await subscription.lag()
        for number in range(6):
            await log.append(record(f"key-{number}"))
            await log.append(record(f"key-{number}", topic=Topic.RESULTS))
            await log.append(record(f"key-{number}", topic=Topic.COMMANDS))
        found = await gather(subscription, 12)

        assert 12 == await subscription.lag()
        await subscription.commit(low_water([r for r in found if r.position.topic == "results"]))
        assert 6 == await subscription.lag()


async def wakes_a_waiting_poll(backend: Backend) -> None:
    """A poll that waits returns when a record is appended."""
    async with backend.open() as log, log.subscribe("group", [Topic.COMPLETIONS]) as subscription:
        async with asyncio.TaskGroup() as group:
            waiting = group.create_task(subscription.poll(max_records=1, timeout=SOON))
            await log.append(record())

        assert 1 == len(waiting.result())


async def notices_what_another_process_appends(backend: Backend) -> None:
    """A poll that waits returns when the record comes through another opening of the log."""
    async with (
        backend.open() as log,
        backend.open() as other,
        log.subscribe("group", [Topic.COMPLETIONS]) as subscription,
    ):
        async with asyncio.TaskGroup() as group:
            waiting = group.create_task(subscription.poll(max_records=1, timeout=SOON))
            await other.append(record())

        assert 1 == len(waiting.result())


async def returns_nothing_at_the_timeout(backend: Backend) -> None:
    """A poll with nothing to give returns empty."""
    async with backend.open() as log, log.subscribe("group", [Topic.COMPLETIONS]) as subscription:
        polled = await subscription.poll(max_records=1, timeout=timedelta(milliseconds=20))

    assert [] == list(polled)


async def loses_nothing_to_a_cancelled_poll(backend: Backend) -> None:
    """A poll that is cancelled while it waits takes no record with it."""
    async with backend.open() as log, log.subscribe("group", [Topic.COMPLETIONS]) as subscription:
        for _ in range(5):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01):
                    await subscription.poll(max_records=1, timeout=SOON)
        await log.append(record())

        assert 1 == len(await gather(subscription, 1))


async def lets_one_hold_a_group(backend: Backend) -> None:
    """A second subscription of a group is refused while the first is open, and then taken."""
    async with backend.open() as log, backend.open() as other:
        async with log.subscribe("group", [Topic.COMPLETIONS]):
            with pytest.raises(LogUnavailable):
                async with other.subscribe("group", [Topic.COMPLETIONS]):
                    pytest.fail("two hold one group")
        async with other.subscribe("group", [Topic.COMPLETIONS]) as subscription:
            assert 0 == await subscription.lag()


async def refuses_what_is_too_large(backend: Backend) -> None:
    """A record over the limit is refused, alone: others beside it are taken."""
    async with backend.open() as log, log.subscribe("group", [Topic.COMPLETIONS]) as subscription:
        answers = await asyncio.gather(
            log.append(record(value=b"1")),
            log.append(record(value=bytes(MAX_RECORD_BYTES + 1))),
            log.append(record(value=b"2")),
            return_exceptions=True,
        )
        found = await gather(subscription, 2)

    assert [Position, RecordRefused, Position] == [type(answer) for answer in answers]
    assert [b"1", b"2"] == [one.value for one in found]


async def refuses_keys_that_are_no_text(backend: Backend) -> None:
    """A key with a lone surrogate has no bytes, and is refused."""
    async with backend.open() as log:
        with pytest.raises(RecordRefused):
            await log.append(record(key="\ud800"))
        with pytest.raises(RecordRefused):
            await log.append(record(headers=(("\ud800", b""),)))


PROMISES = tuple(
    value
    for value in list(globals().values())
    if asyncio.iscoroutinefunction(value) and value is not gather
)
"""Every promise of this module."""
