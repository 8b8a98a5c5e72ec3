"""Which deliveries are genuine, recent and ours, and the answer to those that are not."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from consumer.core.event import Topic, decode
from consumer.core.token import Token, sign_token
from consumer.receiving.limits import ReceiverLimits
from consumer.testing.deliveries import REQUEST_ID, mutations, webhook_body
from consumer.testing.keys import Signer
from consumer.testing.receiving import (
    ACCOUNT,
    NOW,
    Setting,
    as_request,
    running_receiver,
    status_of,
)
from tests.receiver.stage import BODY, SECRET, rules

# ---------------------------------------------------------------- accounts


async def test_without_accounts_a_delivery_is_unproven():
    """With no account configured a delivery is kept and marked, and the remedy said once."""
    setting = Setting()
    token = sign_token(Token("fal-ai/flux", "submission-1"), [SECRET])

    async with running_receiver(setting, rules(accounts=frozenset())) as (caller, _):
        path = f"/webhooks/fal/{token}"
        first = await caller.post(BODY, setting.headers(REQUEST_ID, BODY), path=path)
        other = webhook_body("another-id")
        await caller.post(other, setting.headers("another-id", other))

    record = setting.log.records(Topic.COMPLETIONS)[0]
    hints = decode(record.headers, record.value).extensions
    assert (200, "unproven") == (first, hints["falaccount"])
    assert "falsubmission" not in hints
    told = [values for _, event, values in setting.lines.told if event == "account.unproven"]
    assert [{"account": ACCOUNT, "accept": f"FAL_CONSUMER_ACCOUNTS={ACCOUNT}"}] == told


async def test_unproven_bodies_share_a_budget():
    """Past the hour's budget an unproven delivery is 403; an hour later there is room again."""
    setting = Setting()
    limits = ReceiverLimits(max_unproven_bytes_per_hour=len(BODY))
    unproven = rules(accounts=frozenset(), limits=limits)
    statuses = []

    async with running_receiver(setting, unproven) as (caller, _):
        for later in (timedelta(), timedelta(seconds=1), timedelta(hours=1)):
            setting.now = NOW + later
            statuses.append(await caller.post(BODY, setting.headers(REQUEST_ID, BODY)))

    assert [200, 403, 200] == statuses


async def test_another_account_is_403_and_the_remedy_said_once():
    """A delivery for another account is refused; the line that would accept it is logged once."""
    setting = Setting()
    headers = setting.headers(REQUEST_ID, BODY, account="github|2")

    async with running_receiver(setting, rules()) as (caller, _):
        statuses = [await caller.post(BODY, headers) for _ in range(3)]

    told = [values for _, event, values in setting.lines.told if event == "account.refused"]
    assert [403, 403, 403] == statuses
    assert [{"account": "github|2", "accept": "FAL_CONSUMER_ACCOUNTS=github|2"}] == told
    assert [] == setting.log.records()


# ---------------------------------------------------------------- signatures, keys and time


async def test_every_near_valid_delivery_is_refused():
    """A genuine delivery with one part replaced gets its status, and nothing reaches the log."""
    setting = Setting()
    wrong = []

    async with running_receiver(setting, rules()) as (caller, _):
        for mutation in mutations(setting.headers(REQUEST_ID, BODY), BODY):
            if any(value != value.strip(b" \t") for _, value in mutation.raw_headers):
                continue  # HTTP itself takes white space around a value away
            status = await caller.post(mutation.body, mutation.raw_headers)
            if mutation.http_status != status:
                wrong.append((mutation.name, mutation.http_status, status))

    assert [] == wrong
    assert [] == setting.log.records()


