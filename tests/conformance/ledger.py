"""
What every `ports.Ledger` promises, as functions that take a stage.

A stage holds a fresh ledger, the clock that it reads, and a way to close it and open it
again, as after a restart.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256

import pytest
from nacl.signing import SigningKey

from consumer.core.delivery import Delivery, SignedHeaders
from consumer.core.event import NewRecord, Topic, event_id
from consumer.core.fact import Fact, FactName, Witness, new_fact
from consumer.core.keys import public_key
from consumer.core.projection import (
    DeadLetterEntry,
    Entry,
    Evidence,
    KeySetEntry,
    ResultEntry,
)
from consumer.core.signature import signed_message, verify
from consumer.core.standing import Published, Request, State, SubmissionState
from consumer.errors import UndecodableEvent
from consumer.ports import (
    Claim,
    ClaimKind,
    Ledger,
    Parked,
    Plan,
    Position,
    Record,
    Recorded,
    RequestFilter,
)

T0 = datetime(2026, 10, 1, 12, 0, 0, 123456, tzinfo=UTC)
SECOND = timedelta(seconds=1)
LEASE = timedelta(seconds=30)
R1, R2, R3 = (f"019f7085-1439-7320-9a28-00000000000{n}" for n in (1, 2, 3))
HOSTILE = "nul \x00, lone \ud800 and \udfff, emoji \U0001f600, quote ', backslash \\u0000"
STORED = "nul \\u0000, lone \\ud800 and \\udfff, emoji \U0001f600, quote ', backslash \\u0000"


class ManualClock:
    """A clock that stands until it is moved."""

    def __init__(self, now: datetime = T0) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now

    def advance(self, span: timedelta) -> None:
        self.now += span


@dataclass
class Stage:
    """One ledger under test, its clock, and how to close and open it again."""

    ledger: Ledger
    clock: ManualClock
    reopen: Callable[[], Awaitable[Ledger]]


def plan(request: Request, now: datetime) -> Plan:
    """Return a plan of this suite's own, with each kind of answer that the product's has."""
    check = now + SECOND * (60 if request.has_callback or request.end else 1)
    if request.unreadable_at is not None and request.end is None:
        check = now
    wants_cancel = request.is_tracked and request.end is None and not request.cancel_asked_at
    return Plan(check if request.is_open else None, request.finish_by if wants_cancel else None)


# ---------------------------------------------------------------- entries


def told(name, witness=Witness.STATUS, *, at=T0, request_id=R1, submission_id="", **detail):
    """Return the entry of one unsigned fact."""
    fact = new_fact(
        name, witness, at, request_id=request_id, submission_id=submission_id, detail=detail
    )
    return Entry(fact.id, (fact,))


def tracked(request_id=R1, *, at=T0, submission_id="", **detail):
    """Return the entry that lets a request be followed, from our own submit."""
    detail = {"endpoint": "fal-ai/flux/dev"} | detail
    return told(
        FactName.SUBMITTED,
        Witness.SUBMIT,
        at=at,
        request_id=request_id,
        submission_id=submission_id,
        **detail,
    )


def webhook(
    request_id=R1, *, at=T0, name=FactName.SUCCEEDED, account="ours", counts=True, body=b"{}"
):
    """Return the entry of a signed completion, with evidence that would not verify."""
    digest = sha256(body).hexdigest()
    identity = event_id("webhook", request_id, account, digest, name.value)
    fact = Fact(name, Witness.WEBHOOK, at, identity, request_id, "", {}, True, account, counts)
    evidence = Evidence(
        event_id("delivery", identity, str(at)),
        request_id,
        account,
        str(int(at.timestamp())),
        "ab" * 64,
        "key",
        "kid",
        "https://fal.example",
        at,
        digest,
        counts,
        body,
    )
    return Entry(identity, (fact,), evidence)


def resulted(
    request_id=R1, *, submission_id="", revision=1, outcome="succeeded", at=T0, value=b"{}", **more
):
    """Return the entry of a published result."""
    subject = request_id or submission_id
    published = Published(revision=revision, outcome=outcome, witness="webhook", **more)
    identity = event_id("result", subject, str(revision))
    return Entry(
        identity, result=ResultEntry(identity, request_id, submission_id, published, at, value)
    )


def claimed(key="submission-1", *, kind=ClaimKind.SUBMISSION, revision=1, at=T0, **more):
    """Return a claim that is overdue a minute after it was made."""
    fields = {"fingerprint": "f" * 64, "detail": {"by": "first"}} | more
    return Claim(
        kind, key, revision, claimed_at=at, deadline_at=at + timedelta(minutes=1), **fields
    )


EVENT = NewRecord(
    Topic.RESULTS, "k\x00\ud800", b"\x00\xff", (("ce_id", b"\xff\x00"), ("ce_id", b""))
)


def parked_record(name="p1", *, group="fetch", due_at=T0, **more):
    """Return a parked record with bytes and text that no column of text would take."""
    record = Record(
        Position(Topic.COMPLETIONS, 3, 2**40),
        "k\x00\ud800",
        b"\x00\xff body",
        (("ce_type", b"x"), ("odd\x00", b"\xff")),
        T0 - SECOND,
    )
    fields = {"attempt": 1, "reason": "fal_unavailable"} | more
    return Parked(name, group, record, parked_at=T0, due_at=due_at, **fields)


async def rows(ledger: Ledger) -> tuple:
    """Return everything that a reader can see of the projection."""
    requests = await ledger.requests(RequestFilter(limit=1000))
    submissions = await ledger.submissions(limit=1000)
    names = [request.request_id for request in requests]
    names += [submission.submission_id for submission in submissions]
    return (
        requests,
        submissions,
        [await ledger.timeline(name) for name in names],
        [await ledger.evidence(name) for name in names],
        [await ledger.result(name) for name in names],
        await ledger.counts(),
    )


async def due(ledger: Ledger, schedule="check") -> list[str]:
    """Lease and give back what is due, and return its subjects."""
    taken = await ledger.take_due(schedule, limit=100, lease=timedelta(0))
    return [row.subject for row in taken]


# ---------------------------------------------------------------- recording


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


# ---------------------------------------------------------------- evidence and accounts


async def retries_are_kept_apart_and_facts_once(stage: Stage) -> None:
    """Each retry of one delivery is evidence of its own; what it tells is one fact."""
    first, again = webhook(at=T0), webhook(at=T0 + 30 * SECOND)

    recorded = [await stage.ledger.record(entry) for entry in (again, first)]

    assert [True, True] == [one.is_new for one in recorded]
    assert [first.evidence, again.evidence] == await stage.ledger.evidence(R1)
    assert 1 == len(await stage.ledger.timeline(R1))


async def evidence_verifies_from_the_ledger_alone(stage: Stage) -> None:
    """What evidence() returns is enough to verify the signature again."""
    signing = SigningKey.generate()
    body, digest = (
        b'{"request_id": "x"}\x00\xff',
        sha256(b'{"request_id": "x"}\x00\xff').hexdigest(),
    )
    headers = SignedHeaders(R1, "ours", str(int(T0.timestamp())), "0" * 128)
    signature = signing.sign(signed_message(headers, digest)).signature.hex()
    entry = webhook(body=body)
    key = public_key(bytes(signing.verify_key)).text
    await stage.ledger.record(
        replace(entry, evidence=replace(entry.evidence, signature=signature, key=key))
    )

    (held,) = await (await stage.reopen()).evidence(R1)

    raw = public_key(bytes(signing.verify_key))
    delivery = Delivery(
        SignedHeaders(held.request_id, held.user_id, held.timestamp, held.signature),
        held.body,
        held.received_at,
    )
    assert raw.text == held.key
    assert R1 == verify(delivery, (raw,), now=held.received_at).request_id


async def unproven_counts_after_recount(stage: Stage) -> None:
    """Facts and deliveries of a foreign account change nothing until the account is ours."""
    entry = webhook(account="later", counts=False)
    await stage.ledger.record(entry)
    await stage.ledger.record(webhook(R2, account="stranger", counts=False))
    assert State.SEEN is (await stage.ledger.request(R1)).state
    assert [] == await due(stage.ledger)

    assert 1 == await stage.ledger.recount(["later", "nobody"])
    stage.clock.advance(timedelta(minutes=2))

    assert State.SUCCEEDED is (await stage.ledger.request(R1)).state
    assert State.SEEN is (await stage.ledger.request(R2)).state
    assert [replace(entry.evidence, counts=True)] == await stage.ledger.evidence(R1)
    assert [R1] == await due(stage.ledger)
    assert 0 == await stage.ledger.recount(["later"])
    assert 0 == await stage.ledger.recount([])


async def proven_copy_of_an_unproven_fact_counts(stage: Stage) -> None:
    """The same completion judged once without and once with the account ends as counting."""
    unproven, proven = (webhook(account="later", counts=counts) for counts in (False, True))
    await stage.ledger.record(told(FactName.FAILED))
    await stage.ledger.record(unproven)

    recorded = await stage.ledger.record(proven)

    assert (True, True) == (recorded.is_new, recorded.became_conflicted)
    assert State.SUCCEEDED is recorded.request.state
    assert not (await stage.ledger.record(unproven)).is_new
    assert recorded.request == await stage.ledger.request(R1)
    assert [proven.evidence] == await stage.ledger.evidence(R1)


async def retry_of_a_body_shares_it(stage: Stage) -> None:
    """Deliveries with equal bodies give back that body each, also of different requests."""
    for request_id in (R1, R2):
        await stage.ledger.record(webhook(request_id, body=b"same"))

    bodies = [(await stage.ledger.evidence(request_id))[0].body for request_id in (R1, R2)]

    assert [b"same", b"same"] == bodies


# ---------------------------------------------------------------- reads


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


# ---------------------------------------------------------------- claims


async def one_of_two_claims_stands(stage: Stage) -> None:
    """Of two claims made at once under one key one stands, and both callers see it."""
    mine = [claimed(fingerprint=letter * 64, detail={"by": letter}) for letter in "ab"]

    standing = await asyncio.gather(*(stage.ledger.claim(claim) for claim in mine))

    assert standing[0] == standing[1]
    assert standing[0] in mine
    assert standing[0] == await (await stage.reopen()).claim(mine[0])


async def claims_of_other_keys_stand_beside(stage: Stage) -> None:
    """Kind, key and revision name a claim; the latest has the highest revision."""
    claims = [
        claimed("k", kind=ClaimKind.RESULT, revision=2),
        claimed("k", kind=ClaimKind.RESULT, revision=1),
        claimed("k"),
        claimed("k2", detail={"text": HOSTILE, "n": int("9" * 400)}),
    ]

    assert claims == [await stage.ledger.claim(claim) for claim in claims]

    assert claims[0] == await stage.ledger.latest_claim(ClaimKind.RESULT, "k")
    assert claims[3] == await stage.ledger.latest_claim(ClaimKind.SUBMISSION, "k2")
    assert None is await stage.ledger.latest_claim(ClaimKind.RESULT, "k2")


async def claim_holds_its_event_until_published(stage: Stage) -> None:
    """The first event of a claim stands, byte for byte, and is open until it is published."""
    claim = await stage.ledger.claim(claimed())
    other = replace(EVENT, value=b"another")

    await stage.ledger.settle_claim(claim, EVENT, {"by": "settled"})
    await stage.ledger.settle_claim(claim, other, {"by": "late"})

    settled = replace(claim, event=EVENT, detail={"by": "settled"})
    ledger = await stage.reopen()
    assert [settled] == await ledger.open_claims(ClaimKind.SUBMISSION, 10)
    await ledger.mark_published(claim)
    assert [] == await ledger.open_claims(ClaimKind.SUBMISSION, 10)
    assert replace(settled, is_published=True) == await ledger.claim(claim)


async def claim_without_event_is_open_when_overdue(stage: Stage) -> None:
    """A claim nobody finished is open once its deadline has passed; oldest first, per kind."""
    for n in (2, 1, 3):
        await stage.ledger.claim(claimed(f"k{n}", at=T0 + n * SECOND))
    await stage.ledger.claim(claimed("k0", kind=ClaimKind.RESULT))
    await stage.ledger.mark_published(claimed("k1"))
    assert [] == await stage.ledger.open_claims(ClaimKind.SUBMISSION, 10)

    stage.clock.advance(timedelta(minutes=1, seconds=2))

    overdue = await stage.ledger.open_claims(ClaimKind.SUBMISSION, 10)
    assert ["k1", "k2"] == [claim.key for claim in overdue]
    assert ["k1"] == [c.key for c in await stage.ledger.open_claims(ClaimKind.SUBMISSION, 1)]


# ---------------------------------------------------------------- schedules


async def schedule_follows_the_plan(stage: Stage) -> None:
    """A tracked request is due at its plan's instant, and not at all once it is settled."""
    await stage.ledger.record(tracked(has_callback=True))
    assert [] == await due(stage.ledger)
    stage.clock.advance(59 * SECOND)
    assert [] == await due(stage.ledger)
    stage.clock.advance(SECOND)
    assert [R1] == await due(stage.ledger)

    await stage.ledger.record(webhook())
    assert [R1] == await due(stage.ledger)

    await stage.ledger.record(resulted())
    assert [] == await due(stage.ledger)


