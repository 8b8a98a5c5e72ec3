"""
What every log promises, as functions over a `Backend`; run on each engine.

Kafka-shaped: several partitions may exist, order holds per key only, and a position says
nothing about another partition's.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime, timedelta
from typing import Protocol

import pytest

from consumer.core.event import Headers, NewRecord, Topic
from consumer.errors import LogUnavailable, RecordRefused
from consumer.ports import Log, Place, Position, Record, Subscription

SOON = timedelta(seconds=20)
"""Far more than any wait here takes; reached only when something is broken."""

NOW = timedelta(0)
MAX_RECORD_BYTES = 100_000
"""Every backend under test refuses larger records."""


class Backend(Protocol):
    """
    An empty log of one engine. Opened again it has restarted; twice at once, it is shared.

    With `shares_groups` several members of a group share its places; otherwise one holds it.
    """

    @property
    def shares_groups(self) -> bool: ...

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


def place_of(record: Record) -> Place:
    """Return where a record stands."""
    return (record.position.topic, record.position.partition)


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    """Return when the condition holds; fail when it does not soon."""
    async with asyncio.timeout(SOON.total_seconds()):
        while not await holds():  # noqa: ASYNC110  what is asked tells nobody
            await asyncio.sleep(0.05)


def low_water(records: Sequence[Record]) -> Mapping[Place, int]:
    """Return the next offsets once all these records are done."""
    offsets: dict[Place, int] = {}
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

    by_place: dict[Place, list[int]] = {}
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


async def leaves_out_what_it_is_told(backend: Backend) -> None:
    """A poll gives nothing of the places it leaves out; later they come, whole and in order."""
    async with backend.open() as log, log.subscribe("group", [Topic.COMPLETIONS]) as subscription:
        first = await log.append(record("key", b"0"))
        place = (first.topic, first.partition)
        assert [b"0"] == [one.value for one in await gather(subscription, 1)]
        for number in range(1, 6):
            await log.append(record("key", b"%d" % number))
        some = timedelta(milliseconds=300)
        left_out = await subscription.poll(max_records=10, timeout=some, without=[place])
        await log.append(record("key", b"6"))
        still = await subscription.poll(max_records=10, timeout=NOW, without=frozenset([place]))
        found = await gather(subscription, 6)

    assert ([], []) == (list(left_out), list(still))
    assert [b"%d" % n for n in range(1, 7)] == [one.value for one in found]


async def leaves_out_one_topic_of_two(backend: Backend) -> None:
    """What is left out keeps nobody else waiting."""
    topics = [Topic.COMPLETIONS, Topic.RESULTS]
    async with backend.open() as log, log.subscribe("group", topics) as subscription:
        for number in range(10):
            await log.append(record(f"key-{number}"))
            await log.append(record(f"key-{number}", topic=Topic.RESULTS))
        without = [place for place in await log.offsets(topics) if place[0] is Topic.COMPLETIONS]
        found: list[Record] = []
        while len(found) < 10:
            found += await subscription.poll(max_records=3, timeout=SOON, without=without)
        rest = await gather(subscription, 10)

    assert {Topic.RESULTS} == {one.position.topic for one in found}
    assert {Topic.COMPLETIONS} == {one.position.topic for one in rest}


async def answers_a_ping(backend: Backend) -> None:
    """A log that takes records answers a ping."""
    async with backend.open() as log:
        await log.append(record())
        await log.ping()


async def tells_its_offsets(backend: Backend) -> None:
    """Offsets span what is held, for each topic asked for and no other."""
    async with backend.open() as log:
        positions = [await log.append(record(f"key-{number}")) for number in range(10)]
        await log.append(record(topic=Topic.RESULTS))
        spans = await log.offsets([Topic.COMPLETIONS])

    assert {Topic.COMPLETIONS} == {topic for topic, _ in spans}
    assert 10 == sum(len(span) for span in spans.values())
    assert all(p.offset in spans[p.topic, p.partition] for p in positions)


async def tells_what_a_group_committed(backend: Backend) -> None:
    """Committed offsets are those of the group asked for; nothing of one that never was."""
    async with backend.open() as log:
        for number in range(5):
            await log.append(record("key", b"%d" % number))
        async with log.subscribe("group", [Topic.COMPLETIONS]) as subscription:
            marks = low_water((await gather(subscription, 5))[:3])
            await subscription.commit(marks)
        told = dict(await log.committed("group"))
        nothing = dict(await log.committed("nobody"))

    assert (dict(marks), {}) == (told, nothing)


async def reads_without_a_group(backend: Backend) -> None:
    """Reading gives what is there, of one key or all, in order, and ends."""
    async with backend.open() as log:
        for number in range(12):
            await log.append(record(f"key-{number % 3}", b"%d" % number))
        await log.append(record(topic=Topic.RESULTS))
        everything = [one async for one in log.read([Topic.COMPLETIONS])]
        one_key = [one.value async for one in log.read([Topic.COMPLETIONS], key="key-1")]
        nothing = [one async for one in log.read([Topic.LIFECYCLE])]

    assert {f"key-{k}": [b"%d" % n for n in range(k, 12, 3)] for k in range(3)} == values_by_key(
        everything
    )
    assert ([b"1", b"4", b"7", b"10"], []) == (one_key, nothing)


async def reads_from_a_start(backend: Backend) -> None:
    """Reading begins where it is told; a place beyond the end gives nothing."""
    async with backend.open() as log:
        positions = [await log.append(record("key", b"%d" % number)) for number in range(6)]
        place = (positions[0].topic, positions[0].partition)
        found = [r.value async for r in log.read([place[0]], start={place: positions[4].offset})]
        beyond = [r async for r in log.read([place[0]], start={place: positions[5].offset + 1})]

    assert ([b"4", b"5"], []) == (found, beyond)


async def follows_when_asked(backend: Backend) -> None:
    """Following gives what is there, and then what comes."""
    async with backend.open() as log:
        await log.append(record(value=b"before"))
        following = log.read([Topic.COMPLETIONS], follow=True)
        async with asyncio.timeout(SOON.total_seconds()):
            first = await anext(following)
            await log.append(record(value=b"after"))
            second = await anext(following)
        await _close(following)

    assert (b"before", b"after") == (first.value, second.value)


async def _close(records: AsyncIterator[Record]) -> None:
    """Close what `read` gave: a generator on every engine."""
    await records.aclose()  # type: ignore[attr-defined]


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


# ---------------------------------------------------------------- one holder, or several members


async def lets_one_hold_a_group(backend: Backend) -> None:
    """A second subscription of a group is refused while the first is open, and then taken."""
    async with backend.open() as log, backend.open() as other:
        async with log.subscribe("group", [Topic.COMPLETIONS]):
            with pytest.raises(LogUnavailable):
                async with other.subscribe("group", [Topic.COMPLETIONS]):
                    pytest.fail("two hold one group")
        async with other.subscribe("group", [Topic.COMPLETIONS]) as subscription:
            assert 0 == await subscription.lag()


async def lets_members_share_a_group(backend: Backend) -> None:
    """Two members of a group read different places, and each record reaches one of them."""
    async with (
        backend.open() as log,
        backend.open() as other,
        log.subscribe("group", [Topic.COMPLETIONS]) as one,
        other.subscribe("group", [Topic.COMPLETIONS]) as two,
    ):
        found: tuple[list[Record], list[Record]] = ([], [])

        async def both_read() -> bool:
            for subscription, records in zip((one, two), found, strict=True):
                records.extend(await subscription.poll(max_records=100, timeout=NOW))
                await subscription.commit(low_water(records))
            await log.append(record(f"key-{len(found[0]) + len(found[1])}"))
            return all(found)

        await until(both_read)
        places = [{place_of(record) for record in records[-1:]} for records in found]
        assert places[0].isdisjoint(places[1])

        # Those before the second came may come again; from here on, each comes once.
        sent = [await log.append(record(f"late-{number}", b"late")) for number in range(30)]
        late: list[Record] = []

        async def all_came() -> bool:
            for subscription in (one, two):
                some = await subscription.poll(max_records=100, timeout=NOW)
                late.extend(record for record in some if record.value == b"late")
            return len(late) >= len(sent)

        await until(all_came)

    assert sorted(sent) == sorted(record.position for record in late)


async def hands_over_from_the_committed_offsets(backend: Backend) -> None:
    """What a member that leaves has not committed comes to another one, and nothing else."""
    async with backend.open() as log, backend.open() as other:
        async with log.subscribe("group", [Topic.COMPLETIONS]) as leaving:
            for number in range(10):
                await log.append(record("key", b"%d" % number))
            found = await gather(leaving, 10)
            await leaving.commit(low_water(found[:6]))
        async with other.subscribe("group", [Topic.COMPLETIONS]) as staying:
            rest = await gather(staying, 4)

    assert [b"%d" % n for n in range(6, 10)] == [one.value for one in rest]


async def tells_of_revoked_places(backend: Backend) -> None:
    """Places that move are told before, and what is committed then counts for the next holder."""
    revoked: list[Place] = []
    marks: dict[Place, int] = {}
    async with backend.open() as log, backend.open() as other:

        async def on_revoked(places: Collection[Place]) -> None:
            revoked.extend(places)
            await first.commit(marks)

        async with log.subscribe("group", [Topic.COMPLETIONS], on_revoked=on_revoked) as first:
            for number in range(30):
                await log.append(record(f"key-{number}", b"early"))
            marks |= low_water(await gather(first, 30))

            async with other.subscribe("group", [Topic.COMPLETIONS]) as second:
                for number in range(30):
                    await log.append(record(f"key-{number}", b"late"))
                found: list[Record] = []

                async def all_came() -> bool:
                    for subscription in (first, second):
                        found.extend(await subscription.poll(max_records=100, timeout=NOW))
                    return len(found) >= 30

                await until(all_came)

    assert marks.keys() <= set(revoked)
    assert {b"late"} == {one.value for one in found}


async def passes_over_places_of_others(backend: Backend) -> None:
    """A commit for a place that is held elsewhere changes nothing."""
    async with backend.open() as log, log.subscribe("group", [Topic.COMPLETIONS]) as subscription:
        await log.append(record())
        await gather(subscription, 1)
        await subscription.commit({(Topic.COMPLETIONS, 99): 7})
        told = dict(await log.committed("group"))

    assert {} == told


ALONE = (lets_one_hold_a_group,)
"""Promises of engines where one holds a group."""

SHARED = (
    lets_members_share_a_group,
    hands_over_from_the_committed_offsets,
    tells_of_revoked_places,
    passes_over_places_of_others,
)
"""Promises of engines where members share a group."""

_TOOLS = (gather, until, _close)

PROMISES = tuple(
    value
    for value in list(globals().values())
    if asyncio.iscoroutinefunction(value) and value not in (*ALONE, *SHARED, *_TOOLS)
)
"""What every engine promises."""
