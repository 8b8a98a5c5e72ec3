"""Every event into the ledger: what counts, what waits, what is set aside."""

from dataclasses import replace

import pytest

from consumer.core.event import NewRecord, Topic, encode
from consumer.core.fact import FactName, Witness
from consumer.core.key_proof import key_set_event
from consumer.core.policy import DeadLetter, Done, RetryAt
from consumer.core.standing import State
from consumer.core.token import Token
from consumer.errors import LogUnavailable, UndecodableEvent
from consumer.ports import Record
from consumer.testing.deliveries import webhook_body
from consumer.testing.keys import FakeKeys, Signer, key_set
from consumer.trust import TrustedKeySets
from tests.handlers.stage import (
    ENDPOINT,
    FOREIGN,
    HOUR,
    KEYS_URL,
    MINUTE,
    OURS,
    R1,
    R2,
    SECOND,
    SECRET,
    SOURCE,
    T0,
    Stage,
)


def changed(record: NewRecord, **headers: bytes) -> NewRecord:
    """Return the record with some attributes replaced, as a forger of the topic would."""
    told = tuple((name, headers.get(name, value)) for name, value in record.headers)
    return replace(record, headers=told)


async def test_a_genuine_delivery_becomes_a_fact(stage):
    """A genuine delivery of our account is an end with evidence."""
    await stage.webhook()

    assert [Done()] == await stage.catch_up()

    request = await stage.request()
    assert (State.SUCCEEDED, True) == (request.state, request.end.signed)
    assert [webhook_body(R1)] == [e.body for e in await stage.ledger.evidence(R1)]


@pytest.mark.parametrize(
    "forge",
    [
        lambda record: replace(record, value=webhook_body(R1, status="ERROR")),
        lambda record: changed(record, ce_falsignature=b"0" * 128),
        lambda record: changed(record, ce_faluserid=b"github|9"),
        lambda record: changed(record, ce_time=b"2026-10-01T13:00:00.000000Z"),
        lambda record: changed(record, ce_subject=R2.encode()),
    ],
    ids=["body", "signature", "account", "time", "request id"],
)
async def test_a_forged_completion_is_no_fact(stage, forge):
    """A completion that somebody wrote into the topic never becomes a fact."""
    await stage.put(forge(stage.webhook_record()))

    assert [DeadLetter("unverified")] == await stage.catch_up()

    assert [None, None] == [await stage.ledger.request(name) for name in (R1, R2)]


async def test_a_completion_under_the_forgers_own_key_is_no_fact(stage):
    """A record that brings its own key waits for that key, and is never a fact."""
    record = await stage.webhook(signer=Signer("forger"))

    assert RetryAt(T0 + 5 * MINUTE, "unknown_key") == await stage.record.handle(record, 1)

    assert await stage.ledger.request(R1) is None


async def test_a_completion_without_evidence_is_undecodable(stage):
    """A webhook completion without signature attributes is refused."""
    record = stage.webhook_record()
    bare = tuple(header for header in record.headers if not header[0].startswith("ce_fal"))

    with pytest.raises(UndecodableEvent):
        await stage.record.handle(await stage.put(replace(record, headers=bare)), 1)


async def test_a_foreign_account_is_no_fact(stage):
    """A genuine delivery of another account is no fact, whatever the record says of it."""
    record = changed(stage.webhook_record(account=FOREIGN), ce_falaccount=b"ours")
    await stage.put(record)

    assert [DeadLetter("foreign_account")] == await stage.catch_up()

    assert await stage.ledger.request(R1) is None


async def test_an_unknown_key_waits_a_day(stage):
    """A completion under an unknown key is parked for 24 hours, then unverified."""
    record = await stage.webhook(signer=Signer("new"))

    outcomes = []
    for wait in (0 * HOUR, 24 * HOUR - SECOND, SECOND):
        stage.clock.advance(wait)
        outcomes.append(await stage.record.handle(record, 1))

    assert [
        RetryAt(T0 + 5 * MINUTE, "unknown_key"),
        RetryAt(T0 + 24 * HOUR - SECOND + 5 * MINUTE, "unknown_key"),
        DeadLetter("unverified", "no trusted key set holds the key it names"),
    ] == outcomes


