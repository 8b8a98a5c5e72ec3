"""The plain Python client before the simulator: one test for each of fal's operations."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from decimal import Decimal
from itertools import pairwise

import pytest

from consumer.core.submit_options import SubmitOptions
from consumer.errors import FalRefused
from consumer.fal import FalAddresses, FalClient, FalParts, ResultWord, SubmitWord, open_client
from consumer.ports import CancelAnswer, QueueStatus, SubmitOrder
from consumer.simulator import Simulator, SimulatorConfig
from consumer.simulator.catalog import OFFERS
from tests.fal.conftest import QUICK

KEY = "id:key"
ENDPOINT = "fal-ai/flux/dev"
UNKNOWN = "019f7085-1439-7320-9a28-939d54dfcee5"
WAIT_S = 20.0


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    """A simulator for which a second of fal's lasts a millisecond, with an ADMIN key."""
    config = SimulatorConfig(
        seed=7, time_scale=0.001, api_key=KEY, is_admin=True, billing_lag_s=0.0
    )
    async with Simulator(config) as running:
        yield running


@pytest.fixture
async def fal(simulator: Simulator) -> AsyncIterator[FalClient]:
    """The client before it."""
    addresses = FalAddresses(simulator.url, simulator.platform_url, simulator.jwks_url)
    async with open_client(KEY, addresses, FalParts(QUICK)) as client:
        yield client


async def submitted(fal: FalClient, scenario: str = "plain") -> str:
    """Submit a job that follows a scenario; its request id."""
    submission = await fal.submit(SubmitOrder(ENDPOINT, {"simulate": scenario}))
    assert submission.outcome is SubmitWord.SUBMITTED
    assert submission.request_id is not None
    return submission.request_id


async def ended(fal: FalClient, request_id: str) -> None:
    """Follow a request to its end."""
    async with asyncio.timeout(WAIT_S):
        async for _ in fal.stream_status(ENDPOINT, request_id):
            pass


async def test_submit_tells_what_fal_answered(fal):
    """A submit that fal takes gives the request id, fal's URLs and the queue position."""
    options = SubmitOptions(priority="low", store_io=True, max_queue_length=100)

    submission = await fal.submit(SubmitOrder(ENDPOINT, {"prompt": "a"}, options=options))

    assert submission.outcome is SubmitWord.SUBMITTED
    assert submission.status_url.endswith(f"/fal-ai/flux/requests/{submission.request_id}/status")
    assert submission.queue_position is not None
    assert submission.drifts == ()


async def test_status_gives_logs_on_demand_and_metrics_at_the_end(fal):
    """Logs come only where asked for; a completed request has its time of inference."""
    request_id = await submitted(fal)
    await ended(fal, request_id)

    bare = await fal.status(ENDPOINT, request_id)
    full = await fal.status(ENDPOINT, request_id, has_logs=True)

    assert bare.logs is None
    assert full.logs is not None
    assert full.status is QueueStatus.COMPLETED
    assert full.metrics.inference_time > 0


async def test_stream_tells_each_state_once_and_ends(fal):
    """The stream ends with COMPLETED, and no two states after one another are the same."""
    request_id = await submitted(fal)

    states = [
        (status.status, status.queue_position)
        async for status in fal.stream_status(ENDPOINT, request_id)
    ]

    assert states[-1] == (QueueStatus.COMPLETED, None)
    assert all(before != after for before, after in pairwise(states))


async def test_stream_of_an_unknown_request_ends_at_once(fal):
    """A request that fal never had is told as NOT_FOUND, and that is all."""
    states = [status.status async for status in fal.stream_status(ENDPOINT, UNKNOWN)]

    assert states == [QueueStatus.NOT_FOUND]


