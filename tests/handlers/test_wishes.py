"""Groups and series: who is not wanted any more, whichever fact is recorded last."""

from itertools import permutations

import pytest

from consumer.core.cancellation import Happened, cancellation_of
from consumer.core.command import submission_id_of
from consumer.core.event import encode
from consumer.core.fact import FactName, Witness, fact_event, group_cancelled, new_fact
from consumer.core.policy import Done
from consumer.core.standing import State, SubmissionState
from consumer.handlers import wishes
from consumer.ports import SubmitUnknown
from tests.handlers.commanding import handled
from tests.handlers.stage import ENDPOINT, R1, R2, SECOND, SOURCE, SUBMISSION, Stage


def wanted(stage: Stage) -> list[tuple[str, str, str]]:
    """Return (subject, policy, by) of every wish that was told."""
    names = (FactName.CANCEL_WANTED, FactName.CANCEL_REMEMBERED)
    return sorted(
        (fact.request_id or fact.submission_id, fact.detail["policy"], fact.detail.get("by", ""))
        for fact in stage.told_facts()
        if fact.name in names
    )


def named(request_id="", submission_id="", name=FactName.SUBMITTED, **detail):
    witness = Witness.SUBMIT if name is FactName.SUBMITTED else Witness.COMMAND
    detail = {"endpoint": ENDPOINT} | detail
    return new_fact(
        name, witness, stage_now, request_id=request_id, submission_id=submission_id, detail=detail
    )


stage_now = Stage().clock()


async def recorded(stage: Stage, facts) -> None:
    for fact in facts:
        await stage.put(encode(fact_event(fact, SOURCE)))
        await stage.catch_up()


# ---------------------------------------------------------------- groups


GROUP = [
    named(R1, "sub_1", group="g"),
    named(R2, "sub_2", group="other"),
    named("", "sub_3", FactName.INTENDED, group="g"),
    group_cancelled("g", stage_now, {}),
]


@pytest.mark.parametrize("order", list(permutations(GROUP)))
async def test_a_cancelled_group_reaches_members_before_and_after(stage, order):
    """Members that are recorded before or after the end of their group are not wanted."""
    await recorded(stage, order)

    assert [(R1, "group", "g"), ("sub_3", "group", "g")] == wanted(stage)


async def test_a_cancelled_group_is_stopped_and_cancelled(stage):
    """What is queued is cancelled, and what comes later under that name is never sent."""
    await handled(stage, await stage.submit(group="g"))
    assert Done() == await handled(stage, await stage.command("cancel", command_id="x", group="g"))

    await stage.cancel.round()
    await stage.catch_up()
    await handled(stage, await stage.submit(command_id="late", group="g"))

    late = await stage.ledger.submission(submission_id_of("late"))
    assert (1, 1) == (stage.calls("submit"), stage.calls("cancel"))
    assert (SubmissionState.CANCELLED, "group") == (late.state, late.reason)
    outcomes = sorted((told["outcome"], told["reason"]) for told in stage.told())
    assert [("cancelled", "group"), ("cancelled", "group")] == outcomes
    [job] = stage.fal.jobs
    assert Happened.REMOVED == cancellation_of(await stage.request(job)).happened


async def test_a_large_group_is_cancelled_page_by_page(stage, monkeypatch):
    """A group of more than a page is cancelled whole."""
    monkeypatch.setattr(wishes, "PAGE", 2)
    ids = [f"019f7085-1439-7320-9a28-0000000000{n:02d}" for n in range(7)]
    await recorded(stage, [named(name, group="g") for name in ids])

    await recorded(stage, [group_cancelled("g", stage_now, {})])

    assert [(name, "group", "g") for name in ids] == wanted(stage)


# ---------------------------------------------------------------- series


SERIES = [
    named(R1, "sub_1", supersedes="k", number=1),
    named("", "sub_2", FactName.INTENDED, supersedes="k", number=2),
    named(R2, "sub_3", supersedes="k", number=3),
    named("", "sub_4", FactName.INTENDED, supersedes="k", number=4),
]


@pytest.mark.parametrize("order", list(permutations(SERIES)))
async def test_only_lower_numbers_are_superseded_and_only_by_what_is_at_fal(stage, order):
    """In any order: the request with number 3 supersedes 1 and 2; 4 is not at fal yet."""
    await recorded(stage, order)

    assert [(R1, "superseded", R2), ("sub_2", "superseded", R2)] == wanted(stage)


