import json

import pytest

LIFECYCLE = {
    "expiration_duration_seconds": 3600,
    "initial_acl": {"default": "forbid", "rules": [{"user": "me", "decision": "allow"}]},
}


async def refused(fal, headers=None, params=None):
    async with fal.http.post(
        f"{fal.simulator.url}/a/b", json={}, headers=headers, params=params
    ) as answer:
        return answer.status, await answer.json(), answer.headers.get("X-Fal-Error-Type")


async def test_every_header_of_fals_is_taken_and_kept_in_the_books(fal):
    """A submit may carry all that fal reads, and the books tell what came."""
    headers = {
        "X-Fal-Request-Start-Timeout": "30",
        "X-Fal-Request-Timeout": "20.5",
        "X-Fal-Queue-Priority": "low",
        "X-Fal-Runner-Hint": "session-1",
        "X-Fal-No-Retry": "yes",
        "X-Fal-Retry-Config": '{"timeout": {"retries": 2}}',
        "X-Fal-Store-IO": "0",
        "X-Fal-Object-Lifecycle-Preference": json.dumps(LIFECYCLE),
        "x-app-fal-disable-fallback": "true",
        "X-Fal-Tags": "team=a,env=test",
    }
    submitted = await fal.submit("stuck", headers=headers)

    kept = fal.simulator.books().as_dict()["requests"][submitted["request_id"]]["headers"]
    assert {name.lower(): text for name, text in headers.items()} == kept


@pytest.mark.parametrize(
    "name, text",
    [
        ("X-Fal-Request-Start-Timeout", "0.1"),
        ("X-Fal-Request-Start-Timeout", "soon"),
        ("X-Fal-Request-Start-Timeout", "nan"),
        ("X-Fal-Request-Start-Timeout", "inf"),
        ("X-Fal-Request-Start-Timeout", "-1"),
        ("X-Fal-Request-Start-Timeout", "1_0"),
        ("X-Fal-Request-Timeout", "0"),
        ("X-Fal-Object-Lifecycle-Preference", "tomorrow"),
        ("X-Fal-Object-Lifecycle-Preference", '{"expiration_duration_seconds": 0}'),
        ("X-Fal-Object-Lifecycle-Preference", '{"initial_acl": {"default": "maybe"}}'),
        ("X-Fal-Tags", "no-pair"),
        ("X-Fal-Tags", "Team=a"),
        ("X-Fal-Tags", "fal.team=a"),
        ("X-Fal-Tags", ",".join(f"k{n}=v" for n in range(11))),
        ("X-Fal-Tags", "k=" + "v" * 257),
        ("X-Fal-Tags", ",".join(f"k{n}=" + "v" * 250 for n in range(5))),
    ],
)
async def test_headers_that_cannot_be_are_refused(fal, name, text):
    """An unusable header answers 400 with the type of a bad request, and leaves no job."""
    http_status, body, error_type = await refused(fal, {name: text})

    assert (400, f"Invalid {name}", "bad_request") == (http_status, body["detail"], error_type)
    assert {} == fal.simulator.books().requests


@pytest.mark.parametrize(
    "name, text",
    [
        ("X-Fal-Queue-Priority", "highest"),
        ("X-Fal-Retry-Config", "not json"),
        ("X-Fal-Store-IO", "2"),
        ("X-Fal-Object-Lifecycle-Preference", '{"expiration_duration_seconds": null}'),
    ],
)
async def test_what_fal_passes_over_is_passed_over(fal, name, text):
    """Unknown priorities, useless retry configurations and the like change nothing."""
    await fal.submit("stuck", headers={name: text})


async def test_the_new_deadline_wins_over_the_old_one(fal):
    """The old header is not looked at beside the new one."""
    await fal.submit(
        "stuck", headers={"X-Fal-Request-Start-Timeout": "60", "X-Fal-Request-Timeout": "never"}
    )


@pytest.mark.parametrize("length", ["-1", "many", "1.5"])
async def test_a_queue_length_must_be_a_number(fal, length):
    """`fal_max_queue_length` is a whole number, from 0."""
    http_status, body, _type = await refused(fal, params={"fal_max_queue_length": length})

    assert (400, "Invalid fal_max_queue_length") == (http_status, body["detail"])


async def test_low_priority_waits_behind_all_others(start):
    """A low request has every normal one in front of it, and starts when none waits any more."""
    fal = await start(queue_s=(0, 0))
    low = {"X-Fal-Queue-Priority": "low"}
    normal = await fal.submit("stuck")
    first, second = await fal.submit(headers=low), await fal.submit("stuck", headers=low)
    late = await fal.submit("stuck")

    async def position(submitted):
        _status, body = await fal.get(submitted["status_url"])
        return body.get("queue_position")

    assert [0, 2, 3, 1] == [await position(job) for job in (normal, first, second, late)]
    await fal.cancel(normal)
    assert [1, 2, 0] == [await position(job) for job in (first, second, late)]
    assert "IN_QUEUE" == fal.entry(first).changes[-1].status
    await fal.cancel(late)
    await fal.reach(first, "COMPLETED")
    assert "succeeded" == fal.entry(first).end


async def test_a_deadline_holds_behind_others_too(start):
    """A low request that never gets its turn ends by its own start deadline."""
    fal = await start(queue_s=(0, 0))
    await fal.submit("stuck")
    headers = {"X-Fal-Queue-Priority": "low", "X-Fal-Request-Start-Timeout": "0.2"}
    submitted = await fal.submit(headers=headers)

    assert "request_timeout" == (await fal.reach(submitted, "COMPLETED"))["error_type"]


async def test_a_cancelled_low_request_leaves_the_line(start):
    """A request that waits behind others can be taken out of the line."""
    fal = await start(queue_s=(0, 0))
    await fal.submit("stuck")
    submitted = await fal.submit(headers={"X-Fal-Queue-Priority": "low"})

    assert (200, {"status": "OK"}) == await fal.cancel(submitted)
    assert "cancelled" == fal.entry(submitted).end


@pytest.mark.parametrize("may_retry", [True, False])
async def test_a_lost_runner_is_tried_again_unless_refused(fal, inbox, may_retry):
    """A platform retry has a gateway id of its own; without retries the loss is the end."""
    headers = {} if may_retry else {"X-Fal-No-Retry": "1"}
    submitted = await fal.submit("regress", inbox.url, headers=headers)
    await fal.reach(submitted, "COMPLETED")
    [received] = await inbox.wait_for(1)

    body = json.loads(received.body)
    assert submitted["request_id"] == body["request_id"]
    assert may_retry == (body["gateway_request_id"] != body["request_id"])
    entry = fal.entry(submitted)
    assert ((200, 5) if may_retry else (503, 3)) == (entry.http_status, len(entry.changes))
