"""Hostile HTTP against the edge: what is no request, and how it is answered."""

import asyncio
import logging
from datetime import timedelta

import pytest

from consumer.core.event import Topic
from consumer.testing.deliveries import REQUEST_ID, webhook_body
from consumer.testing.receiving import Setting, as_request, running_receiver, status_of
from tests.receiving.edge import BODY, DEADLINE_S, POST, limited, opened


@pytest.mark.parametrize(
    "raw",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03secret",
        b"secret\r\n\r\n",
        b"POST /webhooks/fal HTTP/9.9\r\n\r\n",
        b"POST /webhooks/fal HTTP/1.1\r\nsecret\r\n\r\n",
        b"POST /webhooks/fal HTTP/1.1\r\nHost: x\r\nsecret : x\r\n\r\n",
        b"POST /webhooks/fal HTTP/1.1\r\nHost: x\r\n folded\r\n\r\n",
        b"POST /webhooks/fal HTTP/1.1\r\nX: \x00\r\n\r\n",
        POST + b"X: " + b"y" * 20_000 + b"\r\n\r\n",
        POST + b"X: y\r\n" * 500 + b"\r\n",
        b"POST /" + b"y" * 20_000 + b" HTTP/1.1\r\n\r\n",
        POST + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        POST + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        POST + b"Content-Length: -1\r\n\r\n",
        POST + b"Content-Length: 1_0\r\n\r\n0123456789",
        POST + b"Content-Length: +1\r\n\r\na",
        POST + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        POST + b"Transfer-Encoding: gzip\r\n\r\nabc",
        b"\r\n" * 2000 + b"secret\r\n\r\n",
    ],
)
async def test_malformed_http_is_an_empty_400_and_leaves_no_trace(raw, caplog):
    """What aiohttp cannot read is answered by an empty 400, counted, and appears in no log."""
    setting = Setting()
    with caplog.at_level(logging.DEBUG):
        async with running_receiver(setting, limited()) as (caller, _):
            answer = await caller.exchange(raw)

    assert 400 == status_of(answer)
    assert answer.endswith(b"\r\n\r\n")
    assert 1 == setting.metrics.registry.get_sample_value("fal_consumer_malformed_http_total")
    assert "secret" not in caplog.text
    assert "secret" not in repr(setting.lines.told)


@pytest.mark.parametrize(
    "chunks",
    [b"zz\r\n", b"-1\r\nx\r\n", b"5\r\nabcdefgh\r\n0\r\n\r\n", b"1;" + b"x" * 20_000 + b"\r\n"],
)
async def test_bad_chunking_is_400(chunks):
    """A chunked body that breaks the rules of chunking is 400, whatever its headers say."""
    setting = Setting()
    raw = as_request(b"", setting.headers(REQUEST_ID, BODY)).replace(
        b"Content-Length: 0", b"Transfer-Encoding: chunked"
    )

    hasty = limited(body_deadline=timedelta(milliseconds=50))

    async with running_receiver(setting, hasty) as (caller, _):
        answer = await caller.exchange(raw + chunks)

    assert (400, []) == (status_of(answer), setting.log.records())


async def test_garbage_behind_a_delivery_is_400_and_the_delivery_as_answered():
    """A delivery with garbage behind it is durable if and only if it is answered 200."""
    setting = Setting()
    good = as_request(BODY, setting.headers(REQUEST_ID, BODY), closes=False)

    async with running_receiver(setting, limited()) as (caller, _):
        answer = await caller.exchange(good + b"secret\r\n\r\n")

    statuses = [status_of(part + b"\r\n\r\n") for part in answer.split(b"\r\n\r\n")[:-1]]
    assert 400 == statuses[-1]
    assert statuses.count(200) == len(setting.log.records())


async def test_http_0_9_is_answered_by_a_status():
    """A request line without a version is answered like any other, and the connection closed."""
    async with running_receiver(Setting(), limited()) as (caller, _):
        assert 404 == status_of(await caller.exchange(b"GET /\r\n\r\n"))


async def test_pipelined_deliveries_are_answered_in_order():
    """Several requests in one piece are each answered, on one connection."""
    setting = Setting()
    bodies = [webhook_body(f"id-{number}") for number in range(50)]
    raw = b"".join(
        as_request(body, setting.headers(f"id-{number}", body), closes=number == 49)
        for number, body in enumerate(bodies)
    )

    async with running_receiver(setting, limited()) as (caller, _):
        answer = await caller.exchange(raw)

    assert 50 == answer.count(b"HTTP/1.1 200 OK\r\n")
    assert 50 == len(setting.log.records(Topic.COMPLETIONS))


async def test_an_upgrade_is_not_made():
    """A request that asks for another protocol is answered as what it is otherwise."""
    setting = Setting()
    headers = {**setting.headers(REQUEST_ID, BODY), "Upgrade": "websocket"}
    raw = as_request(BODY, headers).replace(b"Connection: close", b"Connection: Upgrade, close")

    async with running_receiver(setting, limited()) as (caller, _):
        answer = await caller.exchange(raw + b"\x81\x05hello")

    assert status_of(answer) in {200, 400}
    assert b"101" not in answer


async def test_a_tunnel_is_not_made():
    """CONNECT is refused."""
    setting = Setting()

    async with running_receiver(setting, limited()) as (caller, _):
        answer = await caller.exchange(b"CONNECT elsewhere:443 HTTP/1.1\r\nHost: x\r\n\r\n\x16\x03")

    assert status_of(answer) in {400, 404, 405}


async def test_a_sender_that_asks_first_is_told_to_go_on():
    """`Expect: 100-continue` is answered before the body is sent."""
    setting = Setting()
    headers = {**setting.headers(REQUEST_ID, BODY), "Expect": "100-continue"}
    raw = as_request(BODY, headers)

    async with (
        asyncio.timeout(DEADLINE_S),
        running_receiver(setting, limited()) as (caller, _),
    ):
        reader, writer = await opened(caller)
        writer.write(raw[: -len(BODY)])
        assert b"HTTP/1.1 100 Continue\r\n\r\n" == await reader.readuntil(b"\r\n\r\n")
        writer.write(BODY)
        assert 200 == status_of(await reader.read())
        writer.close()


async def test_http_1_0_is_answered_and_closed():
    """An HTTP/1.0 sender gets its answer, and the end of the connection."""
    setting = Setting()
    raw = as_request(BODY, setting.headers(REQUEST_ID, BODY), closes=False).replace(
        b"HTTP/1.1", b"HTTP/1.0", 1
    )

    async with running_receiver(setting, limited()) as (caller, _):
        assert 200 == status_of(await caller.exchange(raw))


async def test_our_own_mistake_is_503_and_told_by_class_alone():
    """An error of ours never is a 500; its text, which may hold foreign bytes, is not told."""
    setting = Setting()

    class Broken:
        async def append(self, record):
            raise KeyError("secret")

    async with running_receiver(setting, limited(), Broken()) as (caller, _):
        assert 503 == await caller.post(BODY, setting.headers(REQUEST_ID, BODY))

    level, event, values = setting.lines.told[0]
    assert ("error", "invariant.broken", "KeyError") == (level, event, values["error"])
    assert "secret" not in repr(setting.lines.told)


async def test_lines_about_refusals_are_bounded():
    """A flood of refusals leaves a bounded number of lines a minute."""
    setting = Setting()
    flood = as_request(b"", {}, closes=False) * 700 + as_request(b"", {})

    async with running_receiver(setting, limited()) as (caller, _):
        answer = await caller.exchange(flood)

    assert 701 == answer.count(b"HTTP/1.1 400")
    assert 600 == len(setting.lines.told)