async def later_facts_do_not_move_a_check(stage: Stage) -> None:
    """A check that was put off stays so, whatever is learned, until it is wanted at once."""
    await stage.ledger.record(tracked(has_callback=True))
    stage.clock.advance(timedelta(minutes=1))
    (row,) = await stage.ledger.take_due("check", limit=10, lease=LEASE)
    assert await stage.ledger.put_off(row, timedelta(minutes=4))
    stage.clock.advance(timedelta(minutes=2))

    await stage.ledger.record(told(FactName.RUNNING))
    assert [] == await due(stage.ledger)

    await stage.ledger.record(webhook(name=FactName.UNREADABLE))
    assert [R1] == await due(stage.ledger)


async def earlier_cancel_replaces_a_later_one(stage: Stage) -> None:
    """
    A cancel becomes due at the earliest instant that was ever planned, and is put off from there.
    """
    await stage.ledger.record(tracked(finish_by="2026-10-01T12:05:00.123456Z"))
    stage.clock.advance(timedelta(minutes=2))
    assert [] == await due(stage.ledger, "cancel")
    sooner = told(FactName.TRACKED, Witness.COMMAND, finish_by="2026-10-01T12:02:00.123456Z")
    await stage.ledger.record(sooner)

    (row,) = await stage.ledger.take_due("cancel", limit=10, lease=LEASE)
    assert await stage.ledger.put_off(row, timedelta(minutes=1))
    await stage.ledger.record(told(FactName.RUNNING))
    assert [] == await due(stage.ledger, "cancel")

    await stage.ledger.record(told(FactName.CANCEL_ASKED, Witness.CANCEL))
    stage.clock.advance(timedelta(hours=1))
    assert [] == await due(stage.ledger, "cancel")


