"""A job over HTTP, through a whole service, to its end at the simulator."""

import aiohttp

from consumer.core.standing import State
from tests.end_to_end.stage import open_stage

JOB = {
    "endpoint": "fal-ai/flux/dev",
    "input": {"prompt": "a red apple"},
    "tags": {"team": "a"},
    "group": "batch-1",
    "options": {"store_io": True},
}


async def test_a_job_by_http_is_paid_once_and_told_with_its_result(tmp_path):
    """Posted twice under one key, a job is submitted once; its state is read until it ends."""
    async with open_stage(tmp_path) as stage, aiohttp.ClientSession() as session:
        tokens = (stage.settings.data_dir / "console-tokens").read_text().split(":")
        headers = {"Authorization": f"Bearer {tokens[2].strip()}", "Idempotency-Key": "order-17"}
        url = f"{stage.console_url}/api/requests"
        bodies = []
        for _ in range(2):
            async with session.post(f"{url}?wait=20", json=JOB, headers=headers) as answer:
                assert 200 == answer.status, await answer.text()
                bodies.append(await answer.json())
        request_id = bodies[0]["request_id"]
        ended = await stage.ended(request_id)
        async with session.get(f"{url}/{bodies[0]['submission_id']}", headers=headers) as answer:
            told = await answer.json()

        assert bodies[0] == bodies[1]
        assert [request_id] == list(stage.simulator.books().requests)
        assert (State.SUCCEEDED, True, "batch-1") == (
            ended.state,
            ended.keeps_payload,
            ended.group,
        )
        assert ("succeeded", {"team": "a"}) == (told["state"], told["result"]["tags"])
