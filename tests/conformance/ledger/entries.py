"""Entries, claims and parked records, as the promises put them into a ledger."""

from datetime import timedelta
from hashlib import sha256

from consumer.core.event import NewRecord, Topic, event_id
from consumer.core.fact import Fact, FactName, Witness, new_fact
from consumer.core.projection import Entry, Evidence, ResultEntry
from consumer.core.standing import Published
from consumer.ports import Claim, ClaimKind, Parked, Position, Record
from tests.conformance.ledger.stage import R1, SECOND, T0


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
