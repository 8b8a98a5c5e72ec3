"""Hostile ids reach no server, whichever operation they are given to."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.core.endpoint import is_endpoint_id, is_request_id
from consumer.errors import FalRefused
from consumer.fal import FalAddresses, FalParts, open_client
from consumer.fal.queue import path_of
from consumer.ports import SubmitOrder
from tests.fal.conftest import QUICK

GOOD = "fal-ai/flux/dev"
JOB = "019f7085-1439-7320-9a28-939d54dfcee5"
HOSTILE = [
    "",
    "/",
    "..",
    "../..",
    "fal-ai/..",
    "fal-ai/../../admin",
    "//evil.example/x",
    "https://evil.example/a/b",
    "fal-ai/flux?x=1",
    "fal-ai/flux#x",
    "fal-ai/flux\r\nHost: evil.example",
    "fal-ai/flux\x00",
    "fal-ai/%2e%2e",
    "fal-ai\\flux",
    "fal-ai/ flux",
    "@evil.example/a",
    "a/b:80",
    "fal-ai/flüx",
    "workflows/x",
    "a" * 300 + "/b",
]


async def drained(stream):
    """Ask for the first item of a stream."""
    async for _ in stream:
        return


def operations(fal, endpoint, request_id):
    """Every call that takes an endpoint or a request id, as awaitables to be made."""
    both = [
        lambda: fal.status(endpoint, request_id),
        lambda: drained(fal.stream_status(endpoint, request_id)),
        lambda: fal.result(endpoint, request_id),
        lambda: fal.cancel(endpoint, request_id),
        lambda: drained(fal.requests_by_endpoint([endpoint], request_id=request_id)),
        lambda: drained(fal.billing_events(endpoints=[endpoint], request_ids=[request_id])),
    ]
    if request_id != JOB:
        return both
    return [
        *both,
        lambda: drained(fal.models([GOOD, endpoint])),
        lambda: fal.pricing([GOOD, endpoint]),
        lambda: fal.estimate("historical_api_price", {GOOD: 1, endpoint: 1}),
        lambda: fal.estimate("unit_price", {endpoint: Decimal(1)}),
    ]


@pytest.fixture
async def fal(server):
    """The whole client before a server that must see nothing."""
    addresses = FalAddresses(server.url, server.url, server.url)
    async with open_client("a:b", addresses, FalParts(QUICK)) as client:
        yield client


@pytest.mark.parametrize("endpoint", HOSTILE, ids=ascii)
async def test_hostile_endpoints_cause_no_call(server, fal, endpoint):
    """An endpoint outside its grammar is FalRefused 0, or a refused submit, for every operation."""
    for operation in operations(fal, endpoint, JOB):
        with pytest.raises(FalRefused) as refused:
            await operation()
        assert (refused.value.http_status, refused.value.reason) == (0, "bad_endpoint")
    submission = await fal.submit(SubmitOrder(endpoint, {}))

    assert (submission.outcome, submission.reason) == ("refused", "bad_endpoint")
    assert server.seen == []


@pytest.mark.parametrize("request_id", [*HOSTILE, JOB[:-1], JOB + "/", f"{JOB}/cancel"], ids=ascii)
async def test_hostile_request_ids_cause_no_call(server, fal, request_id):
    """A request id that is no UUID is FalRefused 0 for every operation."""
    for operation in operations(fal, GOOD, request_id):
        with pytest.raises(FalRefused) as refused:
            await operation()
        assert (refused.value.http_status, refused.value.reason) == (0, "bad_request_id")

    assert server.seen == []


@given(st.text(max_size=40), st.text(max_size=40))
def test_a_path_is_made_of_good_ids_alone(endpoint, request_id):
    """Whatever texts come, a path is built for ids inside the grammar, and for no others."""
    is_good = is_endpoint_id(endpoint) and is_request_id(request_id)
    try:
        path = path_of(endpoint, request_id)
    except FalRefused:
        assert not is_good
    else:
        assert is_good
        assert path.isascii()


async def test_other_arguments_outside_their_bounds_cause_no_call(server, fal):
    """Quantities, texts and page sizes that fal would refuse are refused here."""
    for call in (
        lambda: fal.estimate("historical_api_price", {GOOD: 0}),
        lambda: fal.estimate("historical_api_price", {GOOD: Decimal("1.5")}),
        lambda: fal.estimate("unit_price", {GOOD: Decimal("NaN")}),
        lambda: fal.estimate("unit_price", {GOOD: Decimal("1e-9")}),
        lambda: fal.estimate("unit_price", {}),
        lambda: fal.estimate("other", {GOOD: 1}),
        lambda: drained(fal.models(text="")),
        lambda: drained(fal.models(page_size=0)),
        lambda: drained(fal.requests_by_endpoint([])),
    ):
        with pytest.raises(FalRefused) as refused:
            await call()
        assert refused.value.http_status == 0

    assert server.seen == []
