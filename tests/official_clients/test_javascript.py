"""fal's own client for JavaScript, unchanged but for the host, against the simulator."""

import json

from consumer.simulator import Fault, LockReason, Operation


async def test_it_submits_polls_and_reads_the_result(official, javascript, inbox):
    """Submit, status with logs and result; all of its headers arrive, and a webhook."""
    fal = await official(queue_s=(10.0, 10.0), run_s=(10.0, 10.0))
    told = await javascript(fal, "follow", fal.webhook_url)

    request_id = told["submitted"]["request_id"]
    words = [status["status"] for status in told["polled"]]
    assert ["IN_QUEUE", "IN_PROGRESS", "COMPLETED"] == list(dict.fromkeys(words))
    assert "Finished" == told["status"]["logs"][-1]["message"]
    assert ("a red apple", request_id) == (told["data"]["prompt"], told["answered"])
    assert {
        "x-fal-runner-hint": "session-1",
        "x-fal-queue-priority": "low",
        "x-fal-request-timeout": "60",
        "x-fal-tags": "team=a",
        "x-fal-object-lifecycle-preference": '{"expiration_duration_seconds":3600}',
    } == fal.entry(request_id).headers
    assert await fal.simulator.wait_idle(20.0)
    [body] = inbox[1]
    assert request_id == json.loads(body)["request_id"]


async def test_it_streams_the_status(official, javascript):
    """The streamed status tells each state and ends; its logs put together are those of status."""
    fal = await official(queue_s=(10.0, 10.0), run_s=(10.0, 10.0))
    told = await javascript(fal, "stream")

    words = [event["status"] for event in told["raw"]]
    assert ["IN_QUEUE", "IN_PROGRESS", "COMPLETED"] == list(dict.fromkeys(words))
    assert "COMPLETED" == told["done"]["status"]
    lines = [line["message"] for event in told["raw"] for line in event["logs"]]
    assert lines == [line["message"] for line in told["streamed"][-1]["logs"]]
    assert len(set(lines)) == len(lines)


async def test_it_subscribes(official, javascript):
    """Its own loop goes the whole way from input to output."""
    fal = await official()
    told = await javascript(fal, "subscribe")

    assert ("COMPLETED", 1) == (told["updates"][-1], len(told["data"]["images"]))
    assert "succeeded" == fal.entry(told["requestId"]).end


async def test_it_cancels(official, javascript):
    """A cancel is accepted, and a second one or one of an unknown id refused."""
    fal = await official()
    told = await javascript(fal, "cancel")

    assert told["cancelled"] is None
    assert ("COMPLETED", "client_cancelled") == (
        told["status"]["status"],
        told["status"]["error_type"],
    )
    assert [(400, {"status": "ALREADY_COMPLETED"}), (404, {"status": "NOT_FOUND"})] == [
        (told[name]["status"], told[name]["body"]) for name in ("again", "unknown")
    ]


async def test_it_tells_failures_apart(official, javascript):
    """Each kind of failure reaches its caller as the error that it stands for."""
    fal = await official()
    told = await javascript(fal, "errors")

    assert {
        "model": ("ValidationError", 422, False),
        "path": ("ApiError", 404, False),
        "deadline": ("ApiError", 504, True),
        "unknown": ("ApiError", 404, False),
        "key": ("ApiError", 401, False),
    } == {
        name: tuple(failure[part] for part in ("name", "status", "isUserTimeout"))
        for name, failure in told.items()
    }
    assert told["model"]["requestId"] in fal.simulator.books().requests


async def test_a_lock_stops_it_and_a_limit_does_not(official, javascript):
    """A 403 is the end; a 429 is tried again."""
    fal = await official()
    fal.simulator.plan_faults(Operation.SUBMIT, Fault.RATE_LIMITED, 1)
    assert await javascript(fal, "submit") is None

    fal.simulator.lock()
    told = await javascript(fal, "submit")
    assert (403, LockReason.EXHAUSTED_BALANCE.text) == (told["status"], told["body"]["detail"])
