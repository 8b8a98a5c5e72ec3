"""What recording promises: once, in any company, and kept as it came."""

import asyncio

from consumer.core.fact import FactName, Witness
from consumer.core.projection import Entry
from consumer.core.standing import State, SubmissionState
from consumer.errors import UndecodableEvent
from consumer.ports import Recorded, RequestFilter
from tests.conformance.ledger.entries import resulted, told, tracked, webhook
from tests.conformance.ledger.stage import HOSTILE, R1, R2, SECOND, STORED, T0, Stage, rows


async def repetition_changes_nothing(stage: Stage) -> None:
    """An entry recorded twice is new once, and the second time changes no row."""
    entries = [
        tracked(submission_id="s1"),
        webhook(),
        resulted(),
        told(FactName.QUEUED, position=3),
    ]
    first = [await stage.ledger.record(entry) for entry in entries]
    before = await rows(stage.ledger)

    again = [await stage.ledger.record(entry) for entry in entries]

    assert [True] * 4 == [recorded.is_new for recorded in first]
    assert [False] * 4 == [recorded.is_new for recorded in again]
    assert first[-1].request == again[-1].request
    assert before == await rows(stage.ledger)


async def recorded_survives_reopening(stage: Stage) -> None:
    """What was recorded is the same after the ledger was closed and opened again."""
    for entry in (tracked(submission_id="s1"), webhook(), resulted(value=b"whole \x00\xff")):
        await stage.ledger.record(entry)
    before = await rows(stage.ledger)

    ledger = await stage.reopen()

    assert before == await rows(ledger)
    assert b"whole \x00\xff" == await ledger.result(R1)


async def state_follows_the_facts(stage: Stage) -> None:
    """Recording returns the request and submission as the entry leaves them."""
    recorded = await stage.ledger.record(tracked(submission_id="s1", tags={"team": "x"}))
    assert State.SUBMITTED is recorded.request.state
    assert SubmissionState.SUBMITTED is recorded.submission.state

    recorded = await stage.ledger.record(webhook(at=T0 + SECOND))
    assert State.SUCCEEDED is recorded.request.state
    assert {"team": "x"} == recorded.request.tags
    assert recorded.request == await stage.ledger.request(R1)
    assert None is await stage.ledger.request(R2)
    assert None is await stage.ledger.submission("s2")


async def concurrent_entries_are_all_kept(stage: Stage) -> None:
    """Many callers at once: each fact is joined, each caller gets its own answer."""
    entries = [
        told(FactName.QUEUED, at=T0 + n * SECOND, request_id=request_id, position=n)
        for n in range(40)
        for request_id in (R1, R2)
    ]

    recorded = await asyncio.gather(*(stage.ledger.record(entry) for entry in entries))

    assert all(one.is_new for one in recorded)
    assert [R1, R2] * 40 == [one.request.request_id for one in recorded]
    assert 40 == len(await stage.ledger.timeline(R1))
    assert T0 + 39 * SECOND == (await stage.ledger.request(R2)).last_at


async def bad_entry_does_not_hurt_the_others(stage: Stage) -> None:
    """Of entries recorded at once only the one that cannot be kept fails, with an EventError."""
    deep: list = []
    for _ in range(100_000):
        deep = [deep]
    bad = [
        resulted(R2, revision=10**30),
        resulted(R2, revision=0),
        resulted(R2, outcome="weird"),
        resulted("", submission_id=""),
        told(FactName.QUEUED, request_id=R2, number=float("nan")),
        told(FactName.QUEUED, request_id=R2, at=T0 + SECOND, deep=deep),
    ]
    good = [told(FactName.QUEUED, at=T0 + n * SECOND, position=n) for n in range(6)]
    mixed = [entry for pair in zip(bad, good, strict=True) for entry in pair]

    answers = await asyncio.gather(
        *(stage.ledger.record(entry) for entry in mixed), return_exceptions=True
    )

    assert [UndecodableEvent] * 6 == [type(answer) for answer in answers[::2]]
    assert all(answer.is_new for answer in answers[1::2])
    assert None is await stage.ledger.request(R2)


