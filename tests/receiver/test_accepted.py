"""What is answered 200 is in the log: each delivery, its token's hints, and dead letters."""

from datetime import timedelta

import pytest

from consumer.core.completion import delivery_from
from consumer.core.event import Topic, decode
from consumer.core.signature import verify
from consumer.core.token import Token, sign_token
from consumer.errors import LogUnavailable, RecordRefused
from consumer.receiver import maybe_path_token
from consumer.testing.deliveries import REQUEST_ID, webhook_body
from consumer.testing.receiving import NOW, Setting, as_request, running_receiver, status_of
from tests.receiver.stage import BODY, SECRET, SOURCE, only_record, rules

# ---------------------------------------------------------------- events and copies


async def test_a_verified_delivery_of_ours_is_durable_before_200():
    """A verified delivery of ours is in the log, byte for byte, when 200 is sent."""
    setting = Setting()

    async with running_receiver(setting, rules()) as (caller, _):
        status = await caller.post(BODY, setting.headers(REQUEST_ID, BODY))

    assert 200 == status
    record = only_record(setting, Topic.COMPLETIONS)
    event = decode(record.headers, record.value)
    assert (REQUEST_ID, REQUEST_ID, BODY) == (record.key, event.subject, record.value)
    assert (SOURCE, NOW, "ours") == (event.source, event.time, event.extensions["falaccount"])


async def test_the_record_is_evidence():
    """The record alone, with the key it names, verifies again at its own time."""
    setting = Setting()
    async with running_receiver(setting, rules()) as (caller, _):
        await caller.post(BODY, setting.headers(REQUEST_ID, BODY))
    record = only_record(setting, Topic.COMPLETIONS)
    event = decode(record.headers, record.value)

    verified = verify(delivery_from(event), setting.keys.held.keys, now=event.time)

    assert event.extensions["falkey"] == verified.key.text


async def test_each_attempt_of_fal_is_published_under_one_id():
    """A delivery that fal signed anew is published like the first, with the same ce_id."""
    setting = Setting()

    async with running_receiver(setting, rules()) as (caller, _):
        first = await caller.post(BODY, setting.headers(REQUEST_ID, BODY))
        setting.now += timedelta(seconds=2)
        second = await caller.post(BODY, setting.headers(REQUEST_ID, BODY))

    assert (200, 200) == (first, second)
    ids = [
        decode(record.headers, record.value).id for record in setting.log.records(Topic.COMPLETIONS)
    ]
    assert 2 == len(ids)
    assert 1 == len(set(ids))


async def test_an_exact_copy_is_answered_without_publishing():
    """The very same delivery again is answered 200, and the log holds it once."""
    setting = Setting()
    headers = setting.headers(REQUEST_ID, BODY)

    async with running_receiver(setting, rules()) as (caller, _):
        statuses = [await caller.post(BODY, headers) for _ in range(3)]

    assert [200, 200, 200] == statuses
    only_record(setting, Topic.COMPLETIONS)


async def test_a_delivery_that_was_not_made_durable_is_no_copy():
    """After a 503 the same delivery is published, not taken for a copy."""
    setting = Setting()
    headers = setting.headers(REQUEST_ID, BODY)
    setting.log.refuse_next(LogUnavailable("told to"))

    async with running_receiver(setting, rules()) as (caller, _):
        statuses = [await caller.post(BODY, headers) for _ in range(2)]

    assert [503, 200] == statuses
    only_record(setting, Topic.COMPLETIONS)


async def test_the_same_delivery_at_another_path_is_no_copy():
    """A token makes another event: the copy at another path is published."""
    setting = Setting()
    headers = setting.headers(REQUEST_ID, BODY)

    async with running_receiver(setting, rules()) as (caller, _):
        await caller.post(BODY, headers)
        await caller.post(BODY, headers, path="/webhooks/fal/other")

    assert 2 == len(setting.log.records(Topic.COMPLETIONS))


# ---------------------------------------------------------------- tokens


async def test_a_valid_token_travels_as_hints():
    """What the path's token says is in the event, beside the token as received."""
    setting = Setting()
    token = sign_token(Token("fal-ai/flux", "submission-1"), [SECRET])

    async with running_receiver(setting, rules()) as (caller, _):
        status = await caller.post(
            BODY, setting.headers(REQUEST_ID, BODY), path=f"/webhooks/fal/{token}/"
        )

    record = only_record(setting, Topic.COMPLETIONS)
    hints = decode(record.headers, record.value).extensions
    assert (200, token) == (status, hints["faltoken"])
    assert ("fal-ai/flux", "submission-1") == (hints["falendpoint"], hints["falsubmission"])