async def test_many_of_a_series_are_superseded_page_by_page(stage, monkeypatch):
    """A series with more open ones than a page is superseded whole."""
    monkeypatch.setattr(wishes, "PAGE", 2)
    ids = [f"019f7085-1439-7320-9a28-0000000000{n:02d}" for n in range(1, 8)]
    facts = [named(name, supersedes="k", number=n) for n, name in enumerate(ids, 1)]
    older = [named("", f"sub_{n}", FactName.INTENDED, supersedes="k", number=n) for n in (1, 2, 3)]

    await recorded(stage, [*older, *facts[:-1]])
    await recorded(stage, facts[-1:])

    subjects = {subject for subject, _, _ in wanted(stage)}
    assert {*ids[:-1], "sub_1", "sub_2", "sub_3"} == subjects


async def test_the_newer_submit_supersedes_the_older_one(stage):
    """The older of two submits with one key is removed from the queue, the newer goes on."""
    for command_id in ("old", "new"):
        await handled(stage, await stage.submit(command_id=command_id, supersedes="k"))

    await stage.cancel.round()
    await stage.catch_up()

    old, new = [await stage.request(request_id) for request_id in stage.fal.jobs]
    assert (State.CANCELLED, State.SUBMITTED) == (old.state, new.state)
    assert (1, 2) == (old.series.number, new.series.number)
    found = cancellation_of(old)
    assert ("superseded", "IN_QUEUE", "OK", new.request_id) == (
        found.policy,
        found.status,
        found.answer,
        found.by,
    )


async def test_an_older_submit_that_comes_late_keeps_its_number_and_is_never_sent(stage):
    """A submit that took its number first and is carried out last is stopped."""
    older = submission_id_of("old")
    assert 1 == await stage.ledger.number_of("k", older)
    await handled(stage, await stage.submit(command_id="new", supersedes="k"))

    await handled(stage, await stage.submit(command_id="old", supersedes="k"))

    held = await stage.ledger.submission(older)
    assert 1 == stage.calls("submit")
    assert (SubmissionState.CANCELLED, "superseded") == (held.state, held.reason)


async def test_a_newer_one_that_is_refused_supersedes_nothing(stage):
    """A submit that may not be sent takes no number and cancels nothing."""
    await handled(stage, await stage.submit(command_id="old", supersedes="k"))
    picky = stage.restarted(may_submit=lambda _endpoint: False)

    await handled(picky, await picky.submit(command_id="new", supersedes="k"))

    assert [] == wanted(picky)
    assert 2 == await stage.ledger.number_of("k", "next")


async def test_track_takes_part_in_a_series_and_a_group(stage):
    """A tracked request has its group and its number as a submitted one has."""
    for n, request_id in enumerate((R1, R2)):
        stage.fal.add(ENDPOINT, request_id)
        fields = {"endpoint": ENDPOINT, "request_id": request_id, "supersedes": "k", "group": "g"}
        await handled(stage, await stage.command("track", command_id=f"c{n}", **fields))

    assert [(R1, "superseded", R2)] == wanted(stage)
    assert "g" == (await stage.request(R2)).group


# ---------------------------------------------------------------- remembered


@pytest.mark.parametrize("is_late", [False, True])
async def test_a_remembered_cancel_reaches_the_request_whichever_is_recorded_last(stage, is_late):
    """A remembered cancel and the request id of its submission meet in either order."""
    stage.fal.answer_next("submit", SubmitUnknown("timeout"))
    await handled(stage, await stage.submit())
    facts = [
        named("", SUBMISSION, FactName.CANCEL_REMEMBERED, policy="asked"),
        named(R1, SUBMISSION),
    ]

    await recorded(stage, reversed(facts) if is_late else facts)

    assert (R1, "asked", SUBMISSION) in wanted(stage)


async def test_what_has_ended_is_not_wanted_cancelled(stage):
    """A request with an end, and a submission with one, are left alone."""
    await stage.tracked(group="g")
    await stage.webhook()
    await stage.catch_up()
    refused = named("", "sub_2", FactName.REFUSED, group="g")

    await recorded(stage, [refused, group_cancelled("g", stage_now, {})])
    stage.clock.advance(SECOND)

    assert [] == wanted(stage)