async def test_the_recorded_deliveries_are_accepted_and_their_mutations_refused(samples):
    """What fal really sent is 200 at its time; with one part replaced it is not."""
    setting = Setting()
    document = (samples / "jwks-2026-07-16.json").read_bytes()
    setting.keys.hold(document)
    body = (samples / "delivery-a.body").read_bytes()
    wrong = []

    async with running_receiver(setting, rules(accounts=frozenset({"github|179462"}))) as (
        caller,
        _,
    ):
        for attempt in json.loads((samples / "deliveries.json").read_bytes()):
            headers = attempt["headers"]
            at = int(headers["X-Fal-Webhook-Timestamp"])
            setting.now = datetime.fromtimestamp(at, UTC)
            assert 200 == await caller.post(body, headers)
            for mutation in mutations(headers, body):
                if any(value != value.strip(b" \t") for _, value in mutation.raw_headers):
                    continue
                status = await caller.post(mutation.body, mutation.raw_headers)
                if mutation.http_status != status:
                    wrong.append((mutation.name, mutation.http_status, status))

    assert [] == wrong
    assert [body] * 4 == [record.value for record in setting.log.records(Topic.COMPLETIONS)]


async def test_a_rotated_key_is_found_by_one_refetch():
    """A delivery signed with a key that is published but not held is accepted after one refetch."""
    setting = Setting()
    fresh = Signer("fresh")
    setting.keys.publish(setting.signer, fresh)

    async with running_receiver(setting, rules()) as (caller, _):
        status = await caller.post(BODY, fresh.headers(REQUEST_ID, BODY, at=NOW, account=ACCOUNT))

    assert (200, 1) == (status, setting.keys.fetches)


async def test_a_forged_signature_is_401():
    """A delivery of a key that is not fal's is 401, after one refetch."""
    setting = Setting()

    async with running_receiver(setting, rules()) as (caller, _):
        status = await caller.post(BODY, Signer().headers(REQUEST_ID, BODY, at=NOW))

    assert (401, 1, []) == (status, setting.keys.fetches, setting.log.records())


@pytest.mark.parametrize("age_s, status", [(300, 200), (301, 401), (-300, 200), (-301, 401)])
async def test_the_timestamp_may_be_five_minutes_off(age_s, status):
    """A timestamp 300 s away is accepted, one 301 s away is 401."""
    setting = Setting()
    headers = setting.headers(REQUEST_ID, BODY)
    setting.now = NOW + timedelta(seconds=age_s)

    async with running_receiver(setting, rules()) as (caller, _):
        assert status == await caller.post(BODY, headers)


async def test_without_keys_the_answer_is_503():
    """With no usable key set nothing is judged: 503 with Retry-After, and no record."""
    setting = Setting()
    setting.keys.held = None

    async with running_receiver(setting, rules()) as (caller, _):
        answer = await caller.exchange(as_request(BODY, setting.headers(REQUEST_ID, BODY)))

    assert 503 == status_of(answer)
    assert b"\r\nRetry-After: " in answer
    assert [] == setting.log.records()


# ---------------------------------------------------------------- what is told


async def test_one_line_says_what_became_of_each_delivery():
    """An accepted delivery has one line at info, a refused one at warning, without a secret."""
    setting = Setting()

    async with running_receiver(setting, rules()) as (caller, _):
        await caller.post(BODY, setting.headers(REQUEST_ID, BODY))
        await caller.post(BODY, Signer().headers(REQUEST_ID, BODY, at=NOW))

    accepted, rejected = setting.lines.told
    assert ("info", "delivery.accepted") == accepted[:2]
    assert (REQUEST_ID, len(BODY), "completions") == (
        accepted[2]["request_id"],
        accepted[2]["body_bytes"],
        accepted[2]["topic"],
    )
    assert ("warning", "delivery.rejected") == rejected[:2]
    assert ("bad_signature", 401, REQUEST_ID) == (
        rejected[2]["error"],
        rejected[2]["http_status"],
        rejected[2]["claimed_request_id"],
    )


async def test_deliveries_are_counted_by_verdict():
    """Each verdict has its count."""
    setting = Setting()

    async with running_receiver(setting, rules()) as (caller, _):
        await caller.post(BODY, setting.headers(REQUEST_ID, BODY))
        await caller.post(BODY, setting.headers(REQUEST_ID, BODY))
        await caller.post(BODY, Signer().headers(REQUEST_ID, BODY, at=NOW))

    counts = [
        setting.metrics.registry.get_sample_value(
            "fal_consumer_deliveries_total", {"verdict": verdict}
        )
        for verdict in ("accepted", "copy", "bad_signature")
    ]
    assert [1, 1, 1] == counts