async def hostile_text_and_numbers_survive(stage: Stage) -> None:
    """
    NUL, lone surrogates and numbers of 400 digits rest in the ledger, escaped where they must.
    """
    huge = int("9" * 400)
    detail = {"text": HOSTILE, HOSTILE: [HOSTILE, {"n": huge}], "position": huge, "f": 1.5e300}
    await stage.ledger.record(
        told(FactName.QUEUED, request_id=HOSTILE, submission_id=HOSTILE, **detail)
    )
    await stage.ledger.record(tracked(HOSTILE, tags={HOSTILE: HOSTILE}, endpoint=HOSTILE))

    ledger = await stage.reopen()

    kept = {"text": STORED, STORED: [STORED, {"n": huge}], "position": huge, "f": 1.5e300}
    facts = await ledger.timeline(HOSTILE)
    assert kept == next(fact.detail for fact in facts if fact.name is FactName.QUEUED)
    request = await ledger.request(HOSTILE)
    assert (STORED, {STORED: STORED}, STORED) == (
        request.request_id,
        request.tags,
        request.endpoint.value,
    )
    assert [request] == await ledger.requests(RequestFilter(endpoint=HOSTILE))
    assert STORED == (await ledger.submission(HOSTILE)).submission_id


async def result_may_come_before_any_fact(stage: Stage) -> None:
    """A result that arrives first makes its row, and ends in the same as one that came last."""
    await stage.ledger.record(resulted(at=T0 + 5 * SECOND, billable_units="1.5"))
    early = await stage.ledger.request(R1)
    await stage.ledger.record(webhook(at=T0))

    request = await stage.ledger.request(R1)

    assert (T0 + 5 * SECOND, State.SEEN, 1) == (early.first_at, early.state, early.result.revision)
    assert (T0, T0 + 5 * SECOND) == (request.first_at, request.last_at)
    assert (State.SUCCEEDED, "1.5") == (request.state, request.result.billable_units)
    assert not request.is_open


async def highest_revision_is_the_result(stage: Stage) -> None:
    """Of several revisions the highest is read, in whatever order they came."""
    for revision in (2, 3, 1):
        await stage.ledger.record(resulted(revision=revision, value=b"%d" % revision))
    await stage.ledger.record(
        resulted("", submission_id="s9", outcome="lost", value=b"of the submission")
    )

    assert b"3" == await stage.ledger.result(R1)
    assert 3 == (await stage.ledger.request(R1)).result.revision
    assert b"of the submission" == await stage.ledger.result("s9")
    assert "lost" == (await stage.ledger.submission("s9")).result.outcome
    assert None is await stage.ledger.result("nobody")


async def conflict_is_told_once(stage: Stage) -> None:
    """Only the entry that brings the second end is told of the conflict."""
    ended = [
        webhook(),
        told(FactName.CANCELLED, Witness.CANCEL),
        told(FactName.FAILED),
        webhook(R2),
    ]

    recorded = [await stage.ledger.record(entry) for entry in ended]

    assert [False, True, False, False] == [one.became_conflicted for one in recorded]
    assert State.SUCCEEDED is (await stage.ledger.request(R1)).state
    assert 1 == (await stage.ledger.counts())["conflicts"]


async def conflict_in_one_batch_is_told_once(stage: Stage) -> None:
    """Of entries recorded at once, one and only one is told of the conflict."""
    ended = [webhook(), told(FactName.CANCELLED, Witness.CANCEL), told(FactName.FAILED)]

    recorded = await asyncio.gather(*(stage.ledger.record(entry) for entry in ended))

    assert 1 == sum(one.became_conflicted for one in recorded)


async def entry_without_anything_is_no_news(stage: Stage) -> None:
    """An entry that adds nothing, as a command's, changes nothing."""
    assert Recorded(is_new=False) == await stage.ledger.record(Entry("command"))
