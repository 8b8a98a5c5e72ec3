"""Every row of the receiver's table of answers, over real HTTP."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from consumer.core.completion import delivery_from
from consumer.core.event import Topic, decode
from consumer.core.signature import verify
from consumer.core.token import Token, sign_token
from consumer.errors import LogUnavailable, RecordRefused
from consumer.receiver import ReceiverRules, maybe_path_token
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

SECRET = b"a secret of at least 32 random bytes!"
SOURCE = "https://keys.example"
BODY = webhook_body()


def rules(**changed):
    settings = {"accounts": frozenset({ACCOUNT}), "source": SOURCE, "token_secrets": (SECRET,)}
    return ReceiverRules(**{**settings, **changed})


def only_record(setting, topic):
    found = setting.log.records(topic)
    assert 1 == len(found)
    return found[0]


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


@pytest.mark.parametrize(
    "encoding, status", [("gzip", 400), ("br", 400), ("identity", 200), ("Identity", 200)]
)
async def test_an_encoded_body_is_400(encoding, status):
    """A body that is said to be encoded is refused before it is read."""
    setting = Setting()
    headers = {**setting.headers(REQUEST_ID, BODY), "Content-Encoding": encoding}

    async with running_receiver(setting, rules()) as (caller, _):
        assert status == await caller.post(BODY, headers)


async def test_a_body_over_the_limit_is_413():
    """A body of the limit is accepted; one byte more is 413, declared or chunked."""
    setting = Setting()
    fits = webhook_body(padding="x" * 1000)
    over = fits + b" "
    limited = rules(limits=ReceiverLimits(max_body_bytes=len(fits)))
    chunked = as_request(b"", setting.headers(REQUEST_ID, over)).replace(
        b"Content-Length: 0", b"Transfer-Encoding: chunked"
    )
    chunk = f"{len(over):x}\r\n".encode() + over + b"\r\n0\r\n\r\n"

    async with running_receiver(setting, limited) as (caller, _):
        statuses = [
            await caller.post(fits, setting.headers(REQUEST_ID, fits)),
            await caller.post(over, setting.headers(REQUEST_ID, over)),
            status_of(await caller.exchange(chunked + chunk)),
        ]

    assert [200, 413, 413] == statuses


async def test_a_declared_length_over_the_limit_is_413_before_anything_is_read():
    """A Content-Length over the limit is answered although no byte of the body came."""
    setting = Setting()
    raw = as_request(b"", setting.headers(REQUEST_ID, BODY)).replace(
        b"Content-Length: 0", b"Content-Length: 99999999999"
    )

    async with running_receiver(setting, rules()) as (caller, _):
        assert 413 == status_of(await caller.exchange(raw))


async def test_a_large_body_is_accepted():
    """A body of several megabytes, which is hashed off the loop, is accepted."""
    setting = Setting()
    body = webhook_body(payload={"image": "x" * 3_000_000})

    async with running_receiver(setting, rules()) as (caller, _):
        assert 200 == await caller.post(body, setting.headers(REQUEST_ID, body))

    assert body == only_record(setting, Topic.COMPLETIONS).value


async def test_a_chunked_body_is_accepted():
    """A chunked body counts as the bytes it carries."""
    setting = Setting()
    raw = as_request(b"", setting.headers(REQUEST_ID, BODY)).replace(
        b"Content-Length: 0", b"Transfer-Encoding: chunked"
    )
    chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in BODY)

    async with running_receiver(setting, rules()) as (caller, _):
        assert 200 == status_of(await caller.exchange(raw + chunks + b"0\r\n\r\n"))

    assert BODY == only_record(setting, Topic.COMPLETIONS).value


async def test_without_keys_the_answer_is_503():
    """With no usable key set nothing is judged: 503 with Retry-After, and no record."""
    setting = Setting()
    setting.keys.held = None

    async with running_receiver(setting, rules()) as (caller, _):
        answer = await caller.exchange(as_request(BODY, setting.headers(REQUEST_ID, BODY)))

    assert 503 == status_of(answer)
    assert b"\r\nRetry-After: " in answer
    assert [] == setting.log.records()


async def test_a_log_that_does_not_answer_is_503():
    """When neither log nor waiting room takes the event, fal is asked to try again."""
    setting = Setting()
    setting.log.refuse_next(LogUnavailable("told to"))

    async with running_receiver(setting, rules()) as (caller, _):
        answer = await caller.exchange(as_request(BODY, setting.headers(REQUEST_ID, BODY)))

    assert 503 == status_of(answer)
    assert b"\r\nRetry-After: " in answer


@pytest.mark.parametrize(
    "method, path, status",
    [
        ("GET", "/webhooks/fal", 405),
        ("PUT", "/webhooks/fal/x", 405),
        ("OPTIONS", "/webhooks/fal", 405),
        ("HEAD", "/webhooks/fal", 405),
        ("POST", "/", 404),
        ("POST", "/webhooks/falx", 404),
        ("POST", "/webhooks/fal//", 404),
        ("POST", "/webhooks/fal/a/b", 404),
        ("POST", "/webhooks/%66al", 404),
        ("POST", "//webhooks/fal", 404),
        ("GET", "/healthz", 200),
        ("GET", "/readyz", 200),
        ("GET", "/metrics", 404),
    ],
)
async def test_other_methods_and_paths_are_refused_with_empty_bodies(method, path, status):
    """What is no delivery is answered by its status alone."""
    setting = Setting()
    raw = as_request(BODY, setting.headers(REQUEST_ID, BODY), path=path, method=method)

    async with running_receiver(setting, rules()) as (caller, _):
        answer = await caller.exchange(raw)

    assert status == status_of(answer)
    assert answer.endswith(b"\r\n\r\n")
    assert b"\r\nContent-Length: 0\r\n" in answer
    assert [] == setting.log.records()


async def test_readiness_is_a_bare_status():
    """`/readyz` is 503 while the service is not ready; `/healthz` stays 200."""
    setting = Setting(is_ready=False)

    async with running_receiver(setting, rules()) as (caller, _):
        ready = await caller.exchange(as_request(b"", {}, path="/readyz", method="GET"))
        healthy = await caller.exchange(as_request(b"", {}, path="/healthz", method="GET"))

    assert (503, 200) == (status_of(ready), status_of(healthy))
    assert ready.endswith(b"\r\n\r\n")


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
