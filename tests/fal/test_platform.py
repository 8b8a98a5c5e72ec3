"""Pages, prices and lists of the platform, where they are not as one would wish."""

import json
from datetime import UTC, datetime
from decimal import Decimal
from urllib.parse import parse_qs, urlsplit

import pytest
from aiohttp import web

from consumer.errors import FalRefused, FalUnavailable, SchemaDrift
from consumer.fal import FalAddresses, FalParts, Span, open_client
from tests.fal.canned import NGINX
from tests.fal.conftest import QUICK, Canned, serving

JSON = {"Content-Type": "application/json"}


def page(name, rows, cursor=None, **more):
    """A canned page."""
    body = {name: rows, "next_cursor": cursor, "has_more": cursor is not None} | more
    return Canned(200, json.dumps(body).encode(), JSON)


def query(seen):
    """The parameters of a request."""
    return parse_qs(urlsplit(seen.path_qs).query)


@pytest.fixture
def drifts():
    """What the client told of drifts."""
    return []


@pytest.fixture
async def fal(server, drifts):
    """The client before a canned server."""
    addresses = FalAddresses(server.url, f"{server.url}/v1", server.url)
    parts = FalParts(QUICK, on_drift=drifts.append)
    async with open_client("a:b", addresses, parts) as client:
        yield client


async def test_pages_are_asked_for_when_they_are_wanted(server, fal):
    """The second page is not asked for before the first is used up; shifted items come once."""
    one, two, three = ({"endpoint_id": f"a/{n}"} for n in "123")
    server.answer(page("models", [one, two], "Mg=="), page("models", [two, three]))

    models = fal.models(text="x", category="image-to-image", status="active", has_openapi=True)
    first = await anext(models)
    asked = len(server.seen)
    rest = [model.endpoint_id async for model in models]

    assert (first.endpoint_id, asked, rest) == ("a/1", 1, ["a/2", "a/3"])
    wanted = {
        "q": ["x"],
        "category": ["image-to-image"],
        "status": ["active"],
        "expand": ["openapi-3.0"],
        "limit": ["10"],
    }
    assert [query(seen) for seen in server.seen] == [wanted, wanted | {"cursor": ["Mg=="]}]
    assert server.seen[0].path_qs.startswith("/v1/models?")


@pytest.mark.parametrize("more", [{}, {"next_cursor": None}])
async def test_pages_that_do_not_end_are_drift(server, fal, more):
    """A cursor that comes again, or none where there is more, is SchemaDrift, never a loop."""
    server.answer(page("models", [], "Mg==", **more))

    with pytest.raises(SchemaDrift, match="next_cursor"):
        [_ async for _ in fal.models()]

    assert len(server.seen) <= 2


async def test_an_item_that_cannot_be_read_does_not_sink_its_page(server, fal, drifts):
    """One model in a form of the future is left out and told; the others come."""
    rows = [{"endpoint_id": "a/1"}, {"endpoint_id": 7}, {"id": "a/3"}, {"endpoint_id": "a/4"}]
    server.answer(page("models", rows))

    assert ["a/1", "a/4"] == [model.endpoint_id async for model in fal.models()]
    assert ["items[1].endpoint_id", "items[2].endpoint_id"] == [one.where for one in drifts]


async def test_one_unknown_id_does_not_sink_the_prices_of_others():
    """Where fal answers 404 for the whole call, the rest are priced, in few calls."""
    calls = []

    async def handle(request: web.Request) -> web.Response:
        ids = request.query.getall("endpoint_id")
        calls.append(ids)
        if any(name.startswith("no/") for name in ids):
            envelope = {"error": {"type": "not_found", "message": "Resource not found"}}
            return web.json_response(envelope, status=404)
        rows = [
            {"endpoint_id": name, "unit_price": 0.1, "unit": "image", "currency": "USD"}
            for name in ids
        ]
        return web.json_response({"prices": rows, "next_cursor": None, "has_more": False})

    names = [f"a/{n}" for n in range(60)] + ["no/1"] + [f"b/{n}" for n in range(59)] + ["no/2"]
    async with (
        serving(handle) as url,
        open_client("a:b", FalAddresses(url, url, url), FalParts(QUICK)) as fal,
    ):
        prices = await fal.pricing([*names, names[0]])

    assert prices.unknown == ["no/1", "no/2"]
    assert [name for name in names if name[:3] != "no/"] == [p.endpoint_id for p in prices.prices]
    assert {Decimal("0.1")} == {price.unit_price for price in prices.prices}
    assert max(len(ids) for ids in calls) == 50
    assert len(calls) < 30


async def test_other_refusals_of_prices_are_told(server, fal):
    """A refused key is no unknown endpoint."""
    server.answer(Canned(401, b'{"error":{"type":"authorization_error","message":"no"}}', JSON))

    with pytest.raises(FalRefused) as refused:
        await fal.pricing(["a/b"])

    assert (refused.value.http_status, refused.value.reason) == (401, "authorization_error")


async def test_an_admin_call_with_another_key_is_a_refusal(server, fal):
    """403 on a call for ADMIN keys is no lock of the account."""
    server.answer(Canned(403, b'{"error":{"type":"authorization_error","message":"no"}}', JSON))

    with pytest.raises(FalRefused, match="authorization_error"):
        [_ async for _ in fal.billing_events()]

    assert fal.problems() == ()


async def test_lists_are_asked_for_as_fal_documents(server, fal):
    """Times travel as RFC 3339 in UTC, several ids as repeated parameters."""
    server.answer(page("items", []))
    span = Span(datetime(2026, 10, 1, tzinfo=UTC), datetime(2026, 10, 2, 3, 4, 5, tzinfo=UTC))
    found = fal.requests_by_endpoint(
        ["a/b", "a/c"], span=span, outcome="error", has_payloads=True, page_size=100
    )

    assert [_ async for _ in found] == []
    assert query(server.seen[0]) == {
        "endpoint_id": ["a/b", "a/c"],
        "limit": ["100"],
        "start": ["2026-10-01T00:00:00Z"],
        "end": ["2026-10-02T03:04:05Z"],
        "status": ["error"],
        "expand": ["payloads"],
    }


async def test_public_calls_carry_no_key(server, fal):
    """Key set and webhook addresses are public: no key travels to them."""
    server.answer(Canned(200, b'{"webhook_ip_ranges":["10.0.0.0/8"]}', JSON))
    assert await fal.webhook_ip_ranges() == ["10.0.0.0/8"]
    server.answer(Canned(200, b'{"keys":[]}', JSON))
    with pytest.raises(SchemaDrift, match="usable"):
        await fal.key_set()

    assert ["Authorization" in seen.headers for seen in server.seen] == [False, False]


@pytest.mark.parametrize("rows", [["10.0.0.0/8", "everybody"], ["10.0.0.0/8", 7], [None]])
async def test_no_allow_list_is_made_of_what_is_no_network(server, fal, rows):
    """A list with anything but networks in it is SchemaDrift as a whole."""
    server.answer(Canned(200, json.dumps({"webhook_ip_ranges": rows}).encode(), JSON))

    with pytest.raises(SchemaDrift):
        await fal.webhook_ip_ranges()


async def test_a_page_of_a_proxy_says_what_came(server, fal):
    """Nginx's 502 is told as what it is: a page, its size, and without fal's mark."""
    server.answer(NGINX)

    with pytest.raises(FalUnavailable) as unavailable:
        await fal.pricing(["a/b"])

    assert str(unavailable.value) == (
        "fal_unavailable: http_502 "
        "(HTTP 502: an HTML page, text/html, 28 bytes, without x-fal-request-id)"
    )
