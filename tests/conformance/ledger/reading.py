"""What the ledger promises its readers: timelines, lists, counts and key sets."""

from dataclasses import replace

from consumer.core.fact import FactName, Witness
from consumer.core.projection import DeadLetterEntry, Entry, KeySetEntry
from consumer.core.standing import State, SubmissionState
from consumer.ports import RequestFilter
from tests.conformance.ledger.entries import parked_record, resulted, told, tracked, webhook
from tests.conformance.ledger.stage import HOSTILE, R1, R2, R3, SECOND, T0, Stage


async def timeline_spans_request_and_submission(stage: Stage) -> None:
    """Request and submission that name each other share one timeline, oldest first."""
    facts = [
        told(FactName.INTENDED, Witness.COMMAND, request_id="", submission_id="s1"),
        told(FactName.SENDING, Witness.SUBMIT, at=T0 + SECOND, request_id="", submission_id="s1"),
        tracked(at=T0 + 2 * SECOND, submission_id="s1"),
        told(FactName.RUNNING, at=T0 + 3 * SECOND),
    ]
    for entry in reversed(facts):
        await stage.ledger.record(entry)
    await stage.ledger.record(tracked(R2, submission_id="s2"))

    expected = [entry.facts[0] for entry in facts]
    assert expected == await stage.ledger.timeline(R1)
    assert expected == await stage.ledger.timeline("s1")
    assert [] == await stage.ledger.timeline("nobody")


async def unbound_pair_keeps_timelines_apart(stage: Stage) -> None:
    """A submission that belongs to another request is no part of a request's timeline."""
    await stage.ledger.record(tracked(R1, at=T0, submission_id="s1"))
    late = told(FactName.TRACKED, Witness.TOKEN, at=T0 + SECOND, request_id=R2, submission_id="s1")
    await stage.ledger.record(late)

    assert [late.facts[0]] == await stage.ledger.timeline(R2)
    assert 2 == len(await stage.ledger.timeline("s1"))


async def requests_are_listed_newest_first(stage: Stage) -> None:
    """Lists are filtered, newest first, and go on after the last id of a page."""
    await stage.ledger.record(tracked(R1, at=T0, submission_id="s1"))
    await stage.ledger.record(tracked(R2, at=T0 + SECOND, endpoint="fal-ai/other"))
    await stage.ledger.record(webhook(R3, at=T0 + 2 * SECOND))
    await stage.ledger.record(resulted(R3, at=T0 + 3 * SECOND))

    async def names(**wanted):
        found = await stage.ledger.requests(RequestFilter(**wanted))
        return [request.request_id for request in found]

    assert [R3, R2, R1] == await names()
    assert [R3, R2] == await names(limit=2)
    assert [R1] == await names(limit=2, before=R2)
    assert [] == await names(before="nobody")
    assert [R2, R1] == await names(open_only=True)
    assert [R2, R1] == await names(states=[State.SUBMITTED, State.LOST])
    assert [R2] == await names(endpoint="fal-ai/other")
    assert [R1] == await names(submission_id="s1", open_only=True)
    assert [] == await names(limit=0)


async def submissions_are_listed_oldest_first(stage: Stage) -> None:
    """Submissions come newest first, at most as many as asked."""
    for n in range(3):
        await stage.ledger.record(
            told(
                FactName.INTENDED,
                Witness.COMMAND,
                at=T0 + n * SECOND,
                request_id="",
                submission_id=f"s{n}",
            )
        )

    await stage.ledger.record(tracked(at=T0 + 9 * SECOND, submission_id="s0"))

    async def names(**wanted):
        return [one.submission_id for one in await stage.ledger.submissions(**wanted)]

    assert ["s0", "s1"] == await names(limit=2)
    assert ["s0"] == await names(states=[SubmissionState.SUBMITTED, SubmissionState.LOST])
    assert ["s1", "s2"] == await names(states=[SubmissionState.INTENDED])


async def counts_name_every_state(stage: Stage) -> None:
    """Every state is counted, the empty ones as 0."""
    await stage.ledger.record(tracked(submission_id="s1"))
    await stage.ledger.record(webhook(R2))
    letter = DeadLetterEntry("d1", HOSTILE, "undecodable", "completions", T0)
    assert (await stage.ledger.record(Entry("e1", dead_letter=letter))).is_new
    assert not (await stage.ledger.record(Entry("e1", dead_letter=letter))).is_new
    await stage.ledger.park(parked_record())

    counts = await stage.ledger.counts()

    assert {
        "submitted": 1,
        "succeeded": 1,
        "submission:submitted": 1,
        "dead_letters": 1,
        "parked": 1,
    } == {name: number for name, number in counts.items() if number}
    assert {state.value for state in State} < counts.keys()
    assert "conflicts" in counts


async def key_sets_are_kept_by_address(stage: Stage) -> None:
    """Key sets of one address come newest first; one fetched again keeps its latest time."""
    old = KeySetEntry("a" * 64, "https://x/jwks", T0, b"\x00old")
    new = KeySetEntry("b" * 64, "https://x/jwks", T0 + SECOND, b"new")
    again = replace(old, fetched_at=T0 + 2 * SECOND)
    other = replace(old, url="https://y/jwks")

    recorded = [
        (await stage.ledger.record(Entry(str(n), key_set=key_set))).is_new
        for n, key_set in enumerate((old, new, other, old, again, old))
    ]

    assert [True, True, True, False, True, False] == recorded
    assert [again, new] == await stage.ledger.key_sets("https://x/jwks")
    assert [] == await stage.ledger.key_sets("https://z/jwks")
    await stage.ledger.ping()