async def test_an_unknown_key_is_fetched_once(stage):
    """A key that fal has published since is found by one refetch."""
    new = Signer("new")
    stage.world.keys.publish(new)

    assert Done() == await stage.record.handle(await stage.webhook(signer=new), 1)
    assert 1 == stage.world.keys.fetches


class TestKeySets:
    """What a published key set needs so that its keys are trusted."""

    old = Signer("old")

    def stage(self) -> Stage:
        stage = Stage()
        trusted = TrustedKeySets(
            FakeKeys(Signer("current")), stage.ledger, urls=frozenset({KEYS_URL})
        )
        return stage.restarted(trusted=trusted)

    async def publish(self, stage: Stage, *, url: str = KEYS_URL, secret: bytes = SECRET):
        """Publish the old key's set and return what becomes of it."""
        found = key_set(self.old, url=url, fetched_at=T0)
        event = key_set_event(found, source=SOURCE, secrets=(secret,))
        return await stage.record.handle(await stage.put(encode(event)), 1)

    async def test_with_proof_an_old_key_verifies(self):
        """A set with our proof lets a delivery verify that an earlier key signed."""
        stage = self.stage()
        record = await stage.webhook(signer=self.old)
        before = await stage.record.handle(record, 1)

        published = await self.publish(stage)

        assert RetryAt(T0 + 5 * MINUTE, "unknown_key") == before
        assert Done() == published
        assert Done() == await stage.record.handle(record, 2)

    @pytest.mark.parametrize(
        "how",
        [{"secret": b"another secret of 32 bytes and more"}, {"url": "https://evil.example/"}],
    )
    async def test_without_proof_it_is_refused(self, how):
        """A set without our proof, or from another address, is a dead letter and not trusted."""
        stage = self.stage()

        refused = await self.publish(stage, **how)

        expected = DeadLetter("unverified", "a key set without our proof, or from another address")
        assert expected == refused
        record = await stage.webhook(signer=self.old)
        assert RetryAt(T0 + 5 * MINUTE, "unknown_key") == await stage.record.handle(record, 1)

    async def test_a_proof_is_for_one_document(self):
        """The proof of one set does not prove another one."""
        stage = self.stage()
        found = key_set(self.old, url=KEYS_URL, fetched_at=T0)
        event = key_set_event(found, source=SOURCE, secrets=(SECRET,))
        other = key_set_event(key_set(Signer("x"), url=KEYS_URL), source=SOURCE, secrets=(SECRET,))
        mixed = replace(event, extensions=other.extensions)

        outcome = await stage.record.handle(await stage.put(encode(mixed)), 1)

        assert isinstance(outcome, DeadLetter)
        assert [] == list(await stage.ledger.key_sets(KEYS_URL))


