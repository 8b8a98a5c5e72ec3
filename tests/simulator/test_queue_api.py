import asyncio
from uuid import UUID

import aiohttp
import pytest

from consumer.simulator import Fault, Operation, UrlForm

HINTS = ("Retry-After", "x-ratelimit-reset")


async def test_submit_answers_with_every_field(fal):
    """Submit answers 200 with a UUIDv7, three URLs in the app form and a place in the queue."""
    body = await fal.submit("stuck", endpoint="fal-ai/kling-video/v2/pro")

    base = f"{fal.simulator.url}/fal-ai/kling-video/requests/{body['request_id']}"
    assert 7 == UUID(body["request_id"]).version
    assert {
        "status": "IN_QUEUE",
        "request_id": body["request_id"],
        "gateway_request_id": body["request_id"],
        "response_url": base,
        "status_url": f"{base}/status",
        "cancel_url": f"{base}/cancel",
        "queue_position": 0,
        "logs": None,
        "metrics": {},
    } == body


@pytest.mark.parametrize("content", [b"not json", b"[1]", b"[" * 50_000])
async def test_submit_refuses_what_is_no_json_object(fal, content):
    """The only input refused at submit is one that is no JSON object."""
    async with fal.http.post(f"{fal.simulator.url}/a/b", data=content) as answer:
        assert 422 == answer.status


async def test_books_keep_what_was_submitted(fal):
    """The books name endpoint, input hash, tags and whether a webhook was asked for."""
    body = await fal.submit("stuck", headers={"X-Fal-Tags": "team=a"}, endpoint="a/b/c")

    page = fal.simulator.books().as_dict()["requests"][body["request_id"]]
    assert ("a/b/c", "team=a", False, "open") == (
        page["endpoint"],
        page["tags"],
        page["has_webhook"],
        page["end"],
    )
    assert 64 == len(page["input_sha256"])


async def test_status_is_202_while_pending_and_200_when_completed(fal):
    """Pending requests answer 202 with a position only while queued; completed ones 200."""
    first, second = await fal.submit("stuck"), await fal.submit("stuck")

    http_status, body = await fal.get(second["status_url"])
    assert (202, "IN_QUEUE", 1, None) == (
        http_status,
        body["status"],
        body["queue_position"],
        body["logs"],
    )
    await fal.cancel(first)
    await fal.cancel(second)
    http_status, body = await fal.get(second["status_url"])
    assert (200, "COMPLETED", "client_cancelled") == (
        http_status,
        body["status"],
        body["error_type"],
    )
    assert "queue_position" not in body


@pytest.mark.parametrize("asked", ["1", "true"])
async def test_logs_come_when_asked_for(fal, asked):
    """Logs are null unless asked for, empty before the run, and have lines of every level after."""
    waiting, ended = await fal.submit("stuck"), await fal.submit("error_422")
    await fal.reach(ended, "COMPLETED")

    _http_status, body = await fal.get(waiting["status_url"], params={"logs": asked})
    assert [] == body["logs"]
    _http_status, body = await fal.get(ended["status_url"], params={"logs": asked})
    assert all({"message", "timestamp", "level", "source"} == set(line) for line in body["logs"])
    levels = {line["level"] for line in body["logs"]}
    assert {"INFO", "DEBUG", "STDERR", "STDOUT", "WARN", "ERROR"} == levels
    times = [line["timestamp"] for line in body["logs"]]
    assert sorted(times) == times
    _http_status, body = await fal.get(ended["status_url"], params={"logs": "0"})
    assert body["logs"] is None


@pytest.mark.parametrize("tail", ["", "/response", "/status", "/status/stream"])
async def test_unknown_requests_are_not_found(fal, tail):
    """An unknown id answers 404 with exactly fal's body, in every form."""
    url = f"{fal.simulator.url}/fal-ai/flux/requests/019f6af7-3088-7f03-b97d-84fec4a3ce12{tail}"

    assert (404, {"status": "NOT_FOUND"}) == await fal.get(url)


