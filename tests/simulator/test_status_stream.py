import json

import pytest


async def told(fal, submitted, **params):
    """Return every status that the stream tells, to its end."""
    async with fal.http.get(submitted["status_url"] + "/stream", params=params) as answer:
        lines = [line async for line in answer.content if line.startswith(b"data: ")]
    return [json.loads(line[6:]) for line in lines]


async def test_each_state_is_told_in_order_and_once(start):
    """Without logs the stream tells each state as it is entered, and a regression as such."""
    fal = await start(queue_s=(400.0, 400.0), run_s=(400.0, 400.0))
    submitted = await fal.submit("regress")

    assert ["IN_QUEUE", "IN_PROGRESS", "IN_QUEUE", "IN_PROGRESS", "COMPLETED"] == [
        body["status"] for body in await told(fal, submitted)
    ]


async def test_the_stream_tells_how_the_line_moves(fal):
    """A new place in the queue is told at once."""
    first, second = await fal.submit("stuck"), await fal.submit("stuck")
    positions = []

    async with fal.http.get(second["status_url"] + "/stream") as answer:
        async for line in answer.content:
            if line.startswith(b"data: "):
                body = json.loads(line[6:])
                positions.append((body["status"], body.get("queue_position")))
                await fal.cancel(first if len(positions) == 1 else second)
    assert [("IN_QUEUE", 1), ("IN_QUEUE", 0), ("COMPLETED", None)] == positions


async def test_each_log_line_is_told_once_along_a_stream(start):
    """With logs each event has the lines since the one before; a new stream begins with all."""
    fal = await start(queue_s=(0, 0), run_s=(800.0, 800.0))
    submitted = await fal.submit("plain")

    bodies = await told(fal, submitted, logs="1")
    lines = [line for body in bodies for line in body["logs"]]
    assert ("COMPLETED", "Finished") == (bodies[-1]["status"], lines[-1]["message"])
    assert sum(1 for body in bodies if body["logs"]) > 3
    [again] = await told(fal, submitted, logs="1")
    assert lines == again["logs"]
    assert all(body["logs"] is None for body in await told(fal, submitted))


@pytest.mark.parametrize("scenario", ["plain", "error_infrastructure"])
async def test_a_stream_of_an_ended_request_tells_its_end(fal, scenario):
    """Opened after the end, the stream says COMPLETED and closes."""
    submitted = await fal.submit(scenario)
    await fal.reach(submitted, "COMPLETED")

    [body] = await told(fal, submitted)
    assert (scenario == "plain") == ("error_type" not in body)
