"""The real client before the simulator: both sides tell the same story of each request."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from consumer.errors import FalRefused
from consumer.fal import FalQueueClient, fixed_credential, open_fal
from consumer.ports import (
    CancelAnswer,
    QueueStatus,
    ResultKind,
    SubmitOrder,
    SubmitRefused,
    Submitted,
    SubmitUnknown,
)
from consumer.simulator import Fault, Operation, Simulator, SimulatorConfig
from consumer.telemetry import Metrics
from tests.fal.conftest import QUICK

ENDPOINT = "fal-ai/flux/dev"
UNKNOWN = "019f7085-1439-7320-9a28-939d54dfcee5"
WAIT_S = 20.0


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    """A simulator for which a second of fal's lasts a millisecond."""
    async with Simulator(SimulatorConfig(seed=7, time_scale=0.001, api_key="id:key")) as running:
        yield running


@pytest.fixture
async def fal(simulator: Simulator) -> AsyncIterator[FalQueueClient]:
    """The real client before it."""
    credential = fixed_credential("id:key")
    async with open_fal(simulator.url, credential, metrics=Metrics(), limits=QUICK) as client:
        yield client


async def submitted(fal: FalQueueClient, scenario: str) -> str:
    """Submit a job that follows a scenario; its request id."""
    answer = await fal.submit(SubmitOrder(ENDPOINT, {"simulate": scenario}))
    assert isinstance(answer, Submitted)
    return answer.request_id


async def completed(fal: FalQueueClient, request_id: str) -> None:
    """Ask until the job is completed."""
    async with asyncio.timeout(WAIT_S):
        while (await fal.status(ENDPOINT, request_id)).status is not QueueStatus.COMPLETED:
            pass


@pytest.mark.parametrize(
    "scenario",
    [
        "plain",
        "payload_null",
        "error_422",
        "error_null_payload",
        "error_infrastructure",
        "huge_seed",
        "nul_prompt",
        "surrogate_prompt",
        "deep_nesting",
        "regress",
    ],
)
async def test_result_is_what_the_books_say(simulator, fal, scenario):
    """However a job ends, its result has the status and the units of the simulator's books."""
    request_id = await submitted(fal, scenario)
    await completed(fal, request_id)

    answer = await fal.result(ENDPOINT, request_id)

    entry = simulator.books().requests[request_id]
    assert answer.kind is ResultKind.READY
    assert answer.http_status == entry.http_status
    assert float(answer.billable_units) == entry.billable_units


async def test_queued_job_is_removed_by_a_cancel(fal):
    """A job that never starts is removed, and its end says who asked."""
    request_id = await submitted(fal, "stuck")
    assert (await fal.result(ENDPOINT, request_id)).kind is ResultKind.NOT_READY

    assert await fal.cancel(ENDPOINT, request_id) is CancelAnswer.REMOVED

    await completed(fal, request_id)
    assert (await fal.status(ENDPOINT, request_id)).error_type == "client_cancelled"
    assert (await fal.result(ENDPOINT, request_id)).http_status == 499
    assert await fal.cancel(ENDPOINT, request_id) is CancelAnswer.ALREADY_COMPLETED


async def test_unknown_id_is_not_found(fal):
    """An id that the simulator never gave is not found by any call."""
    assert (await fal.status(ENDPOINT, UNKNOWN)).status is QueueStatus.NOT_FOUND
    assert (await fal.result(ENDPOINT, UNKNOWN)).kind is ResultKind.NOT_FOUND
    assert await fal.cancel(ENDPOINT, UNKNOWN) is CancelAnswer.NOT_FOUND


@pytest.mark.parametrize(
    "scenario, expected, jobs",
    [
        ("unknown_submit", SubmitUnknown("cut"), 1),
        ("submit_500", SubmitUnknown("http_500"), 0),
        ("no_such_scenario", SubmitRefused(400, "http_400"), 0),
    ],
)
async def test_submit_makes_one_job_at_most(simulator, fal, scenario, expected, jobs):
    """A lost answer is unknown, and no second job comes of it."""
    answer = await fal.submit(SubmitOrder(ENDPOINT, {"simulate": scenario}))

    assert answer == expected
    assert len(simulator.books().requests) == jobs


@pytest.mark.parametrize("fault", [Fault.NGINX_502, Fault.SERVER_ERROR, Fault.CUT])
async def test_trouble_on_the_way_is_outlived(simulator, fal, fault):
    """Two faults in a row do not reach the caller."""
    request_id = await submitted(fal, "stuck")
    for operation in (Operation.STATUS, Operation.RESULT):
        simulator.plan_faults(operation, fault, 2)

    assert (await fal.status(ENDPOINT, request_id)).status is QueueStatus.IN_QUEUE
    assert (await fal.result(ENDPOINT, request_id)).kind is ResultKind.NOT_READY


async def test_lock_refuses_the_submit(simulator, fal):
    """A locked account refuses, is remembered, and is asked once."""
    simulator.plan_faults(Operation.SUBMIT, Fault.LOCKED, 1)

    assert await fal.submit(SubmitOrder(ENDPOINT, {})) == SubmitRefused(403, "locked")
    assert fal.problems() == ("locked",)


async def test_wrong_key_is_refused(simulator):
    """A key that is not the account's is refused, with that word."""
    credential = fixed_credential("id:other")
    async with open_fal(simulator.url, credential, metrics=Metrics(), limits=QUICK) as fal:
        assert await fal.submit(SubmitOrder(ENDPOINT, {})) == SubmitRefused(401, "unauthorized")
        with pytest.raises(FalRefused, match="unauthorized"):
            await fal.status(ENDPOINT, UNKNOWN)