@pytest.mark.parametrize("path", ["", "alone", "workflows/me", "a//b"])
async def test_paths_that_name_no_app_are_not_found(fal, path):
    """An endpoint needs an owner and an app, behind a namespace too."""
    async with fal.http.post(f"{fal.simulator.url}/{path}", json={}) as answer:
        assert 404 == answer.status


async def test_request_is_found_under_its_own_app_only(fal):
    """Another app's URL does not find the request; namespaces belong to the app."""
    submitted = await fal.submit("stuck", endpoint="workflows/me/chain/part")

    base = f"{fal.simulator.url}/workflows/me/chain/requests/{submitted['request_id']}"
    assert base == submitted["response_url"]
    http_status, _body = await fal.get(f"{base}/status".replace("chain", "other"))
    assert 404 == http_status


async def test_wrong_methods_answer_405(fal):
    """A wrong method answers 405 and names the right one."""
    submitted = await fal.submit("stuck")

    async with fal.http.post(submitted["cancel_url"]) as answer:
        assert (405, "PUT") == (answer.status, answer.headers["Allow"])


@pytest.mark.parametrize(
    "tail, expected", [("/status", 405), ("/status/stream", 405), ("", 405), ("/response", 200)]
)
async def test_sub_paths_before_a_request_are_taken_for_submits(fal, tail, expected):
    """With the sub path kept a URL answers 405, but for a result under `/response`."""
    submitted = await fal.submit("plain")
    await fal.reach(submitted, "COMPLETED")

    async with fal.http.get(
        submitted["response_url"].replace("/flux/", "/flux/dev/") + tail
    ) as answer:
        assert expected == answer.status


async def test_urls_can_be_those_of_fals_prose(start):
    """With the other form, URLs keep the whole id, and each of them works."""
    fal = await start(url_form=UrlForm.FULL)
    submitted = await fal.submit("plain", endpoint="a/b/c/d")

    base = f"{fal.simulator.url}/a/b/c/d/requests/{submitted['request_id']}"
    assert [f"{base}/response", f"{base}/status", f"{base}/cancel"] == [
        submitted[name] for name in ("response_url", "status_url", "cancel_url")
    ]
    await fal.reach(submitted, "COMPLETED")
    for name in ("response_url", "status_url"):
        http_status, _body = await fal.get(submitted[name])
        assert 200 == http_status
    assert (400, {"status": "ALREADY_COMPLETED"}) == await fal.cancel(submitted)


@pytest.mark.parametrize(
    "endpoint, app",
    [
        ("workflows/me/chain/part", "workflows/me/chain"),
        ("comfy/me/graph", "comfy/me/graph"),
        ("110602490-fast-sdxl", "110602490/fast-sdxl"),
        ("110602490/fast-sdxl", "110602490/fast-sdxl"),
    ],
)
async def test_every_form_of_endpoint_id_is_served(fal, endpoint, app):
    """Namespaces, the oldest ids, and owner with app: all have an app of their own."""
    submitted = await fal.submit("plain", endpoint=endpoint)
    await fal.reach(submitted, "COMPLETED")

    base = f"{fal.simulator.url}/{app}/requests/{submitted['request_id']}"
    assert base == submitted["response_url"]
    http_status, _body = await fal.get(base)
    assert 200 == http_status


async def test_keys_are_checked(start):
    """A missing, foreign or Bearer credential answers 401 without repeating it."""
    fal = await start(api_key="id:right")

    for given in ("", "Key id:wrong", "Bearer id:right"):
        headers = {"Authorization": given}
        async with fal.http.post(f"{fal.simulator.url}/a/b", json={}, headers=headers) as answer:
            assert 401 == answer.status
            assert "wrong" not in await answer.text()
    headers = {"Authorization": "Key id:right"}
    async with fal.http.post(f"{fal.simulator.url}/a/b", json={}, headers=headers) as answer:
        assert 200 == answer.status
    assert "right" not in repr(fal.simulator.config)


