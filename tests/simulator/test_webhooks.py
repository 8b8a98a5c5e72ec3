import asyncio
import base64
import hashlib
import itertools
import json
import socket

import pytest
from nacl.signing import VerifyKey

from consumer.simulator import (
    KeyRing,
    LooseDelivery,
    NotLoopbackError,
    Signature,
    SigningKey,
    completion_body,
    jwks_document,
)
from consumer.simulator.webhooks import RETRY_GAPS_S, loopback_url


async def test_first_attempt_names_no_agent_and_retries_do(fal, inbox):
    """Only retries carry a User-Agent and tracing headers, as in the recordings."""
    inbox.answer = lambda number: 200 if number == 3 else 400
    await fal.submit("plain", inbox.url)
    first, *retries = await inbox.wait_for(3)

    assert "User-Agent" not in first.headers
    assert "traceparent" not in first.headers
    assert "application/json" == first.headers["Content-Type"]
    assert str(len(first.body)) == first.headers["Content-Length"]
    for retry in retries:
        assert "python-httpx/0.27.0" == retry.headers["User-Agent"]
        assert {"traceparent", "tracestate", "x-datadog-trace-id"} <= set(retry.headers)


async def test_retries_carry_the_same_body_signed_afresh(start, inbox):
    """Each attempt has the same bytes under a new timestamp and signature."""
    clock = iter(range(1_800_000_000, 1_900_000_000))
    fal = await start(now=lambda: float(next(clock)))
    inbox.answer = lambda number: 200 if number == 3 else 503
    await fal.submit("plain", inbox.url)
    received = await inbox.wait_for(3)

    [signing, _spare] = await fal.keys()
    assert 1 == len({got.body for got in received})
    assert 3 == len({got.timestamp for got in received})
    assert all(got.is_signed_by(signing) for got in received)


async def test_retry_gaps_follow_the_recorded_series(start, inbox):
    """The gaps between attempts are fal's, with jitter, times the scale."""
    fal = await start(max_webhook_attempts=6)
    inbox.answer = lambda _number: 500
    submitted = await fal.submit("plain", inbox.url)
    assert await fal.simulator.wait_idle(20.0)

    attempts = fal.entry(submitted).attempts
    gaps = [later.at - earlier.at for earlier, later in itertools.pairwise(attempts)]
    assert 6 == len(attempts)
    # Lower bounds only: a busy machine may be late, never early.
    for gap, recorded in zip(gaps, RETRY_GAPS_S, strict=False):
        assert gap >= recorded * 0.001 * 0.85


@pytest.mark.parametrize(
    "status, attempts", [(200, 1), (204, 1), (301, 1), (308, 1), (403, 3), (500, 3)]
)
async def test_which_answers_are_retried(start, inbox, status, attempts):
    """4xx and 5xx are retried to the limit; a redirect is final and not followed."""
    fal = await start(max_webhook_attempts=3)
    inbox.answer = lambda _number: status
    submitted = await fal.submit("plain", inbox.url)
    assert await fal.simulator.wait_idle(20.0)

    answers = [attempt.answer for attempt in fal.entry(submitted).attempts]
    assert [status] * attempts == answers
    assert attempts == len(inbox.received)


async def test_unanswered_attempts_are_retried(start, inbox):
    """An attempt that is not answered in time is noted as such and tried again."""
    fal = await start(max_webhook_attempts=2, webhook_timeout_s=0.05, webhook_retry_timeout_s=0.05)
    inbox.hold = asyncio.Event()
    submitted = await fal.submit("plain", inbox.url)
    assert await fal.simulator.wait_idle(20.0)
    inbox.hold.set()

    assert ["timeout"] * 2 == [attempt.error for attempt in fal.entry(submitted).attempts]


async def test_dead_receivers_are_tried_again(start):
    """A refused connection is noted as such and tried again."""
    fal = await start(max_webhook_attempts=2)
    with socket.socket() as unheard:  # bound and not listening: connections are refused
        unheard.bind(("127.0.0.1", 0))
        submitted = await fal.submit("plain", f"http://127.0.0.1:{unheard.getsockname()[1]}/")
        assert await fal.simulator.wait_idle(20.0)

    assert ["network"] * 2 == [attempt.error for attempt in fal.entry(submitted).attempts]


async def test_retries_stop_when_the_result_expires(start, inbox):
    """No retry starts after the stored result is gone."""
    fal = await start(result_ttl_s=0.0)
    inbox.answer = lambda _number: 500
    submitted = await fal.submit("plain", inbox.url)
    assert await fal.simulator.wait_idle(20.0)

    assert 1 == len(fal.entry(submitted).attempts)


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/hook",
        "http://10.0.0.1/hook",
        "http://127.0.0.1.example.com/hook",
        "http://169.254.169.254/",
        "http://[::ffff:10.0.0.1]/",
        "ftp://127.0.0.1/hook",
        "/hook",
        "",
    ],
)
async def test_webhooks_lead_to_loopback_only(fal, url):
    """A webhook URL off this machine is refused at submit, and not repeated in the answer."""
    with pytest.raises(NotLoopbackError):
        loopback_url(url)
    params = {"fal_webhook": url}
    async with fal.http.post(f"{fal.simulator.url}/a/b", params=params, json={}) as answer:
        assert 400 == answer.status
        assert "hook" not in (await answer.json())["detail"]