async def lease_keeps_others_away(stage: Stage) -> None:
    """
    A leased row is nobody else's until its lease ends; then the late holder's writes are refused.
    """
    await stage.ledger.record(tracked())
    stage.clock.advance(timedelta(minutes=1))
    (first,) = await stage.ledger.take_due("check", limit=10, lease=LEASE)
    assert [] == await stage.ledger.take_due("check", limit=10, lease=LEASE)
    stage.clock.advance(LEASE)

    (second,) = await stage.ledger.take_due("check", limit=10, lease=LEASE)

    assert (R1, 1, stage.clock() + LEASE) == (second.subject, second.attempt, second.lease_until)
    assert second.fence > first.fence
    assert not await stage.ledger.put_off(first, SECOND)
    assert not await stage.ledger.finish(first)
    assert await stage.ledger.finish(second)
    assert not await stage.ledger.finish(second)
    assert [] == await due(stage.ledger)


async def two_takers_share_the_rows(stage: Stage) -> None:
    """Rows taken at once by several are each given to one of them, within the limit."""
    names = [f"r{n:02d}" for n in range(10)]
    for name in names:
        await stage.ledger.record(tracked(name))
    stage.clock.advance(timedelta(minutes=1))

    taken = await asyncio.gather(
        *(stage.ledger.take_due("check", limit=4, lease=LEASE) for _ in range(4))
    )

    assert names == sorted(row.subject for rows in taken for row in rows)
    assert max(len(rows) for rows in taken) <= 4


