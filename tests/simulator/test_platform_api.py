import pytest

from consumer.simulator import Fault, Operation


async def completed(fal, *scenarios, endpoint="a/b"):
    found = []
    for scenario in scenarios:
        submitted = await fal.submit(scenario, endpoint=endpoint)
        await fal.reach(submitted, "COMPLETED")
        found.append(submitted["request_id"])
    return found


async def listed(fal, **query):
    params = {"endpoint_id": "a/b"} | query
    return await fal.get(f"{fal.simulator.platform_url}/models/requests/by-endpoint", params=params)


async def test_listing_shows_started_requests_newest_first(fal):
    """The listing names ended requests with their code, newest first, and no queued ones."""
    ids = await completed(fal, "plain", "error_422")
    await fal.submit("stuck", endpoint="a/b")

    http_status, body = await listed(fal)
    assert (200, None, False) == (http_status, body["next_cursor"], body["has_more"])
    assert ids[::-1] == [item["request_id"] for item in body["items"]]
    assert [422, 200] == [item["status_code"] for item in body["items"]]
    assert "json_input" not in body["items"][0]


async def test_listing_pages_by_base64_cursors(fal):
    """Each page names the next by its number in base64, until the last."""
    ids = await completed(fal, "plain", "plain", "plain")

    _status, first = await listed(fal, limit="2")
    assert ("Mg==", True) == (first["next_cursor"], first["has_more"])
    _status, second = await listed(fal, limit="2", cursor="Mg==")
    assert (None, False) == (second["next_cursor"], second["has_more"])
    assert ids[::-1] == [item["request_id"] for item in first["items"] + second["items"]]


async def test_listing_with_payloads_finds_a_lost_submit(fal):
    """With payloads the input can be matched; storage switched off leaves nothing to match."""
    await completed(fal, "plain")
    hidden = await fal.submit("plain", endpoint="a/b", headers={"X-Fal-Store-IO": "0"})
    await fal.reach(hidden, "COMPLETED")

    _status, body = await listed(fal, expand="payloads")
    assert [None, "a red apple"] == [
        item.get("json_input", {}).get("prompt") for item in body["items"]
    ]
    assert "images" in body["items"][1]["json_output"]


@pytest.mark.parametrize(
    "scenario, outputs", [("deep_nesting", False), ("big_body", False), ("nul_prompt", True)]
)
async def test_listing_survives_strange_outputs(fal, scenario, outputs):
    """Outputs that the listing cannot hold are left out, the others shown."""
    await completed(fal, scenario)

    http_status, body = await listed(fal, expand="payloads")
    assert (200, outputs) == (http_status, body["items"][0]["json_output"] is not None)


async def test_listing_filters(fal):
    """Status class, request id and time narrow the listing."""
    ids = await completed(fal, "plain", "error_422", "error_infrastructure")

    for status, expected in zip(("success", "user_error", "error"), ids, strict=True):
        _status, body = await listed(fal, status=status)
        assert [expected] == [item["request_id"] for item in body["items"]]
    _status, body = await listed(fal, request_id=ids[1])
    assert [ids[1]] == [item["request_id"] for item in body["items"]]
    _status, body = await listed(fal, end="2020-01-01")
    assert [] == body["items"]
    _status, body = await listed(fal, start="2020-01-01T00:00:00+00:00", sort_by="duration")
    assert set(ids) == {item["request_id"] for item in body["items"]}


async def test_listing_covers_several_endpoints(fal):
    """Several endpoints, repeated or with commas, share one order."""
    [first] = await completed(fal, "plain", endpoint="a/b")
    [second] = await completed(fal, "plain", endpoint="c/d")

    _status, body = await listed(fal, endpoint_id="a/b,c/d")
    assert [second, first] == [item["request_id"] for item in body["items"]]


@pytest.mark.parametrize(
    "query",
    [
        {"limit": "0"},
        {"limit": "101"},
        {"cursor": "!"},
        {"cursor": "LTE="},
        {"start": "yesterday"},
        {"status": "odd"},
        {"sort_by": "name"},
        {"endpoint_id": ""},
    ],
)
async def test_bad_parameters_answer_in_the_envelope(fal, query):
    """A parameter fal would refuse answers 400 in the platform's error form."""
    http_status, body = await listed(fal, **query)

    assert (400, "validation_error") == (http_status, body["error"]["type"])


async def test_platform_checks_the_key_except_for_meta(start):
    """The listing needs the key, the list of source addresses does not."""
    fal = await start(api_key="id:right")

    http_status, body = await listed(fal)
    assert (401, "authorization_error") == (http_status, body["error"]["type"])
    http_status, body = await fal.get(f"{fal.simulator.platform_url}/meta")
    assert (200, ["webhook_ip_ranges"]) == (http_status, list(body))


async def test_platform_faults_come_in_the_envelope(fal):
    """A planned 429 on the listing has the platform's form."""
    fal.simulator.plan_faults(Operation.LISTING, Fault.RATE_LIMITED)

    http_status, body = await listed(fal)
    assert (429, "rate_limited") == (http_status, body["error"]["type"])


async def test_billing_events_lag_and_leave_out_what_is_free(start):
    """Billed requests appear after the lag; failures cost nothing and never do."""
    prompt, lagging = await start(billing_lag_s=0.0), await start(billing_lag_s=1e6)
    for fal, expected in ((prompt, 1), (lagging, 0)):
        [request_id, _failed] = await completed(fal, "plain", "error_infrastructure")
        _status, body = await fal.get(f"{fal.simulator.platform_url}/models/billing-events")
        assert [request_id] * expected == [row["request_id"] for row in body["billing_events"]]


async def test_billing_events_need_an_admin_key(start):
    """A key that is no ADMIN key is refused with 403."""
    fal = await start(is_admin=False)

    http_status, _body = await fal.get(f"{fal.simulator.platform_url}/models/billing-events")
    assert 403 == http_status


async def test_prices_and_estimates(fal):
    """Prices are listed per endpoint; an estimate multiplies them."""
    base = f"{fal.simulator.platform_url}/models/pricing"
    _status, prices = await fal.get(base, params=[("endpoint_id", "a/b"), ("endpoint_id", "c/d")])
    assert ["a/b", "c/d"] == [row["endpoint_id"] for row in prices["prices"]]

    asked = {"estimate_type": "unit_price", "endpoints": {"a/b": {"unit_quantity": 4}}}
    async with fal.http.post(f"{base}/estimate", json=asked) as answer:
        assert 0.1 == pytest.approx((await answer.json())["total_cost"])
    async with fal.http.post(f"{base}/estimate", json=[]) as answer:
        assert 400 == answer.status


async def test_models_are_listed_without_a_key(start):
    """The model list names what was asked for, else what was ever submitted to; it is open."""
    fal = await start(api_key="id:right")
    url = f"{fal.simulator.platform_url}/models"

    assert (200, {"models": [], "next_cursor": None, "has_more": False}) == await fal.get(url)
    _status, body = await fal.get(url, params={"endpoint_id": "fal-ai/flux/dev"})
    [model] = body["models"]
    assert ("fal-ai/flux/dev", "dev") == (model["endpoint_id"], model["metadata"]["display_name"])


async def test_unknown_platform_paths_are_not_submits(fal):
    """A platform path that does not exist answers 404 in the envelope."""
    http_status, body = await fal.get(f"{fal.simulator.platform_url}/models/nonsense")

    assert (404, "not_found") == (http_status, body["error"]["type"])