async def test_localhost_is_reached_without_asking_a_resolver(fal, inbox):
    """The name localhost means 127.0.0.1."""
    await fal.submit("plain", inbox.url.replace("127.0.0.1", "localhost"))

    assert 1 == len(await inbox.wait_for(1))


async def test_paused_webhooks_wait_until_resumed(fal, inbox):
    """While paused nothing is sent; afterwards everything is."""
    fal.simulator.pause_webhooks()
    submitted = await fal.submit("plain", inbox.url)
    await fal.reach(submitted, "COMPLETED")

    assert not await fal.simulator.wait_idle(0.05)
    assert ([], {"open_requests": 0, "pending_deliveries": 1}) == (
        inbox.received,
        fal.simulator.pending(),
    )
    fal.simulator.resume_webhooks()
    await inbox.wait_for(1)


async def test_sends_at_once_are_bounded(start, inbox):
    """No more attempts are under way at once than configured; the others wait their turn."""
    fal = await start(max_concurrent_webhooks=2)
    inbox.hold = asyncio.Event()
    submitted = [await fal.submit("plain", inbox.url) for _request in range(5)]
    for each in submitted:
        await fal.reach(each, "COMPLETED")
    await inbox.wait_for(2)

    assert 2 == len(inbox.received)
    inbox.hold.set()
    await inbox.wait_for(5)


async def test_unreadable_loose_body_gets_an_id_of_its_own(fal, inbox):
    """A body that names no request is delivered under a new request id."""
    await fal.simulator.deliver(LooseDelivery(url=inbox.url, body=b"\xff"))

    [got] = inbox.received
    assert 36 == len(got.headers["X-Fal-Webhook-Request-Id"])


async def test_rotation_signs_with_a_key_of_the_new_set(fal, inbox):
    """After a rotation the old key is gone from the set and the new one signs."""
    old, spare = await fal.keys()
    fal.simulator.rotate_key()
    await fal.submit("plain", inbox.url)
    [got] = await inbox.wait_for(1)

    new, kept = await fal.keys()
    assert spare == kept
    assert [True, False] == [got.is_signed_by(new), got.is_signed_by(old)]


def test_key_published_ahead_signs_after_the_next_rotation():
    """A key published first joins the set at its end and takes over at the rotation."""
    ring = KeyRing()
    old, spare = ring.published
    ahead = ring.publish_next()

    assert (old, (old, spare, ahead)) == (ring.signing, ring.published)
    ring.rotate()
    assert (ahead, (ahead, spare)) == (ring.signing, ring.published)


def test_published_key_looks_like_fals():
    """The key document pads `x`, names a kid and no alg."""
    jwk = SigningKey.random("some-kid").jwk()

    assert ["kty", "crv", "kid", "x", "use"] == list(jwk)
    assert (44, "=", "some-kid") == (len(jwk["x"]), jwk["x"][-1], jwk["kid"])


def test_hand_made_deliveries_verify_with_a_published_key():
    """A body and a key made without any queue give a delivery that verifies."""
    key = SigningKey.random()
    body = completion_body("r-1", {"seed": 2**64}, error="Unexpected status code: 422")
    headers = key.sign_headers("r-1", "github|1", 1_784_206_014, body)

    [jwk] = json.loads(jwks_document([key]))["keys"]
    digest = hashlib.sha256(body).hexdigest()
    VerifyKey(base64.urlsafe_b64decode(jwk["x"])).verify(
        f"r-1\ngithub|1\n1784206014\n{digest}".encode(),
        bytes.fromhex(headers["X-Fal-Webhook-Signature"]),
    )
    assert ("ERROR", 2**64) == (json.loads(body)["status"], json.loads(body)["payload"]["seed"])


@pytest.mark.parametrize(
    "signature, verifies",
    [
        (Signature.CURRENT, [True, False]),
        (Signature.SPARE, [False, True]),
        (Signature.UNPUBLISHED, [False, False]),
        (Signature.WRONG_BODY, [False, False]),
    ],
)
async def test_loose_deliveries_are_signed_as_asked(fal, inbox, signature, verifies):
    """A delivery made by hand is signed rightly or wrongly, once, whatever the answer."""
    inbox.answer = lambda _number: 401
    loose = LooseDelivery(url=inbox.url, body=b'{"request_id": "r-1"}', signature=signature)
    attempt = await fal.simulator.deliver(loose)

    [got] = inbox.received
    assert (401, "extra") == (attempt.answer, attempt.kind)
    assert "r-1" == got.headers["X-Fal-Webhook-Request-Id"]
    assert verifies == [got.is_signed_by(key) for key in await fal.keys()]
    assert [attempt] == fal.simulator.books().other_attempts
