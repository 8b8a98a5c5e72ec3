"""One request at a time through the whole service: what is promised about it holds."""

import json
from base64 import urlsafe_b64decode
from pathlib import Path

import pytest

from consumer.core.completion import delivery_from
from consumer.core.delivery import Delivery, SignedHeaders
from consumer.core.event import NewRecord, Topic, decode
from consumer.core.fact import FactName
from consumer.core.keys import public_key
from consumer.core.signature import verify
from consumer.core.standing import State, SubmissionState
from consumer.simulator import SigningKey, completion_body
from tests.end_to_end.stage import post, until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


async def test_a_submitted_job_ends_in_one_result(open_either):
    """A submit becomes a request, its webhook a completion, its answer one result with its cost."""
    async with open_either() as stage:
        await stage.submit("one")
        request = await stage.ended(await stage.only_request())

        results = [decode(r.headers, r.value) for r in await stage.records(Topic.RESULTS)]
        told = json.loads(results[0].data)
        entry = stage.simulator.books().requests[request.request_id]
        assert [request.request_id] == [event.subject for event in results]
        assert ("succeeded", "webhook", "one") == (
            told["outcome"],
            told["witness"],
            told["command_id"],
        )
        assert float(told["billable_units"]) == entry.billable_units
        assert told["media"][0]["url"].startswith("https://")


async def test_an_accepted_delivery_can_be_verified_from_log_and_from_ledger_alone(open_either):
    """The signed bytes rest untouched, with headers and key, in the log and in the ledger."""
    async with open_either(first_check_s=60.0) as stage:
        await stage.submit("one")
        request = await stage.ended(await stage.only_request())

        (record,) = await stage.records(Topic.COMPLETIONS)
        event = decode(record.headers, record.value)
        key = _key(event.extensions["falkey"])
        from_log = verify(delivery_from(event), (key,), now=event.time)
        (evidence,) = await stage.ledger.evidence(request.request_id)
        headers = SignedHeaders(
            evidence.request_id, evidence.user_id, evidence.timestamp, evidence.signature
        )
        delivery = Delivery(headers, evidence.body, evidence.received_at)
        from_ledger = verify(delivery, (_key(evidence.key),), now=evidence.received_at)
        assert request.request_id == from_log.request_id == from_ledger.request_id
        assert record.value == evidence.body
        assert json.loads(record.value)["request_id"] == request.request_id


async def test_what_somebody_else_puts_into_the_topic_never_becomes_a_fact(open_either):
    """A forged completion and a genuine one of another account end as dead letters."""
    async with open_either(first_check_s=60.0) as stage:
        await stage.submit("one")
        await stage.ended(await stage.only_request())
        (genuine,) = await stage.records(Topic.COMPLETIONS)

        forger = SigningKey.random()
        foreign = stage.simulator.keys.signing
        for key, account in ((forger, stage.settings.accounts[0]), (foreign, "github|666")):
            body = completion_body("11111111-1111-7111-8111-111111111111", {"images": []})
            signed = key.sign_headers(
                "11111111-1111-7111-8111-111111111111",
                account,
                int(genuine.appended_at.timestamp()),
                body,
            )
            await stage.log.append(_planted(genuine, signed, body))
        await _dead_letters(stage, 4)  # of `fetch` and of `record`, for each of the two

        assert await stage.request("11111111-1111-7111-8111-111111111111") is None
        assert 1 == len(await stage.records(Topic.RESULTS))


@pytest.mark.parametrize(
    "scenario, state, witness",
    [
        ("lost", State.SUCCEEDED, "result"),
        ("late", State.SUCCEEDED, "result"),
        ("payload_null", State.SUCCEEDED, "webhook"),
        ("error_422", State.FAILED, "webhook"),
        ("error_null_payload", State.FAILED, "webhook"),
        ("stuck", State.CANCELLED, "cancel"),
        ("unreadable", State.SUCCEEDED, "result"),
        ("other_id", State.SUCCEEDED, "result"),
        ("deep_nesting", State.SUCCEEDED, "result"),
        ("surrogate_prompt", State.SUCCEEDED, "webhook"),
        ("nul_prompt", State.SUCCEEDED, "webhook"),
        ("huge_seed", State.SUCCEEDED, "webhook"),
        ("big_body", State.SUCCEEDED, "webhook"),
        ("unknown_submit", State.SUCCEEDED, "webhook"),
        ("early", State.SUCCEEDED, "webhook"),
        ("foreign_account", State.SUCCEEDED, "webhook"),
        ("forged_body", State.SUCCEEDED, "webhook"),
    ],
)
async def test_every_trouble_ends_as_fal_says(open_either, scenario, state, witness):
    """Whatever happens to a request's webhook, its end is fal's, learned by the expected way."""
    async with open_either(cancel_queued_after="1") as stage:
        await stage.submit("one", simulate=scenario)
        request = await stage.ended(await stage.only_request())

        entry = stage.simulator.books().requests[request.request_id]
        assert (entry.end, witness) == (request.state.value, request.result.witness)
        assert state is request.state
        assert request.submission is not None