async def test_result_is_one_of_five_outcomes(fal):
    """Success, a model's failure and the platform's failure are never confused."""
    told = {}
    for scenario in ("plain", "error_422", "error_infrastructure"):
        request_id = await submitted(fal, scenario)
        await ended(fal, request_id)
        told[scenario] = await fal.result(ENDPOINT, request_id)

    assert told["plain"].outcome is ResultWord.SUCCEEDED
    assert told["plain"].output["images"]
    assert told["error_422"].outcome is ResultWord.MODEL_FAILED
    assert told["error_422"].detail[0]["type"]
    assert told["error_infrastructure"].outcome is ResultWord.INFRASTRUCTURE_FAILED
    assert told["error_infrastructure"].error_type == "runner_disconnected"


async def test_result_of_a_request_that_fal_never_had_is_a_refusal(fal):
    """An id that fal does not know is no expired result."""
    with pytest.raises(FalRefused, match="unknown_request"):
        await fal.result(ENDPOINT, UNKNOWN)


async def test_cancel_tells_fals_own_answer(fal):
    """Cancelling what fal does not know, and what has ended, are answers of their own."""
    request_id = await submitted(fal)
    await ended(fal, request_id)

    done = await fal.cancel(ENDPOINT, request_id)
    unknown = await fal.cancel(ENDPOINT, UNKNOWN)

    assert (done.outcome, done.is_cancelled) == (CancelAnswer.ALREADY_COMPLETED, False)
    assert unknown.outcome is CancelAnswer.NOT_FOUND


async def test_models_follow_their_pages_lazily(fal, simulator):
    """Each model comes once over all pages; a page is asked for when its first item is wanted."""
    for number in range(3):
        await fal.submit(SubmitOrder(f"fal-ai/model-{number}", {}))

    async with aclosing(fal.models(page_size=1)) as models:
        first = await anext(models)
        rest = [model.endpoint_id async for model in models]

    assert first.metadata.status == "active"
    assert {first.endpoint_id, *rest} >= {f"fal-ai/model-{number}" for number in range(3)}
    assert len(rest) == len(set(rest))


async def test_pricing_names_every_endpoint(fal):
    """Prices come as Decimal, in the order asked for, over more than one call."""
    names = list(OFFERS)

    prices = await fal.pricing([*names, "fal-ai/no-such-model"])

    assert 50 < len(names)
    assert names == [price.endpoint_id for price in prices.prices]
    assert prices.prices[0].unit_price == Decimal("0.025")
    assert prices.unknown == ["fal-ai/no-such-model"]


async def test_estimates_are_one_total(fal):
    """Both kinds of estimate take several endpoints and give one total."""
    image, video = "fal-ai/flux/dev", "fal-ai/veo3"
    calls = await fal.estimate("historical_api_price", {image: 4, video: 5})
    units = await fal.estimate("unit_price", {image: Decimal("0.5"), video: 2})

    assert (calls.total_cost, calls.currency) == (Decimal("3.15"), "USD")
    assert units.total_cost == Decimal("0.8125")


async def test_listing_and_bills_name_the_request(fal):
    """The account's listing and its billing events both hold a request that ended."""
    request_id = await submitted(fal)
    await ended(fal, request_id)

    listed = [one async for one in fal.requests_by_endpoint([ENDPOINT], request_id=request_id)]
    billed = [one async for one in fal.billing_events(request_ids=[request_id])]

    assert [request_id] == [one.request_id for one in listed]
    assert listed[0].ended_at >= listed[0].started_at
    assert [request_id] == [one.request_id for one in billed]
    assert isinstance(billed[0].cost_total, Decimal)


async def test_key_set_tells_its_age_and_its_next_refresh(fal):
    """The keys are held for an hour, and read anew when asked for."""
    held = await fal.key_set()
    again = await fal.key_set()
    fresh = await fal.key_set(is_fresh=True)

    assert len(held.keys) == 2
    assert held.fetched_at == again.fetched_at < fresh.fetched_at
    assert (again.refresh_at - again.fetched_at).total_seconds() == 3600
    assert again.age_s >= held.age_s >= 0


async def test_webhook_addresses_are_networks(fal):
    """The networks of fal's webhooks come as CIDR texts."""
    assert "127.0.0.1/32" in await fal.webhook_ip_ranges()
