import json

import aiohttp
import pytest

from consumer.simulator import (
    Api,
    Fault,
    Hint,
    LockReason,
    Operation,
    RateLimit,
    SimulatorConfigError,
)
from consumer.simulator.standing import Standing


async def read(answer):
    """Return status and body; the body is None when it never came whole."""
    async with answer:
        try:
            return answer.status, await answer.read()
        except aiohttp.ClientPayloadError:
            return answer.status, None


@pytest.mark.parametrize(
    "hint, header", [(Hint.RETRY_AFTER, "Retry-After"), (Hint.RESET, "x-ratelimit-reset")]
)
def test_a_window_counts_calls_and_begins_anew(hint, header):
    """Within a window the calls past the limit learn when it ends; the next one starts at 0."""
    clock = [100.25]
    standing = Standing(lambda: clock[0], limits={Api.QUEUE: RateLimit(2, 10.0, hint)})

    def told(api=Api.QUEUE, *, is_anonymous=False):
        return standing.exceeded(api, is_anonymous=is_anonymous)

    assert [None, None, {header: "10"}] == [told(), told(), told()]
    assert [None, None] == [told(is_anonymous=True), told(Api.PLATFORM)]
    clock[0] = 109.5
    assert {header: "1"} == told()
    clock[0] = 110.0
    assert told() is None


def test_a_limit_may_say_nothing_about_when():
    """Without a hint a 429 carries no header."""
    standing = Standing(lambda: 1.0, limits={Api.QUEUE: RateLimit(1, hint=Hint.NONE)})

    assert [None, {}] == [standing.exceeded(Api.QUEUE, is_anonymous=False) for _call in range(2)]


async def test_a_rate_limit_holds_for_each_api_and_the_books_count_it(start):
    """Past the limit both hosts answer 429 in their own form, until it is lifted."""
    fal = await start(rate_limit=RateLimit(1, 3600.0, Hint.RESET))
    submitted = await fal.submit("stuck")
    meta = f"{fal.simulator.platform_url}/meta"
    before = await fal.get(meta)

    async with fal.http.get(submitted["status_url"]) as answer:
        assert (429, True) == (answer.status, int(answer.headers["x-ratelimit-reset"]) > 1)
        assert {"detail": "Rate limit exceeded"} == await answer.json()
    http_status, body = await fal.get(meta, headers={"Authorization": ""})
    assert (200, 429, "rate_limited") == (before[0], http_status, body["error"]["type"])
    fal.simulator.limit_rate(None)
    http_status, _body = await fal.get(submitted["status_url"])
    assert 202 == http_status
    assert {
        "submit": {"200": 1},
        "meta": {"200": 1, "429": 1},
        "status": {"429": 1, "202": 1},
    } == fal.simulator.books().totals()["answers"]


async def test_a_rate_limit_is_set_and_lifted_over_http(fal):
    """One API can be limited alone, and the limit is taken back."""
    await fal.control("rate-limit", calls=1, window_s=3600, hint="none", api="queue")
    submitted = await fal.submit("stuck")
    async with fal.http.get(submitted["status_url"]) as answer:
        assert 429 == answer.status
        assert "Retry-After" not in answer.headers
        assert "x-ratelimit-reset" not in answer.headers
    for _call in range(2):
        http_status, _body = await fal.get(f"{fal.simulator.platform_url}/meta")
        assert 200 == http_status

    async with fal.http.delete(f"{fal.simulator.url}/_simulator/rate-limit") as answer:
        assert 200 == answer.status
    http_status, _body = await fal.get(submitted["status_url"])
    assert 202 == http_status


async def test_the_books_tell_answers_since_an_instant(start):
    """A test can count what was answered after the first seconds."""
    clock = [1000.0]
    fal = await start(now=lambda: clock[0])
    submitted = await fal.submit("stuck")
    clock[0] = 1010.0
    await fal.get(submitted["status_url"])

    [late] = fal.simulator.books().answers_since(1005.0)
    assert ("status", 202, 1010.0) == (late.operation, late.http_status, late.at)
    assert 2 == len(fal.simulator.books().answers_since(0.0))


@pytest.mark.parametrize("reason", list(LockReason))
async def test_a_lock_refuses_submits_and_nothing_else(fal, reason):
    """A locked account submits nothing, reads and cancels on, and works again when unlocked."""
    submitted = await fal.submit("stuck")
    await fal.control("lock", reason=reason)

    async with fal.http.post(f"{fal.simulator.url}/a/b", json={}) as answer:
        assert (403, {"detail": reason.text}) == (answer.status, await answer.json())
    http_status, _body = await fal.get(submitted["status_url"])
    assert (202, (200, {"status": "OK"})) == (http_status, await fal.cancel(submitted))
    async with fal.http.delete(f"{fal.simulator.url}/_simulator/lock") as answer:
        assert 200 == answer.status
    await fal.submit("stuck")
    assert {"200": 2, "403": 1} == fal.simulator.books().totals()["answers"]["submit"]


async def test_keys_are_exchanged_while_it_runs(start):
    """An old key stops passing at once, a new one passes, and an ADMIN key is one of its own."""
    fal = await start(api_key="id:old")
    await fal.control("keys", api_key="id:new", admin_key="id:admin")
    url = f"{fal.simulator.platform_url}/models/billing-events"

    told = []
    for key in ("id:old", "id:new", "id:admin"):
        http_status, _body = await fal.get(url, headers={"Authorization": f"Key {key}"})
        told.append(http_status)
    assert [401, 403, 200] == told