async def test_a_huge_seed_and_odd_text_reach_the_result_unchanged(open_either):
    """Numbers beyond 64 bits, NUL and lone surrogates in an output survive to the result event."""
    async with open_either(first_check_s=60.0) as stage:
        await stage.submit("one", simulate="huge_seed")
        await stage.ended(await stage.only_request())

        (record,) = await stage.records(Topic.RESULTS)
        (completion,) = await stage.records(Topic.COMPLETIONS)
        told = json.loads(record.value)["output"]
        assert json.loads(completion.value)["payload"]["seed"] == told["seed"] > 2**63


async def test_without_a_public_address_a_job_is_followed_by_asking(open_either):
    """No webhook is asked for, and reconciliation alone brings the result."""
    async with open_either(public_url=None) as stage:
        await stage.submit("one")
        request = await stage.ended(await stage.only_request())

        entry = stage.simulator.books().requests[request.request_id]
        assert not entry.has_webhook
        assert ("succeeded", "result") == (request.result.outcome, request.result.witness)


async def test_a_running_job_that_is_cancelled_is_followed_to_its_true_end(open_either):
    """Accepted is not cancelled: a job that completes anyway ends succeeded, asking on record."""
    async with open_either(simulator={"run_s": (30.0, 30.0)}) as stage:
        await stage.submit("one", simulate="cancel_ignored")
        request_id = await stage.running_request()
        await stage.command(command="cancel", command_id="stop", subject=request_id)
        request = await stage.ended(request_id)

        names = {fact.name for fact in await stage.ledger.timeline(request_id)}
        assert State.SUCCEEDED is request.state
        assert FactName.CANCEL_ASKED in names


async def test_a_submission_without_answer_and_webhook_is_lost_past_its_horizon(open_either):
    """Nothing is sent again; `lost: never_confirmed` stands until a later truth outranks it."""
    async with open_either(unconfirmed_after_s=1.5, submit_timeout_s=0.5) as stage:
        stage.simulator.pause_webhooks()
        await stage.submit("one", simulate="unknown_submit")
        request_id = await stage.only_request()
        lost = await _submission(stage, SubmissionState.LOST)
        (record,) = await stage.records(Topic.RESULTS)
        told = json.loads(record.value)
        stage.simulator.resume_webhooks()
        found = await _submission(stage, SubmissionState.SUBMITTED)
        request = await stage.ended(request_id)

        assert ("lost", "never_confirmed", lost.submission_id) == (
            told["outcome"],
            told["reason"],
            told["submission_id"],
        )
        assert request.request_id == found.request.value
        assert [1] == list(stage.simulator.books().submits_by_webhook.values())


async def test_an_account_configured_later_gives_its_deliveries_their_results(
    open_stage, tmp_path: Path
):
    """Unproven deliveries are kept without effect; with the account they become results."""
    async with open_stage(accounts=(), first_check_s=0.5) as stage:
        request_id = "22222222-2222-7222-8222-222222222222"
        body = completion_body(request_id, {"images": [{"url": "https://v3b.fal.media/x.png"}]})

        async def taken():
            return await post(stage, request_id, body) == 200

        await until(taken)  # 503 until the keys are there
        await _seen(stage, request_id)
        unproven = await stage.request(request_id)
        results = await stage.records(Topic.RESULTS)
    async with open_stage(first_check_s=0.5) as stage:
        request = await stage.ended(request_id)

        assert (State.SEEN, False, []) == (unproven.state, unproven.is_open, results)
        assert "succeeded" == request.result.outcome


# ---------------------------------------------------------------- the parts


def _key(text: str):
    return public_key(urlsafe_b64decode(text + "="))


def _planted(genuine, signed, body):
    """Return a record like a genuine one, with somebody's own evidence in it."""
    changed = {
        "ce_subject": signed["X-Fal-Webhook-Request-Id"],
        "ce_faluserid": signed["X-Fal-Webhook-User-Id"],
        "ce_faltimestamp": signed["X-Fal-Webhook-Timestamp"],
        "ce_falsignature": signed["X-Fal-Webhook-Signature"],
        "ce_falaccount": "ours",
        "ce_id": "planted" + signed["X-Fal-Webhook-Signature"][:8],
    }
    headers = tuple(
        (name, changed[name].encode() if name in changed else value)
        for name, value in genuine.headers
    )
    return NewRecord(Topic.COMPLETIONS, changed["ce_subject"], body, headers)


async def _dead_letters(stage, count):
    async def look():
        letters = await stage.records(Topic.DEAD_LETTERS)
        return letters if len(letters) >= count else None

    return await until(look)


async def _submission(stage, state):
    async def look():
        return await stage.ledger.submissions(states=[state])

    (found,) = await until(look)
    return found


async def _seen(stage, request_id):
    async def look():
        return await stage.request(request_id)

    return await until(look)
