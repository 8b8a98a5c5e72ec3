import asyncio
import base64
import json

import pytest

from consumer.simulator import JwksMode


async def raw_keys(fal):
    async with fal.http.get(fal.simulator.jwks_url, allow_redirects=False) as answer:
        return answer.status, await answer.read()


async def test_books_and_totals_are_served(fal, inbox):
    """The books over HTTP equal the books in process, and count submits per webhook URL."""
    submitted = await fal.submit("plain", inbox.url)
    await fal.submit("lost", inbox.url)
    assert await fal.simulator.wait_idle(20.0)

    _status, books = await fal.get(f"{fal.simulator.url}/_simulator/books")
    assert fal.simulator.books().as_dict() == books
    assert {inbox.url: 2} == books["submits_by_webhook"]
    assert 200 == books["requests"][submitted["request_id"]]["attempts"][0]["answer"]
    _status, totals = await fal.get(f"{fal.simulator.url}/_simulator/totals")
    assert (2, {"succeeded": 2}) == (totals["count"], totals["ends"])


async def test_idle_waits_and_tells_what_is_left(fal):
    """Idle answers true when nothing is left, and otherwise what is open, after the timeout."""
    url = f"{fal.simulator.url}/_simulator/idle"
    assert (200, {"idle": True, "open_requests": 0, "pending_deliveries": 0}) == await fal.get(url)

    await fal.submit("stuck")
    _status, body = await fal.get(url, params={"timeout_s": "0.01"})
    assert {"idle": False, "open_requests": 1, "pending_deliveries": 0} == body


async def test_rotation_over_http(fal):
    """Rotating names the signer and the published keys; publishing first does not sign yet."""
    before = await fal.control("rotate")
    ahead = await fal.control("rotate?publish_first=1")
    after = await fal.control("rotate")

    assert before["signing"] == ahead["signing"]
    assert (3, 2) == (len(ahead["published"]), len(after["published"]))
    assert ahead["published"][2] == after["signing"]
    assert before["signing"] not in after["published"]


@pytest.mark.parametrize(
    "mode, status",
    [
        ("down", 503),
        ("html", 200),
        ("huge", 200),
        ("empty", 200),
        ("redirect", 302),
        ("wrong_curve", 200),
        ("garbage", 200),
    ],
)
async def test_key_endpoint_goes_wrong_on_demand(fal, mode, status):
    """In each mode the endpoint serves no usable key set, and `ok` mends it."""
    await fal.control("jwks", mode=mode)
    got, content = await raw_keys(fal)

    assert status == got
    if mode == "huge":
        assert len(content) > 10 * 1024 * 1024
    else:
        assert b'"Ed25519"' not in content
    await fal.control("jwks", mode="ok")
    assert 2 == len(await fal.keys())
    assert 2 == fal.simulator.books().jwks_fetches


async def test_key_endpoint_dates_its_answers_by_the_simulators_clock(start):
    """With a wrong clock the `Date` of the key set is wrong too."""
    fal = await start(now=lambda: 1_784_206_014.0)

    async with fal.http.get(fal.simulator.jwks_url) as answer:
        assert "Thu, 16 Jul 2026 12:46:54 GMT" == answer.headers["Date"]


async def test_slow_key_endpoint_answers_late(fal):
    """The slow endpoint does not answer within the caller's patience."""
    fal.simulator.set_jwks(JwksMode.SLOW, slow_s=60.0)

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await raw_keys(fal)


async def test_faults_over_http(fal):
    """Faults are planned, met and cleared over HTTP."""
    await fal.control("faults", operation="submit", fault="locked", count=2)
    async with fal.http.post(f"{fal.simulator.url}/a/b", json={}) as answer:
        assert 403 == answer.status
        assert "Exhausted balance" in (await answer.json())["detail"]

    async with fal.http.delete(f"{fal.simulator.url}/_simulator/faults") as answer:
        assert 200 == answer.status
    await fal.submit("stuck")


async def test_pause_and_resume_over_http(fal, inbox):
    """Webhooks are held and released over HTTP."""
    await fal.control("pause")
    submitted = await fal.submit("plain", inbox.url)
    await fal.reach(submitted, "COMPLETED")
    assert [] == inbox.received

    await fal.control("resume")
    await inbox.wait_for(1)


async def test_delivery_by_hand_over_http(fal, inbox):
    """Any body can be sent with any headers; about a known request it lands on its page."""
    submitted = await fal.submit("lost", inbox.url)
    body = base64.b64encode(b"\xff\x00").decode()
    attempt = await fal.control(
        "deliver",
        url=inbox.url,
        body_base64=body,
        request_id=submitted["request_id"],
        user_id="github|9",
        timestamp=12,
        signature="none",
        headers={"X-Extra": "1"},
    )

    [got] = inbox.received
    assert (b"\xff\x00", 12, "1") == (got.body, got.timestamp, got.headers["X-Extra"])
    assert "github|9" == got.headers["X-Fal-Webhook-User-Id"]
    assert "X-Fal-Webhook-Signature" not in got.headers
    assert attempt == fal.entry(submitted).attempts[0].as_dict()


@pytest.mark.parametrize(
    "control, body",
    [
        ("jwks", {"mode": "odd"}),
        ("faults", {"operation": "submit", "fault": "odd"}),
        ("faults", {"operation": "submit", "fault": "cut", "count": -1}),
        ("deliver", {}),
        ("deliver", {"url": "http://example.com/"}),
        ("deliver", {"url": "http://127.0.0.1:1/", "signature": "odd"}),
        ("deliver", []),
        ("deliver", {"url": "http://127.0.0.1:1/", "body_base64": "!"}),
    ],
)
async def test_unusable_controls_are_refused(fal, control, body):
    """A control that makes no sense answers 400 and says what is expected."""
    url = f"{fal.simulator.url}/_simulator/{control}"
    async with fal.http.post(url, data=json.dumps(body)) as answer:
        assert 400 == answer.status
        assert await answer.text()


async def test_controls_that_do_not_exist_are_not_submits(fal):
    """A mistyped control answers 404, a body that is no JSON 400, and no job comes of either."""
    async with fal.http.post(f"{fal.simulator.url}/_simulator/nonsense", json={}) as answer:
        assert 404 == answer.status
    async with fal.http.post(f"{fal.simulator.url}/_simulator/jwks", data=b"{") as answer:
        assert 400 == answer.status
    async with fal.http.get(f"{fal.simulator.url}/_simulator/idle?timeout_s=soon") as answer:
        assert 400 == answer.status
    assert {} == fal.simulator.books().requests
