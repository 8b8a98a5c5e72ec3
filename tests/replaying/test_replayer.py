"""Putting records back: in order, marked, durable, told; and what the log refuses."""

import asyncio
from dataclasses import replace

import pytest

from consumer.core.event import Topic, decode
from consumer.core.fact import FactName
from consumer.core.replay import REPLAYS
from consumer.errors import LogUnavailable
from consumer.replaying import Pace, Span
from tests.replaying.stand import FAST, Stand

AWAY = LogUnavailable("away")


async def test_copies_are_in_order_and_marked(stand):
    """Each record of the span is put back once, per key in order, and says where it stood."""
    originals = [await stand.put("abc"[n % 3], b"%d" % n) for n in range(250)]

    replayer = stand.replayer()
    await replayer.replay_span(Span(Topic.RESULTS), handler="record")

    expected: dict[str, list[bytes]] = {}
    for record in originals:
        expected.setdefault(record.key, []).append(record.value)
    assert expected == stand.values()
    assert 250 == replayer.tally.replayed == replayer.tally.looked_at == replayer.tally.total
    told = [dict(copy.headers) for copy in stand.copies()]
    places = {f"results/{r.position.partition}/{r.position.offset}" for r in originals}
    assert places == {one["ce_falreplayof"].decode() for one in told}
    assert {(b"r1", b"understood now", b"record")} == {
        (one["ce_falreplay"], one["ce_falreplayreason"], one["ce_falreplayhandler"]) for one in told
    }


async def test_a_replay_is_told_before_and_after(stand):
    """One fact says what was asked for and why, before any copy; one says what was done."""
    await stand.put("a", b"1")

    await stand.replayer().replay_span(Span(Topic.RESULTS, key="a"), handler="record")

    (asked,), (done,) = (stand.facts(name) for name in (FactName.REPLAY_ASKED, FactName.REPLAYED))
    assert ("r1", "understood now", "results", "a", "record") == tuple(
        asked.detail[name] for name in ("replay", "reason", "topic", "key", "handler")
    )
    assert ("r1", 1, 0) == tuple(done.detail[name] for name in ("replay", "records", "refused"))
    assert {REPLAYS} == {record.key for record in stand.log.records(Topic.LIFECYCLE)}


async def test_nothing_is_put_back_untold(stand):
    """Where the log does not take what was asked for, nothing is put back."""
    await stand.put("a", b"1")
    stand.log.refuse_next(AWAY)

    with pytest.raises(LogUnavailable):
        await stand.replayer().replay_span(Span(Topic.RESULTS))

    assert [] == stand.copies()


async def test_an_empty_span_is_told_too(stand):
    """A replay that found nothing has its facts all the same."""
    await stand.replayer().replay_span(Span(Topic.RESULTS))

    assert [0] == [fact.detail["records"] for fact in stand.facts(FactName.REPLAYED)]


async def test_a_log_that_stumbles_is_asked_again(stand):
    """A record that the log did not take is tried again, with what followed it under its key."""
    for number in range(3):
        await stand.put("a", b"%d" % number)
    stand.log.stumbles = {1}

    replayer = stand.replayer()
    await replayer.replay_span(Span(Topic.RESULTS))

    assert 3 == replayer.tally.replayed
    assert [b"1", b"2", b"0", b"1", b"2"] == stand.values()["a"]


async def test_other_keys_need_no_second_try(stand):
    """Where one key stumbles, the records of another are put back once."""
    await stand.put("a", b"0")
    for _ in range(9):
        await stand.put("b", b"1")
    stand.log.stumbles = {10}  # one of the two is last, whichever partition comes first

    await stand.replayer().replay_span(Span(Topic.RESULTS))

    assert (1, 9) == tuple(len(stand.values()[key]) for key in "ab")


async def test_a_log_that_stays_away_cuts_the_replay(stand):
    """After a few tries it ends with the log's error, and tells how far it came if it can."""
    for number in range(3):
        await stand.put("a", b"%d" % number)
    stand.log.stumbles = {2, 3, 4, 5}

    with pytest.raises(LogUnavailable):
        await stand.replayer(pace=replace(FAST, max_at_once=1)).replay_span(Span(Topic.RESULTS))

    assert {"a": [b"0"]} == stand.values()
    assert [1] == [fact.detail["records"] for fact in stand.facts(FactName.REPLAYED)]


async def test_what_the_log_refuses_is_told_and_the_rest_goes_on():
    """A copy that its marks make too large is refused by name; others are put back."""
    stand = Stand(max_record_bytes=1000)
    large = await stand.put("a", b"x" * 950)
    await stand.put("a", b"1")

    replayer = stand.replayer()
    await replayer.replay_span(Span(Topic.RESULTS))

    place = f"results/{large.position.partition}/0"
    assert {"a": [b"1"]} == stand.values()
    assert [True] == [told.startswith(f"{place}: ") for told in replayer.tally.refused]
    assert (1, 1) == (replayer.tally.replayed, stand.facts(FactName.REPLAYED)[0].detail["refused"])


async def test_a_replay_keeps_to_its_rate(stand):
    """Past the first few, records wait for their turn: so many a second and no more."""
    for number in range(30):
        await stand.put("a", b"%d" % number)
    loop = asyncio.get_running_loop()

    began = loop.time()
    await stand.replayer(pace=Pace(100)).replay_span(Span(Topic.RESULTS))

    assert 0.15 <= loop.time() - began  # 20 at once, and 10 more when their 0.2 s are over


async def test_a_replay_that_is_stopped_tells_how_far_it_came(stand):
    """A replay that is cancelled between two copies says what it did, and stays cancelled."""
    for number in range(3):
        await stand.put("a", b"%d" % number)

    async with asyncio.TaskGroup() as tasks:
        slow = stand.replayer(pace=Pace(1))
        running = tasks.create_task(slow.replay_span(Span(Topic.RESULTS)))
        await stand.has_moved.wait()
        running.cancel()

    assert running.cancelled()
    assert [1] == [fact.detail["records"] for fact in stand.facts(FactName.REPLAYED)]


async def test_a_copy_is_the_same_event(stand):
    """A replayed command has the id and the value of its original."""
    original = await stand.command()

    await stand.replayer().replay_span(Span(Topic.COMMANDS))

    (copy,) = stand.copies()
    first, second = (decode(r.headers, r.value) for r in (original, copy))
    assert (first.id, first.data, first.time) == (second.id, second.data, second.time)
