"""Which records a replay takes."""

from contextlib import aclosing

import pytest

from consumer.core.event import Topic
from consumer.replaying import Span, Tally, chosen
from consumer.replaying.spans import held, record_at
from tests.replaying.stand import SECOND, T0


async def values(stand, span, tally=None):
    """Return the values that a span takes, sorted."""
    async with aclosing(chosen(stand.log, span, tally or Tally())) as records:
        return sorted([record.value async for record in records])


@pytest.mark.parametrize(
    "bounds, taken",
    [
        ({}, [b"0", b"1", b"2", b"3"]),
        ({"since": T0 + SECOND}, [b"1", b"2", b"3"]),
        ({"until": T0 + 3 * SECOND}, [b"0", b"1", b"2"]),
        ({"since": T0 + SECOND, "until": T0 + 2 * SECOND}, [b"1"]),
        ({"key": "b"}, [b"1", b"3"]),
        ({"key": "b", "since": T0 + 2 * SECOND}, [b"3"]),
        ({"since": T0 + 9 * SECOND}, []),
        ({"key": "nobody"}, []),
    ],
)
async def test_a_span_is_bounded_by_time_and_key(stand, bounds, taken):
    """A span takes what the log took from its begin up to its end, of one key if named."""
    for number in range(4):
        await stand.put("ab"[number % 2], b"%d" % number)
    await stand.put(topic=Topic.COMMANDS)

    assert taken == await values(stand, Span(Topic.RESULTS, **bounds))


@pytest.mark.parametrize(
    "first, stop, taken",
    [(1, 3, [b"1", b"2"]), (2, None, [b"2", b"3"]), (9, None, []), (0, 1, [b"0"])],
)
async def test_a_span_is_bounded_by_offsets_of_one_partition(stand, first, stop, taken):
    """With offsets a span takes one partition, from the first up to the last without it."""
    at = (await stand.put("a", b"0")).position.partition
    for number in range(1, 4):
        await stand.put("a", b"%d" % number)
    elsewhere = [await stand.put(key, b"elsewhere") for key in "bcdefgh"]

    span = Span(Topic.RESULTS, partition=at, first=first, stop=stop)

    assert {at} != {record.position.partition for record in elsewhere}
    assert taken == [value for value in await values(stand, span) if value != b"elsewhere"]


async def test_a_partition_that_is_not_there_holds_nothing(stand):
    """A span of a partition that the topic does not have takes nothing."""
    await stand.put()

    assert [] == await values(stand, Span(Topic.RESULTS, partition=7))


async def test_replays_are_left_out_unless_asked_for(stand):
    """What an earlier replay put there is counted and left out; with `again` it is taken."""
    await stand.put("a", b"1")
    await stand.replayer().replay_span(Span(Topic.RESULTS))

    tally = Tally()
    without = await values(stand, Span(Topic.RESULTS), tally)
    everything = await values(stand, Span(Topic.RESULTS, again=True))

    assert ([b"1"], 1, [b"1", b"1"]) == (without, tally.were_replays, everything)


@pytest.mark.parametrize("key", [None, "a"])
async def test_reading_ends_where_the_log_ended(stand, key):
    """What is appended while a span is read is not part of it, or a replay would never end."""
    for _ in range(3):
        await stand.put("a", b"1")

    seen = 0
    async with aclosing(held(stand.log, Topic.RESULTS, key=key)) as records:
        async for record in records:
            seen += 1
            await stand.put(record.key, record.value)

    assert 3 == seen


async def test_what_retention_took_is_not_there(stand):
    """A span takes what is left; a position that is gone has no record."""
    position = (await stand.put("a", b"1")).position
    await stand.put("a", b"2")
    place = (position.topic, position.partition)
    stand.log.forget(*place, before=1)

    assert [b"2"] == await values(stand, Span(Topic.RESULTS))
    assert (None, b"2", None) == (
        await record_at(stand.log, place, 0),
        (await record_at(stand.log, place, 1)).value,
        await record_at(stand.log, place, 2),
    )
