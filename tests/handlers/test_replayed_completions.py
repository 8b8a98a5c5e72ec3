"""Completions and facts that were replayed: nothing counts twice, nothing is asked in vain."""

import pytest

from consumer.core.event import NewRecord, Topic, encode
from consumer.core.fact import FactName, Witness, fact_event, new_fact
from consumer.core.policy import Done, RetryAt
from consumer.core.replay import Replay, replay_event
from consumer.core.standing import State
from consumer.errors import FalUnavailable, UndecodableEvent
from tests.handlers.replaying import replayed
from tests.handlers.stage import HOUR, MINUTE, R1, SECOND, SOURCE

NULL_BODY = b'{"error":null,"payload":null,"request_id":"%s","status":"OK"}' % R1.encode()


async def test_a_replayed_completion_changes_nothing(stage):
    """It is judged again at its own time; the ledger has each fact and delivery once."""
    await stage.tracked()
    stage.fal.finish(R1, {"seed": 7})
    record = await stage.webhook()
    await stage.fetch_all()
    before = (await stage.request(), await stage.ledger.timeline(R1), stage.told())
    stage.clock.advance(HOUR)

    copy = await replayed(stage, record)
    outcomes = [await stage.record.handle(copy, 1), await stage.fetch.handle(copy, 1)]

    assert [Done(), Done()] == outcomes
    assert before == (await stage.request(), await stage.ledger.timeline(R1), stage.told())
    assert 1 == len(await stage.ledger.evidence(R1))


async def test_fal_is_not_asked_for_what_is_published(stage):
    """Where the published result is whole, a replayed completion asks fal nothing."""
    await stage.tracked()
    stage.fal.finish(R1, {"seed": 7})
    record = await stage.webhook()
    await stage.fetch_all()
    asked = stage.calls("result")

    await stage.fetch.handle(await replayed(stage, record), 1)

    assert (1, 1) == (asked, stage.calls("result"))


async def test_a_replay_fills_an_output_that_was_missing(stage):
    """Where the output was not to be had, a replayed completion asks again and fills it."""
    await stage.tracked()
    stage.fal.answer_next("result", FalUnavailable("away"))
    record = await stage.webhook(NULL_BODY)
    stage.clock.advance(HOUR)
    await stage.fetch.handle(record, 1)
    stage.fal.finish(R1, {"seed": 7})

    await stage.fetch.handle(await replayed(stage, record), 1)

    assert [(1, None, "unavailable"), (2, {"seed": 7}, None)] == [
        (told["revision"], told["output"], told["output_missing"]) for told in stage.told()
    ]


async def test_patience_with_fal_begins_with_the_replay(stage):
    """An old completion that is replayed waits for fal as long as a new one."""
    await stage.tracked()
    stage.fal.answer_next("result", FalUnavailable("away"))
    record = await stage.webhook(NULL_BODY)
    stage.clock.advance(HOUR)
    copy = await replayed(stage, record)
    stage.clock.advance(MINUTE)

    outcome = await stage.fetch.handle(copy, 1)

    assert RetryAt(stage.clock() + SECOND, "fal_unavailable") == outcome
    assert [] == stage.told()


async def test_a_body_that_can_be_read_now_has_its_end(stage):
    """What an earlier version could not read gives its end when it is replayed, signed."""
    await stage.tracked()
    readable = await stage.webhook()
    entry = new_fact(FactName.UNREADABLE, Witness.WEBHOOK, stage.clock(), request_id=R1)
    await stage.put(encode(fact_event(entry, SOURCE)))  # what that version made of it
    await stage.catch_up()

    assert Done() == await stage.record.handle(await replayed(stage, readable), 1)

    assert State.SUCCEEDED is (await stage.request()).state


async def test_an_unreadable_body_and_its_end_are_two_facts(stage):
    """The fact that a body cannot be read leaves room for the end that a later version reads."""
    delivery = stage.webhook_record()
    broken = stage.webhook_record(b"no json")
    ids = []
    for record in (broken, delivery):
        put = await stage.put(record)
        await stage.record.handle(put, 1)
        name = dict(record.headers)["ce_id"].decode()
        ids.append({fact.id == name for fact in await stage.ledger.timeline(R1) if fact.signed})

    assert [{False}, {False, True}] == ids


async def test_what_is_still_unreadable_dies_again(stage):
    """A receiver's dead letter that is replayed in vain is undecodable for `fetch`, once more."""
    unreadable = stage.webhook_record(b"no json")
    copy = await replayed(stage, await stage.put(unreadable))

    with pytest.raises(UndecodableEvent):
        await stage.fetch.handle(copy, 1)
    assert Done() == await stage.record.handle(copy, 1)


@pytest.mark.parametrize("name, others", [("fetch", "record"), ("record", "fetch")])
async def test_a_replay_for_one_handler_is_left_to_it(stage, name, others):
    """Who is not meant is done at once."""
    copy = await replayed(stage, await stage.webhook(), handler=name)

    await getattr(stage, others).handle(copy, 1)

    assert ([], []) == (stage.told(), list(await stage.ledger.evidence(R1)))


async def test_a_dead_letter_of_a_replay_is_recorded(stage):
    """A letter whose record was meant for one handler is counted like any other."""
    copy = await replayed(stage, await stage.webhook(), handler="fetch")
    headers = (*copy.headers, ("dlreason", b"x"), ("dlorigin", b"completions/0/1"))
    letter = await stage.put(NewRecord(Topic.DEAD_LETTERS, copy.key, copy.value, headers))

    assert Done() == await stage.record.handle(letter, 1)

    assert 1 == (await stage.ledger.counts())["dead_letters"]


async def test_facts_about_replays_are_kept(stage):
    """The ledger keeps who asked for a replay and why, about no request."""
    by = Replay("r1", "a test", stage.clock(), "tests")
    event = replay_event(FactName.REPLAYED, by, at=stage.clock(), detail={"records": 1})

    assert Done() == await stage.record.handle(await stage.put(encode(event)), 1)

    assert ["replayed"] == [fact.name.value for fact in await stage.ledger.timeline("")]