async def test_stream_tells_each_change_comments_when_quiet_and_closes(fal):
    """The stream sends data lines and comments, and ends after COMPLETED."""
    submitted = await fal.submit("stuck")
    lines = []

    async with fal.http.get(submitted["status_url"] + "/stream") as answer:
        assert "text/event-stream" == answer.content_type
        async for line in answer.content:
            lines.append(line)
            if line.startswith(b":"):
                await fal.cancel(submitted)
    told = [line for line in lines if line.startswith(b"data: ")]
    assert b'"IN_QUEUE"' in told[0]
    assert b'"COMPLETED"' in told[-1]


async def test_result_before_the_end_is_not_ready(fal):
    """A result read too early answers 400 with fal's text and the URLs."""
    submitted = await fal.submit("stuck")

    http_status, body = await fal.get(submitted["response_url"])
    assert (400, "Request is still in progress") == (http_status, body["detail"])
    assert {"detail", "request_id", "response_url", "status_url", "cancel_url"} == set(body)


async def test_result_is_readable_again_and_reads_are_counted(fal):
    """A result reads the same each time, with and without the `/response` suffix."""
    submitted = await fal.submit("plain")
    await fal.reach(submitted, "COMPLETED")

    first = await fal.get(submitted["response_url"])
    assert first == await fal.get(submitted["response_url"] + "/response")
    assert 2 == fal.entry(submitted).result_reads


async def test_cancel_of_a_queued_request_removes_it(fal, inbox):
    """Cancelling in the queue answers OK, then ALREADY_COMPLETED; no webhook is sent."""
    submitted = await fal.submit("stuck", inbox.url)

    assert (200, {"status": "OK"}) == await fal.cancel(submitted)
    assert (400, {"status": "ALREADY_COMPLETED"}) == await fal.cancel(submitted)
    assert await fal.simulator.wait_idle(20.0)
    http_status, _body = await fal.get(submitted["response_url"])
    entry = fal.entry(submitted)
    assert (499, "cancelled", []) == (http_status, entry.end, inbox.received)
    assert ["OK", "ALREADY_COMPLETED"] == [call.status for call in entry.cancels]


async def test_removed_request_can_be_forgotten(start):
    """With `forget_removed` a request cancelled in the queue is unknown afterwards."""
    fal = await start(forget_removed=True)
    submitted = await fal.submit("stuck")
    await fal.cancel(submitted)

    assert (404, {"status": "NOT_FOUND"}) == await fal.get(submitted["status_url"])
    assert (404, {"status": "NOT_FOUND"}) == await fal.cancel(submitted)
    assert "cancelled" == fal.entry(submitted).end


@pytest.mark.parametrize("sends", [False, True])
async def test_cancel_of_a_running_request_stops_it(start, inbox, sends):
    """A running request is signalled with 202 and ends with 499; a webhook only if configured."""
    fal = await start(queue_s=(0, 0), run_s=(1e6, 1e6), webhook_on_cancel=sends)
    submitted = await fal.submit("plain", inbox.url)
    await fal.reach(submitted, "IN_PROGRESS")

    assert (202, {"status": "CANCELLATION_REQUESTED"}) == await fal.cancel(submitted)
    assert await fal.simulator.wait_idle(20.0)
    http_status, body = await fal.get(submitted["response_url"])
    assert (499, "client_cancelled") == (http_status, body["error_type"])
    assert int(sends) == len(inbox.received)


async def test_cancels_can_answer_as_they_did_before_2026(start):
    """The old form says success where a cancel is accepted, and the new refusals otherwise."""
    fal = await start(has_old_cancel=True)
    submitted = await fal.submit("stuck")

    assert (200, {"success": True}) == await fal.cancel(submitted)
    assert (400, {"status": "ALREADY_COMPLETED"}) == await fal.cancel(submitted)


