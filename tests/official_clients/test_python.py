"""fal's own client for Python, unchanged but for the host, against the simulator."""

import json

import pytest

from consumer.simulator import Fault, LockReason, Operation


async def test_it_submits_watches_and_reads_the_result(official, inbox):
    """Submit, events with logs, status and result; all of its headers arrive, and a webhook."""
    fal = await official(queue_s=(10.0, 10.0), run_s=(10.0, 10.0))
    told = await fal.python("follow", fal.webhook_url)

    kinds = [event["type"] for event in told["events"]]
    assert ["Queued", "InProgress", "Completed"] == list(dict.fromkeys(kinds))
    assert 0 == told["events"][0]["position"]
    last = told["events"][-1]
    assert "Finished" == last["logs"][-1]["message"]
    assert last["metrics"]["inference_time"] > 0
    assert "a red apple" == told["result"]["prompt"] == told["again"]["prompt"]
    assert ("Completed", None, None) == tuple(
        told["status"][name] for name in ("type", "error", "error_type")
    )
    entry = fal.entry(told["request_id"])
    assert {
        "x-fal-runner-hint": "session-1",
        "x-fal-queue-priority": "low",
        "x-fal-request-timeout": "60.0",
        "x-fal-tags": "team=a",
    } == entry.headers
    assert await fal.simulator.wait_idle(20.0)
    [body] = inbox[1]
    assert told["request_id"] == json.loads(body)["request_id"]


async def test_its_asynchronous_side_subscribes(official):
    """The asynchronous client goes the whole way by itself."""
    fal = await official()
    told = await fal.python("subscribe")

    assert ("a blue apple", "Completed") == (told["result"]["prompt"], told["updates"][-1])
    assert "succeeded" == fal.entry(told["request_id"]).end


async def test_it_cancels(official):
    """A cancel is accepted, and a second one or one of an unknown id refused."""
    fal = await official()
    told = await fal.python("cancel")

    assert ("Completed", "client_cancelled") == (
        told["status"]["type"],
        told["status"]["error_type"],
    )
    assert [400, 404] == [told["again"]["status"], told["unknown"]["status"]]
    assert "cancelled" == fal.entry(told["request_id"]).end


async def test_it_tells_failures_apart(official):
    """Each kind of failure reaches its caller with fal's status, words and type."""
    fal = await official()
    told = await fal.python("errors")

    model = told["model"]
    assert (422, "url") == (model["status"], list(model["message"][0])[3])
    expected = {
        "infrastructure": (503, "Runner disconnected", "runner_disconnected", None),
        "path": (404, "Path /missing not found", None, None),
        "deadline": (504, "Request timed out", "request_timeout", "user"),
        "unknown": (404, '{"status": "NOT_FOUND"}', None, None),
        "key": (401, "invalid key credentials", None, None),
    }
    assert expected == {
        name: tuple(
            told[name][part] for part in ("status", "message", "error_type", "timeout_type")
        )
        for name in expected
    }


async def test_a_lock_stops_it(official):
    """A locked account is told as such."""
    fal = await official()
    fal.simulator.lock(LockReason.ADMIN_LOCK)
    told = await fal.python("submit")

    assert (403, LockReason.ADMIN_LOCK.text) == (told["status"], told["message"])


@pytest.mark.parametrize("fault", [Fault.RATE_LIMITED_BARE, Fault.NGINX_502, Fault.CUT])
async def test_it_gets_over_what_it_takes_for_passing(official, fault):
    """A 429, a proxy's page and a cut connection are tried again, also at submit."""
    fal = await official()
    fal.simulator.plan_faults(Operation.SUBMIT, fault, 2)

    assert await fal.python("submit") is None
    assert 1 == len(fal.simulator.books().requests)
