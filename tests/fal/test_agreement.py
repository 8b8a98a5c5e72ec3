"""The whole client before the whole simulator: of each request both tell the same story."""

import asyncio
from collections.abc import AsyncIterator
from decimal import Decimal

import pytest

from consumer.errors import FalRefused, SchemaDrift
from consumer.fal import FalAddresses, FalClient, FalParts, ResultWord, SubmitWord, open_client
from consumer.ports import CancelAnswer, QueueStatus, SubmitOrder
from consumer.simulator import SCENARIOS, Hint, RateLimit, Simulator, SimulatorConfig
from consumer.simulator.outcomes import INFRASTRUCTURE
from consumer.simulator.scenarios import Course, Submit
from tests.fal.conftest import QUICK

API, ADMIN = "id:api", "id:admin"
ENDPOINT = "fal-ai/flux/dev"
WITHIN_S = 60.0
TAKEN = [
    name
    for name, row in SCENARIOS.items()
    if row.submit not in {Submit.CUT, Submit.FAILED} and row.course is not Course.STUCK
]


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    """A simulator for which a second of fal's lasts a millisecond."""
    config = SimulatorConfig(
        seed=7, time_scale=0.001, api_key=API, admin_key=ADMIN, billing_lag_s=0.0
    )
    async with Simulator(config) as running:
        yield running


@pytest.fixture
async def drifts() -> list[SchemaDrift]:
    """What the client could not read: nothing, in every test here."""
    return []


@pytest.fixture
async def fal(simulator, drifts) -> AsyncIterator[FalClient]:
    """The client before it, with the ADMIN key."""
    addresses = FalAddresses(simulator.url, simulator.platform_url, simulator.jwks_url)
    parts = FalParts(QUICK, on_drift=drifts.append)
    async with open_client(ADMIN, addresses, parts) as client:
        yield client
    assert [] == drifts


async def submitted(fal: FalClient, scenario: str, **more: str) -> str:
    """Submit a job that follows a scenario; its request id."""
    submission = await fal.submit(SubmitOrder(ENDPOINT, {"simulate": scenario} | more))
    assert submission.outcome is SubmitWord.SUBMITTED
    return submission.request_id


async def states_of(fal: FalClient, request_id: str) -> list[QueueStatus]:
    """Follow a request to its end; its states."""
    async with asyncio.timeout(WITHIN_S):
        return [one.status async for one in fal.stream_status(ENDPOINT, request_id, has_logs=True)]


def expected_outcome(entry):
    """Return what the client must call the result that these books tell of."""
    if entry.end == "succeeded":
        return ResultWord.SUCCEEDED
    is_of_model = entry.http_status in {404, 422}
    return ResultWord.MODEL_FAILED if is_of_model else ResultWord.INFRASTRUCTURE_FAILED


@pytest.mark.parametrize("scenario", TAKEN)
async def test_each_request_has_the_end_that_the_books_tell(simulator, fal, scenario):
    """Stream, status, result, listing and bill agree with the books, and nothing drifts."""
    request_id = await submitted(fal, scenario)
    states = await states_of(fal, request_id)
    status = await fal.status(ENDPOINT, request_id)
    result = await fal.result(ENDPOINT, request_id)
    entry = simulator.books().requests[request_id]

    assert QueueStatus.COMPLETED is states[-1] is status.status
    assert expected_outcome(entry) is result.outcome
    assert (entry.http_status, entry.billable_units) == (
        result.http_status,
        float(result.billable_units),
    )
    [listed] = [one async for one in fal.requests_by_endpoint([ENDPOINT], request_id=request_id)]
    assert entry.http_status == listed.status_code
    billed = [one async for one in fal.billing_events(request_ids=[request_id])]
    assert ([result.billable_units] if entry.billable_units else []) == [
        one.output_units for one in billed
    ]


@pytest.mark.parametrize("error_type", INFRASTRUCTURE)
async def test_each_failure_of_the_platform_is_called_one(fal, error_type):
    """Whatever code fal has for it, the client tells it from a model's failure, with its type."""
    request_id = await submitted(fal, "error_infrastructure", simulate_error_type=error_type)
    await states_of(fal, request_id)

    result = await fal.result(ENDPOINT, request_id)
    assert (ResultWord.INFRASTRUCTURE_FAILED, error_type) == (result.outcome, result.error_type)


async def test_cancels_are_told_apart(fal):
    """Out of the queue, asked of the runner, too late, unknown: each answer is its own."""
    stuck = await submitted(fal, "stuck")
    told = [await fal.cancel(ENDPOINT, stuck), await fal.cancel(ENDPOINT, stuck)]

    assert [CancelAnswer.REMOVED, CancelAnswer.ALREADY_COMPLETED] == [one.outcome for one in told]
    assert ResultWord.INFRASTRUCTURE_FAILED is (await fal.result(ENDPOINT, stuck)).outcome


@pytest.mark.parametrize("hint", list(Hint))
async def test_a_limit_holds_nobody_up_for_good(simulator, hint):
    """With each form of 429, calls past the limit succeed in the end, with the client as it is."""
    simulator.limit_rate(RateLimit(5, 0.2, hint))
    addresses = FalAddresses(simulator.url, simulator.platform_url, simulator.jwks_url)
    async with open_client(API, addresses) as fal, asyncio.timeout(WITHIN_S):
        request_id = await submitted(fal, "stuck")
        found = await asyncio.gather(*(fal.status(ENDPOINT, request_id) for _call in range(12)))

    assert {QueueStatus.IN_QUEUE} == {one.status for one in found}
    assert simulator.books().answers["status"]["429"]


async def test_prices_and_models_are_those_of_the_catalog(fal):
    """Every model of the list has a price, and estimates are made of it."""
    models = [model.endpoint_id async for model in fal.models(page_size=20)]
    prices = await fal.pricing([*models, "fal-ai/no-such-model"])

    assert models == [price.endpoint_id for price in prices.prices]
    assert ["fal-ai/no-such-model"] == prices.unknown
    estimate = await fal.estimate("unit_price", {models[0]: Decimal(4)})
    assert 4 * prices.prices[0].unit_price == estimate.total_cost


async def test_an_api_key_is_no_admin_key(simulator):
    """What needs an ADMIN key is a refusal with 403 for another one."""
    addresses = FalAddresses(simulator.url, simulator.platform_url, simulator.jwks_url)
    async with open_client(API, addresses, FalParts(QUICK)) as fal:
        with pytest.raises(FalRefused) as refused:
            [one async for one in fal.billing_events()]
    assert 403 == refused.value.http_status
