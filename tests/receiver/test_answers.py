"""Answers that do not depend on a signature: bodies, methods, paths, and what is not ready."""

import pytest

from consumer.core.event import Topic
from consumer.errors import LogUnavailable
from consumer.receiving.limits import ReceiverLimits
from consumer.testing.deliveries import REQUEST_ID, webhook_body
from consumer.testing.receiving import Setting, as_request, running_receiver, status_of
from tests.receiver.stage import BODY, only_record, rules


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