async def put_off_raises_the_attempt(stage: Stage) -> None:
    """A row that is put off is due again after that time, at the next attempt."""
    await stage.ledger.record(tracked())
    stage.clock.advance(timedelta(minutes=1))
    (row,) = await stage.ledger.take_due("check", limit=10, lease=LEASE)
    assert await stage.ledger.put_off(row, 5 * SECOND)
    assert not await stage.ledger.put_off(replace(row, fence=row.fence - 1), SECOND)
    assert [] == await due(stage.ledger)

    stage.clock.advance(5 * SECOND)

    (again,) = await stage.ledger.take_due("check", limit=10, lease=LEASE)
    assert (row.attempt + 1, True) == (again.attempt, again.fence > row.fence)


async def row_made_again_does_not_know_old_fences(stage: Stage) -> None:
    """A holder whose row was removed meanwhile cannot touch the one that replaced it."""
    await stage.ledger.record(tracked())
    stage.clock.advance(timedelta(minutes=1))
    (old,) = await stage.ledger.take_due("check", limit=10, lease=LEASE)
    await stage.ledger.record(webhook())
    await stage.ledger.record(resulted(outcome="succeeded"))
    stage.clock.advance(SECOND)
    assert not await stage.ledger.put_off(old, SECOND)

    await stage.ledger.record(tracked(R2))
    await stage.ledger.record(told(FactName.FAILED, request_id=R1))
    stage.clock.advance(timedelta(minutes=2))

    assert [R2] == await due(stage.ledger)
    assert not await stage.ledger.finish(old)