class TestDeadLetters:
    """What the ledger keeps of records that were set aside."""

    async def letter(self, stage: Stage, **how) -> Record:
        """Put a delivery with an unreadable body aside as the receiver does."""
        record = stage.webhook_record(b"no json", **how)
        added = (("dlreason", b"unreadable"), ("dlorigin", b"receiver"))
        return await stage.put(
            NewRecord(Topic.DEAD_LETTERS, record.key, record.value, record.headers + added)
        )

    async def test_evidence_is_kept_and_the_request_is_due_at_once(self, stage):
        """The receiver's dead letter keeps its evidence and makes the request due at once."""
        await stage.tracked()
        letter = await self.letter(stage)

        assert Done() == await stage.record.handle(letter, 1)

        assert [b"no json"] == [e.body for e in await stage.ledger.evidence(R1)]
        dues = await stage.ledger.take_due("check", limit=9, lease=MINUTE)
        assert [R1] == [due.subject for due in dues]
        assert 1 == (await stage.ledger.counts())["dead_letters"]

    async def test_evidence_waits_for_its_key(self, stage):
        """The letter counts at once; its evidence is kept as soon as the key is known."""
        new = Signer("new")
        letter = await self.letter(stage, signer=new)
        first = await stage.record.handle(letter, 1)
        counted = (await stage.ledger.counts())["dead_letters"]
        stage.world.keys.publish(new)

        second = await stage.record.handle(letter, 2)

        assert (RetryAt(T0 + 5 * MINUTE, "unknown_key"), 1) == (first, counted)
        assert Done() == second
        assert [b"no json"] == [e.body for e in await stage.ledger.evidence(R1)]
        assert 1 == (await stage.ledger.counts())["dead_letters"]

    async def test_a_forged_letter_is_no_evidence(self, stage):
        """A letter that only claims to come from the receiver leaves no evidence."""
        record = changed(stage.webhook_record(b"no json"), ce_falsignature=b"0" * 128)
        added = (("dlorigin", b"receiver"),)
        letter = await stage.put(
            NewRecord(Topic.DEAD_LETTERS, record.key, record.value, record.headers + added)
        )

        assert DeadLetter("unverified") == await stage.record.handle(letter, 1)

        assert [] == list(await stage.ledger.evidence(R1))
        assert await stage.ledger.request(R1) is None

    async def test_a_letter_without_an_event_is_counted(self, stage):
        """A letter whose record is no event is counted and nothing else."""
        headers = (("dlreason", b"undecodable"), ("dlorigin", b"receiver"))
        letter = await stage.put(NewRecord(Topic.DEAD_LETTERS, "k", b"\xff", headers))

        assert Done() == await stage.record.handle(letter, 1)

        assert 1 == (await stage.ledger.counts())["dead_letters"]


async def test_two_ends_are_told_as_a_conflict(stage):
    """Two different ends are told as one fact, with both witnesses and the one that stands."""
    await stage.webhook()
    await stage.webhook(webhook_body(R1, status="ERROR", error="no", payload=None))

    await stage.catch_up()

    told = [fact for fact in stage.told_facts() if fact.name is FactName.CONFLICTED]
    expected = {"ends": {"failed": "webhook", "succeeded": "webhook"}, "stands": "succeeded"}
    assert [expected] == [fact.detail for fact in told]
    assert (await stage.request()).has_conflict


async def test_a_conflict_is_told_again_after_a_failure(stage):
    """Where the log fails after the recording, the repetition tells the conflict."""
    await stage.webhook()
    second = await stage.webhook(webhook_body(R1, status="ERROR", error="no", payload=None))
    await stage.record.handle(stage.log.records(Topic.COMPLETIONS)[0], 1)
    stage.log.refuse_next(LogUnavailable("away"))
    with pytest.raises(LogUnavailable):
        await stage.record.handle(second, 1)

    await stage.record.handle(second, 2)

    assert ["conflicted"] == stage.fact_names()


async def test_a_token_of_another_submission_is_a_mismatch(stage):
    """A token whose submission has another request is told as a mismatch and binds nothing."""
    await stage.fact(
        FactName.SUBMITTED, Witness.SUBMIT, submission_id="sub_1", detail={"endpoint": ENDPOINT}
    )
    await stage.webhook(request_id=R2, token=Token(ENDPOINT, "sub_1"))

    await stage.catch_up()

    told = [f for f in stage.told_facts() if f.name is FactName.TOKEN_MISMATCHED]
    assert [(R2, {"submission_id": "sub_1"})] == [(f.request_id, f.detail) for f in told]
    submission = await stage.ledger.submission("sub_1")
    assert R1 == submission.request.value


async def test_an_account_configured_later_settles():
    """Deliveries of an account that is configured later count, and the sweep publishes."""
    first = Stage(accounts=())
    await first.webhook()
    await first.catch_up()
    unproven = await first.request()
    stage = first.restarted(has_key=False)

    changed_requests = await stage.ledger.recount([OURS])
    stage.clock.advance(MINUTE)
    await stage.settle.round()

    assert (State.SEEN, None) == (unproven.state, unproven.end)
    assert 1 == changed_requests
    assert [(R1, "succeeded", "webhook")] == [
        (told["request_id"], told["outcome"], told["witness"]) for told in stage.told()
    ]
    assert {"images"} == stage.told()[0]["output"].keys()