async def test_ignored_cancel_completes_anyway(start, inbox):
    """With `cancel_ignored` the run goes on after the 202 and succeeds."""
    fal = await start(queue_s=(0, 0), run_s=(100.0, 100.0))
    submitted = await fal.submit("cancel_ignored", inbox.url)
    await fal.reach(submitted, "IN_PROGRESS")

    http_status, _body = await fal.cancel(submitted)
    await fal.reach(submitted, "COMPLETED")
    assert (202, "succeeded") == (http_status, fal.entry(submitted).end)


@pytest.mark.parametrize("header", ["X-Fal-Request-Start-Timeout", "X-Fal-Request-Timeout"])
async def test_start_deadline_ends_a_queued_request(fal, inbox, header):
    """A request that does not start in time ends as a 504 marked as the user's own."""
    submitted = await fal.submit("stuck", inbox.url, headers={header: "0.11"})
    await fal.reach(submitted, "COMPLETED")

    async with fal.http.get(submitted["response_url"]) as answer:
        assert 504 == answer.status
        assert "user" == answer.headers["X-Fal-Request-Timeout-Type"]
        assert "request_timeout" == (await answer.json())["error_type"]
    assert "failed" == fal.entry(submitted).end


async def test_full_queue_refuses_when_asked_to(fal):
    """`fal_max_queue_length` answers 429 once more requests than that are waiting."""
    for _request in range(2):
        await fal.submit("stuck", endpoint="a/b", params={"fal_max_queue_length": "1"})

    asked = {"fal_max_queue_length": "1"}
    async with fal.http.post(f"{fal.simulator.url}/a/b", params=asked, json={}) as answer:
        assert 429 == answer.status
        assert "concurrent_requests_limit" == (await answer.json())["error_type"]


@pytest.mark.parametrize(
    "fault, status, header",
    [
        (Fault.RATE_LIMITED, 429, "Retry-After"),
        (Fault.RATE_LIMITED_RESET, 429, "x-ratelimit-reset"),
        (Fault.RATE_LIMITED_BARE, 429, None),
        (Fault.LOCKED, 403, None),
        (Fault.SERVER_ERROR, 500, None),
        (Fault.NGINX_502, 502, None),
    ],
)
async def test_planned_faults_meet_the_next_calls_only(fal, fault, status, header):
    """The planned number of calls fail in fal's way, and the next one is answered."""
    submitted = await fal.submit("stuck")
    fal.simulator.plan_faults(Operation.STATUS, fault, 2)

    for _call in range(2):
        async with fal.http.get(submitted["status_url"]) as answer:
            assert status == answer.status
            hints = [name for name in HINTS if name in answer.headers]
            assert ([header] if header else []) == hints
            assert "x-fal-request-id" not in answer.headers
            assert (fault is Fault.NGINX_502) == (answer.content_type == "text/html")
    async with fal.http.get(submitted["status_url"]) as answer:
        assert 202 == answer.status


async def test_cut_fault_drops_the_connection(fal):
    """A cut call gets no answer, and no job comes of it."""
    fal.simulator.plan_faults(Operation.SUBMIT, Fault.CUT)

    with pytest.raises(aiohttp.ClientError):
        await fal.submit()
    assert {} == fal.simulator.books().requests


async def test_closing_is_prompt_with_open_streams_and_stuck_requests(fal):
    """Leaving the simulator cuts open streams and stuck jobs at once."""
    submitted = await fal.submit("stuck")
    async with fal.http.get(submitted["status_url"] + "/stream") as answer:
        await answer.content.readline()
        async with asyncio.timeout(5.0):
            await fal.simulator.__aexit__(None, None, None)


async def test_port_in_use_is_reported_at_start(start, fal):
    """A second simulator on the same port fails with the system's own error."""
    port = int(fal.simulator.url.rpartition(":")[2])

    with pytest.raises(OSError):
        await start(port=port)