async def absurdly_late_row_counts_as_due(stage: Stage) -> None:
    """A row that a wrong clock put further ahead than any span is due at once."""
    stage.clock.advance(timedelta(days=400))
    await stage.ledger.record(tracked())
    stage.clock.advance(timedelta(days=-400))

    assert [R1] == await due(stage.ledger)


async def far_deadline_is_not_due(stage: Stage) -> None:
    """A deadline of several days is not taken for a wrong clock, neither at first nor put off."""
    await stage.ledger.record(tracked(finish_by="2026-10-21T12:00:00Z"))
    assert [] == await due(stage.ledger, "cancel")
    stage.clock.advance(timedelta(hours=48))

    rows = await stage.ledger.take_due("cancel", limit=10, lease=timedelta(0))
    assert [True] == [await stage.ledger.put_off(row, timedelta(days=18)) for row in rows]

    assert [] == await due(stage.ledger, "cancel")


# ---------------------------------------------------------------- parked records


async def parked_record_comes_back_whole(stage: Stage) -> None:
    """A parked record is due at its time, oldest first, for its group alone, byte for byte."""
    later = parked_record("p2", due_at=T0 + SECOND)
    for parked in (later, parked_record("p1"), parked_record("p3", group="commands")):
        await stage.ledger.park(parked)
    assert [parked_record("p1")] == await stage.ledger.take_parked("fetch", limit=10)
    stage.clock.advance(SECOND)

    ledger = await stage.reopen()

    assert [parked_record("p1"), later] == await ledger.take_parked("fetch", limit=10)
    assert [parked_record("p1")] == await ledger.take_parked("fetch", limit=1)
    assert 3 == (await ledger.counts())["parked"]


async def parking_again_only_moves(stage: Stage) -> None:
    """The same id parked again keeps its record and first time; unparked it is gone."""
    await stage.ledger.park(parked_record())
    moved = replace(
        parked_record(due_at=T0 + SECOND, attempt=2, reason=HOSTILE), parked_at=T0 + SECOND
    )
    await stage.ledger.park(moved)
    assert [] == await stage.ledger.take_parked("fetch", limit=10)
    stage.clock.advance(SECOND)

    (held,) = await stage.ledger.take_parked("fetch", limit=10)

    assert replace(moved, parked_at=T0, reason=STORED) == held
    await stage.ledger.unpark(held)
    await stage.ledger.unpark(held)
    assert [] == await stage.ledger.take_parked("fetch", limit=10)


async def refused_detail_is_told(stage: Stage) -> None:
    """A claim whose detail is no JSON is refused, and none stands."""
    with pytest.raises(UndecodableEvent):
        await stage.ledger.claim(claimed(detail={"n": float("nan")}))

    assert None is await stage.ledger.latest_claim(ClaimKind.SUBMISSION, "submission-1")


SUITE = [
    value
    for name, value in list(globals().items())
    if asyncio.iscoroutinefunction(value) and name not in ("rows", "due")
]
