"""The account's listing through the real client, before the simulator."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from consumer.core.command import Submit
from consumer.core.listing import end_of_listed, matches
from consumer.core.standing import Submission
from consumer.errors import FalRefused
from consumer.fal import FalAddresses, FalClient, FalParts, open_client
from consumer.fal.listing import FalListingClient
from consumer.ports import SubmitOrder
from consumer.simulator import Simulator, SimulatorConfig
from consumer.telemetry import Metrics
from tests.fal.conftest import QUICK

ENDPOINT = "fal-ai/flux/dev"
WAIT_S = 20.0


@pytest.fixture
async def client() -> AsyncIterator[FalClient]:
    config = SimulatorConfig(seed=7, time_scale=0.001, api_key="id:key")
    async with Simulator(config) as simulator:
        addresses = FalAddresses(simulator.url, simulator.platform_url, simulator.jwks_url)
        async with open_client("id:key", addresses, FalParts(QUICK, Metrics())) as opened:
            yield opened


async def completed(client: FalClient, value: dict) -> str:
    """Submit a job and return its id once it is completed."""
    submission = await client.submit(SubmitOrder(ENDPOINT, value))
    async with asyncio.timeout(WAIT_S):
        while (await client.status(ENDPOINT, submission.request_id)).status != "COMPLETED":
            pass
    return submission.request_id


async def test_an_unknown_submission_is_found_by_what_fal_lists(client: FalClient):
    """What was submitted is listed with its input, and matches the hash that the claim keeps."""
    value = {"prompt": "a café \U0001f34e", "seed": 2**60, "scale": 1.5, "list": [None, True]}
    request_id = await completed(client, value)
    await completed(client, {"prompt": "another"})
    command = Submit(command_id="c1", endpoint=ENDPOINT, input=value)
    now = datetime.now(UTC)
    unknown = Submission(
        submission_id="s1", first_at=now, last_at=now, input_sha256=command.input_sha256
    )
    listing = FalListingClient(client)

    start = now - timedelta(hours=1)
    items = [item async for item in listing.since([ENDPOINT], start, has_inputs=True)]
    bare = [item async for item in listing.since([ENDPOINT], start, has_inputs=False)]

    assert [("s1", request_id)] == [
        (one.submission_id, item.request_id) for one, item in matches([unknown], items, set())
    ]
    assert [None, None] == [item.input for item in bare]


async def test_one_request_is_found_with_its_end(client: FalClient):
    """A request is found by its id with the status code of its end; an unknown id is not."""
    request_id = await completed(client, {"prompt": "apple"})
    listing = FalListingClient(client)

    found = await listing.find(ENDPOINT, request_id)

    assert (request_id, "succeeded") == (found.request_id, end_of_listed(found).end.value)
    assert await listing.find(ENDPOINT, "019f7085-1439-7320-9a28-939d54dfcee5") is None


async def test_an_endpoint_outside_its_grammar_makes_no_call(client: FalClient):
    """What is no endpoint is refused before any call."""
    with pytest.raises(FalRefused):
        await FalListingClient(client).find("../x", "019f7085-1439-7320-9a28-939d54dfcee5")