@pytest.mark.parametrize("form", ["", "Basic id:secret", "Key ", "Key id:wrong", "Bearer id:right"])
async def test_each_way_of_being_nobody_has_words_of_its_own(start, form):
    """No key, no scheme of fal's, a wrong key and a key sent as Bearer answer 401."""
    fal = await start(api_key="id:right")
    submitted = await fal.submit("stuck", headers={"Authorization": "Key id:right"})

    http_status, body = await fal.get(submitted["status_url"], headers={"Authorization": form})
    expected = {
        "": 'Cannot access application "fal-ai/flux". '
        "Authentication is required to access this application.",
        "Bearer id:right": "bearer: unable to decode issuer",
    }
    assert (401, expected.get(form, "invalid key credentials")) == (http_status, body["detail"])


async def test_an_unknown_id_is_told_to_anybody_but_a_bad_key(fal, start):
    """Without a key an unknown id is NOT_FOUND, with a bad key the key comes first."""
    strict = await start(api_key="id:right")
    url = f"{strict.simulator.url}/a/b/requests/019f6af7-3088-7f03-b97d-84fec4a3ce12/status"

    async with aiohttp.ClientSession() as nobody, nobody.get(url) as answer:
        assert (404, {"status": "NOT_FOUND"}) == (answer.status, await answer.json())
    http_status, _body = await strict.get(url)
    assert 401 == http_status


@pytest.mark.parametrize("fault", [Fault.EMPTY, Fault.HALF, Fault.TRUNCATED])
async def test_spoiled_answers_keep_their_code(fal, fault):
    """The call was carried out; its body is empty, cut in half, or never arrives whole."""
    submitted = await fal.submit("stuck")
    fal.simulator.plan_faults(Operation.CANCEL, fault)

    http_status, content = await read(await fal.http.put(submitted["cancel_url"]))
    expected = {Fault.EMPTY: b"", Fault.HALF: b'{"status', Fault.TRUNCATED: None}[fault]
    assert (200, expected) == (http_status, content)
    assert "cancelled" == fal.entry(submitted).end


async def test_a_lost_answer_leaves_the_job_behind(fal):
    """The connection dies, and the job exists all the same; the books say that it was cut."""
    fal.simulator.plan_faults(Operation.SUBMIT, Fault.LOST)

    with pytest.raises(aiohttp.ClientError):
        await fal.submit("stuck")
    assert 1 == len(fal.simulator.books().requests)
    assert {"cut": 1} == fal.simulator.books().totals()["answers"]["submit"]


@pytest.mark.parametrize("fault", [Fault.EMPTY, Fault.HALF, Fault.TRUNCATED])
async def test_streams_are_spoiled_too(fal, fault):
    """A stream that begins badly has no whole status in it."""
    submitted = await fal.submit("stuck")
    fal.simulator.plan_faults(Operation.STREAM, fault)

    http_status, content = await read(await fal.http.get(submitted["status_url"] + "/stream"))
    assert 200 == http_status
    assert b"\n\n" not in (content or b"")


async def test_streams_are_cut_every_so_often(start):
    """Each stream dies after its time, and a new one tells the present status again."""
    fal = await start(stream_cut_s=0.05)
    submitted = await fal.submit("stuck")

    for _connection in range(2):
        async with fal.http.get(submitted["status_url"] + "/stream") as answer:
            line = await answer.content.readline()
            assert "IN_QUEUE" == json.loads(line[6:])["status"]
            with pytest.raises(aiohttp.ClientError):
                await answer.content.read()
    await fal.control("stream", cut_after_s=None)
    await fal.cancel(submitted)
    assert "COMPLETED" == (await fal.reach(submitted, "COMPLETED"))["status"]


@pytest.mark.parametrize("api", [Operation.MODELS, Operation.SUBMIT])
async def test_a_page_in_front_is_html(fal, api):
    """A challenge page is HTML on either host, without any header of fal's."""
    fal.simulator.plan_faults(api, Fault.HTML_403)

    call = (
        fal.http.post(f"{fal.simulator.url}/a/b", json={})
        if api is Operation.SUBMIT
        else fal.http.get(f"{fal.simulator.platform_url}/models")
    )
    async with call as answer:
        assert (403, "text/html") == (answer.status, answer.content_type)
        assert "x-fal-request-id" not in answer.headers


@pytest.mark.parametrize(
    "control, body",
    [
        ("rate-limit", {}),
        ("rate-limit", {"calls": 0}),
        ("rate-limit", {"calls": 1, "window_s": 0}),
        ("rate-limit", {"calls": 1, "hint": "odd"}),
        ("rate-limit", {"calls": 1, "api": "odd"}),
        ("lock", {"reason": "odd"}),
        ("stream", {"cut_after_s": -1}),
    ],
)
async def test_unusable_troubles_are_refused(fal, control, body):
    """A trouble that makes no sense answers 400 and says what is expected."""
    async with fal.http.post(f"{fal.simulator.url}/_simulator/{control}", json=body) as answer:
        assert 400 == answer.status
        assert await answer.text()


@pytest.mark.parametrize("settings", [{"stream_cut_s": 0.0}, {"stream_comment_s": 0.0}])
async def test_times_that_cannot_work_are_refused(start, settings):
    """A stream that is cut at once, or comments without pause, is a mistake."""
    with pytest.raises(SimulatorConfigError):
        await start(**settings)