@pytest.mark.parametrize(
    "path",
    [
        "/webhooks/fal",
        "/webhooks/fal/",
        "/webhooks/fal?x=1",
        "/webhooks/fal/not-a-token",
        "/webhooks/fal/" + "x" * 4000,
        "/webhooks/fal/%00%ff",
        "http://elsewhere.example/webhooks/fal",
    ],
)
async def test_a_missing_or_unusable_token_costs_nothing(path):
    """Without a usable token a verified delivery is 200, with no hints in its event."""
    setting = Setting()

    async with running_receiver(setting, rules()) as (caller, _):
        status = await caller.post(BODY, setting.headers(REQUEST_ID, BODY), path=path)

    record = only_record(setting, Topic.COMPLETIONS)
    assert 200 == status
    assert "falendpoint" not in decode(record.headers, record.value).extensions


async def test_bytes_that_are_no_text_in_the_path_cost_nothing():
    """A token of raw bytes over 0x7F is unusable, like any other."""
    setting = Setting()
    raw = as_request(BODY, setting.headers(REQUEST_ID, BODY), path="/webhooks/fal/x")

    async with running_receiver(setting, rules()) as (caller, _):
        answer = await caller.exchange(raw.replace(b"/fal/x", b"/fal/\xff\xfe", 1))

    assert status_of(answer) in {200, 400}
    assert len(setting.log.records()) == (status_of(answer) == 200)


@pytest.mark.parametrize(
    "path, token",
    [
        ("/webhooks/fal", ""),
        ("/webhooks/fal/", ""),
        ("/webhooks/fal/abc", "abc"),
        ("/webhooks/fal/abc/", "abc"),
        ("/webhooks/fal/abc//", None),
        ("/webhooks/falabc", None),
        ("/webhooks", None),
        ("", None),
    ],
)
def test_the_token_of_a_path(path, token):
    """A webhook path has a token or none; any other path is not ours."""
    assert token == maybe_path_token(path)


# ---------------------------------------------------------------- dead letters


@pytest.mark.parametrize(
    "body, reason",
    [
        (b"", b"unreadable_body"),
        (b"not JSON", b"unreadable_body"),
        (b"[]", b"unreadable_body"),
        (webhook_body(status="MAYBE"), b"unreadable_body"),
        (webhook_body("another-id"), b"other_request_id"),
    ],
)
async def test_a_verified_body_that_cannot_be_used_is_kept_whole(body, reason):
    """What fal signed and we cannot read is 200, and rests whole among the dead letters."""
    setting = Setting()

    async with running_receiver(setting, rules()) as (caller, _):
        status = await caller.post(body, setting.headers(REQUEST_ID, body))

    letter = only_record(setting, Topic.DEAD_LETTERS)
    headers = dict(letter.headers)
    assert (200, body, REQUEST_ID) == (status, letter.value, letter.key)
    assert (reason, b"receiver", b"1") == (
        headers["dlreason"],
        headers["dlorigin"],
        headers["dlattempts"],
    )
    assert NOW == decode(letter.headers, letter.value).time
    assert [] == setting.log.records(Topic.COMPLETIONS)


async def test_a_record_that_the_log_refuses_is_kept_as_a_dead_letter():
    """A record that the log will never take rests whole among the dead letters."""
    setting = Setting()
    setting.log.refuse_next(RecordRefused("completions", "told to"))

    async with running_receiver(setting, rules()) as (caller, _):
        status = await caller.post(BODY, setting.headers(REQUEST_ID, BODY))

    letter = only_record(setting, Topic.DEAD_LETTERS)
    assert (200, b"record_refused") == (status, dict(letter.headers)["dlreason"])


async def test_a_record_that_nothing_takes_is_503():
    """When the dead letter is refused too, fal is asked to try again."""
    setting = Setting()
    setting.log.refuse_next(RecordRefused("completions", "told to"), times=2)

    async with running_receiver(setting, rules()) as (caller, _):
        status = await caller.post(BODY, setting.headers(REQUEST_ID, BODY))

    assert (503, []) == (status, setting.log.records())
