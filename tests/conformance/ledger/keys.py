"""What the ledger promises about keys: groups, numbers in a series, allowances, reserved keys."""

import asyncio

from consumer.core.fact import FactName, Witness, group_cancelled, group_cancelled_id
from consumer.core.projection import Entry
from consumer.core.standing import Series
from consumer.ports import RequestFilter
from tests.conformance.ledger.entries import told, webhook
from tests.conformance.ledger.stage import R1, R2, R3, SECOND, T0, Stage

ENDPOINT = "fal-ai/flux/dev"


def _keyed(name, number, *, request_id="", submission_id="", group="g", key="k"):
    return told(
        name,
        Witness.COMMAND,
        at=T0 + number * SECOND,
        request_id=request_id,
        submission_id=submission_id,
        endpoint=ENDPOINT,
        group=group,
        supersedes=key,
        number=number,
    )


async def keys_are_found_again(stage: Stage) -> None:
    """Requests and submissions are found by their group, and by their series."""
    for entry in (
        _keyed(FactName.TRACKED, 1, request_id=R1),
        _keyed(FactName.TRACKED, 2, request_id=R2, group="other"),
        _keyed(FactName.TRACKED, 3, request_id=R3, key="other"),
        _keyed(FactName.INTENDED, 4, submission_id="s4"),
        _keyed(FactName.INTENDED, 5, submission_id="s5"),
        _keyed(FactName.REFUSED, 5, submission_id="s5"),
    ):
        await stage.ledger.record(entry)

    async def names(**wanted):
        found = await stage.ledger.requests(RequestFilter(**wanted))
        return [request.request_id for request in found]

    assert [R3, R1] == await names(group="g")
    assert [R2, R1] == await names(supersedes="k")
    assert [R1] == await names(supersedes="k", group="g", open_only=True)
    assert [] == await names(group="nobody")
    assert ["s4"] == [item.submission_id for item in await stage.ledger.unended("g")]
    assert [] == await stage.ledger.unended("")
    assert 4 == await stage.ledger.open_work(100)
    assert 2 == await stage.ledger.open_work(2)


async def lower_numbers_are_found_while_they_are_open(stage: Stage) -> None:
    """Who has a lower number and no end is found, the highest first; and who has the highest."""
    for entry in (
        _keyed(FactName.TRACKED, 1, request_id=R1),
        _keyed(FactName.TRACKED, 2, request_id=R2),
        _keyed(FactName.INTENDED, 3, submission_id="s3"),
        _keyed(FactName.TRACKED, 4, request_id=R3),
    ):
        await stage.ledger.record(entry)
    ledger = stage.ledger

    async def lower(number, limit=9):
        requests, submissions = await ledger.outnumbered(Series(key="k", number=number), limit)
        return [r.request_id for r in requests] + [s.submission_id for s in submissions]

    async def higher(number, key="k"):
        found = await ledger.outnumbering(Series(key=key, number=number))
        return found and found.request_id

    assert [R2, R1, "s3"] == await lower(4)
    assert [R2, "s3"] == await lower(4, limit=1)
    assert [] == await lower(1)
    assert [R3, R3, None] == [await higher(1), await higher(3), await higher(4)]
    assert None is await higher(1, key="other")


async def a_fact_about_a_group_is_known(stage: Stage) -> None:
    """A fact about no request is kept, once, and known by its id; it names nobody."""
    entry = Entry("e1", (group_cancelled("g", T0, {"command_id": "c1"}),))

    assert not await stage.ledger.knows_fact(group_cancelled_id("g"))
    assert [True, False] == [(await stage.ledger.record(entry)).is_new for _ in range(2)]

    assert await stage.ledger.knows_fact(group_cancelled_id("g"))
    assert not await stage.ledger.knows_fact(group_cancelled_id("h"))
    assert [] == await stage.ledger.requests(RequestFilter())
    assert [] == await stage.ledger.submissions()


async def numbers_rise_under_one_key(stage: Stage) -> None:
    """Each subject has one number under a key for good, in the order of asking."""
    first = [await stage.ledger.number_of("k", name) for name in ("a", "b", "a")]
    other = await stage.ledger.number_of("l", "b")
    again = await stage.reopen()

    assert [1, 2, 1] == first
    assert 1 == other
    assert [2, 3] == [await again.number_of("k", name) for name in ("b", "c")]


async def numbers_that_facts_tell_are_not_given_again(stage: Stage) -> None:
    """Where the ledger lost its own rows, numbers go on above those that are told."""
    await stage.ledger.record(_keyed(FactName.TRACKED, 7, request_id=R1))
    await stage.ledger.record(_keyed(FactName.INTENDED, 9, submission_id="s9"))

    taken = [await stage.ledger.number_of("k", name) for name in (R1, "s9", "new", "newer")]

    assert [7, 9, 10, 11] == taken
    assert 1 == await stage.ledger.number_of("l", "new")


async def numbers_taken_at_once_differ(stage: Stage) -> None:
    """Many who take a number at the same time get one each, none twice, none left out."""
    names = [f"s{n}" for n in range(20)] * 2

    taken = await asyncio.gather(*(stage.ledger.number_of("k", name) for name in names))

    assert taken[:20] == taken[20:]
    assert list(range(1, 21)) == sorted(taken[:20])


async def an_allowance_is_for_a_span(stage: Stage) -> None:
    """So many uses in a span are counted, and in the next again; names do not share them."""
    span = SECOND * 3600

    def allow(name, limit=2):
        return stage.ledger.allow(name, limit, span)

    assert [True, True, False] == [await allow("cancels") for _ in range(3)]
    assert [True, False] == [await allow("commands"), await allow("nothing", 0)]
    assert await allow("cancels", 3)
    assert not await (await stage.reopen()).allow("cancels", 3, span)


async def a_reserved_key_stands_for_what_it_stood_first(stage: Stage) -> None:
    """An idempotency key keeps its first meaning, also after a restart."""
    first = [await stage.ledger.reserve("key", what) for what in ("one", "two")]

    assert ["one", "one"] == first
    again = await stage.reopen()
    assert "one" == await again.reserve("key", "three")
    assert "two" == await again.reserve("other", "two")


async def an_ended_request_is_not_outnumbered(stage: Stage) -> None:
    """A request whose result is told is not found among the lower numbers."""
    await stage.ledger.record(_keyed(FactName.TRACKED, 1, request_id=R1))
    await stage.ledger.record(webhook(R1, at=T0 + SECOND))
    requests, _ = await stage.ledger.outnumbered(Series(key="k", number=2), 9)

    assert [R1] == [request.request_id for request in requests]  # its result is not told yet
    assert requests[0].end is not None
