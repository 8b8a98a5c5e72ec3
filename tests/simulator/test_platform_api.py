import pytest

from consumer.simulator import Fault, Operation
from consumer.simulator.catalog import OFFERS

LISTED = list(OFFERS)


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


async def test_prices_name_each_endpoint_in_its_own_unit(fal):
    """Prices come in the order asked for; what was submitted to has one too."""
    await fal.submit("stuck", endpoint="a/b")
    asked = [("endpoint_id", "fal-ai/veo3,fal-ai/flux/dev"), ("endpoint_id", "a/b")]

    http_status, body = await fal.get(f"{fal.simulator.platform_url}/models/pricing", params=asked)
    assert 200 == http_status
    assert [
        ("fal-ai/veo3", "seconds", 0.4),
        ("fal-ai/flux/dev", "megapixels", 0.025),
        ("a/b", "image", 0.025),
    ] == [(row["endpoint_id"], row["unit"], row["unit_price"]) for row in body["prices"]]
    assert (None, False) == (body["next_cursor"], body["has_more"])


@pytest.mark.parametrize(
    "ids, expected",
    [
        ([], 400),
        (["fal-ai/flux/dev", "fal-ai/no-such-model"], 404),
        (LISTED[:50], 200),
        (LISTED[:51], 400),
    ],
)
async def test_one_unknown_or_superfluous_id_sinks_all_prices(fal, ids, expected):
    """One to fifty ids are priced; none, more, or an unknown one refuse the whole call."""
    params = [("endpoint_id", name) for name in ids]

    http_status, _body = await fal.get(
        f"{fal.simulator.platform_url}/models/pricing", params=params
    )
    assert expected == http_status


@pytest.mark.parametrize(
    "asked, expected",
    [
        ({"estimate_type": "unit_price", "endpoints": {"fal-ai/veo3": {"unit_quantity": 5}}}, 2.0),
        (
            {
                "estimate_type": "unit_price",
                "endpoints": {
                    "fal-ai/veo3": {"unit_quantity": 0.5},
                    "fal-ai/flux/dev": {"unit_quantity": 2},
                },
            },
            0.25,
        ),
        (
            {
                "estimate_type": "historical_api_price",
                "endpoints": {"fal-ai/flux/dev": {"call_quantity": 4}},
            },
            0.15,
        ),
    ],
)
async def test_an_estimate_is_one_total(fal, asked, expected):
    """Units are priced as they are, calls by what a call has cost so far."""
    url = f"{fal.simulator.platform_url}/models/pricing/estimate"

    async with fal.http.post(url, json=asked) as answer:
        body = await answer.json()
    assert pytest.approx(expected) == body.pop("total_cost")
    assert {"estimate_type": asked["estimate_type"], "currency": "USD"} == body


@pytest.mark.parametrize(
    "asked, expected",
    [
        ([], 400),
        ({"estimate_type": "odd", "endpoints": {}}, 400),
        ({"estimate_type": "unit_price", "endpoints": {}}, 400),
        ({"estimate_type": "unit_price", "endpoints": {"fal-ai/veo3": {"call_quantity": 1}}}, 400),
        ({"estimate_type": "unit_price", "endpoints": {"fal-ai/veo3": {"unit_quantity": 0}}}, 400),
        ({"estimate_type": "unit_price", "endpoints": {"no/such": {"unit_quantity": 1}}}, 404),
    ],
)
async def test_an_estimate_that_cannot_be_made_is_refused(fal, asked, expected):
    """Another form answers 400, an unknown endpoint 404, in the envelope."""
    url = f"{fal.simulator.platform_url}/models/pricing/estimate"

    async with fal.http.post(url, json=asked) as answer:
        assert expected == answer.status
        assert "error" in await answer.json()


async def models(fal, **query):
    http_status, body = await fal.get(f"{fal.simulator.platform_url}/models", params=query)
    assert 200 == http_status, body
    return body


async def test_models_are_paged_without_a_key(start):
    """The list is open; its pages follow one another by cursor and name each model once."""
    fal = await start(api_key="id:right")
    found, cursor = [], None
    while True:
        body = await models(fal, limit="30", **({"cursor": cursor} if cursor else {}))
        found += [model["endpoint_id"] for model in body["models"]]
        cursor = body["next_cursor"]
        assert (cursor is not None) == body["has_more"]
        if cursor is None:
            break

    assert LISTED == found


@pytest.mark.parametrize(
    "query, expected",
    [
        ({"q": "whisper"}, ["fal-ai/whisper"]),
        ({"q": "KLING master image"}, ["fal-ai/kling-video/v2/master/image-to-video"]),
        ({"category": "training"}, ["fal-ai/flux-lora-fast-training"]),
        ({"status": "deprecated", "category": "image-to-video"}, []),
        ({"status": "deprecated", "q": "lcm"}, ["fal-ai/lcm"]),
        ({"endpoint_id": "fal-ai/veo3,fal-ai/flux/dev"}, ["fal-ai/veo3", "fal-ai/flux/dev"]),
    ],
)
async def test_models_are_searched(fal, query, expected):
    """By id in the order asked for, by words, by category and by status."""
    body = await models(fal, **query)

    assert expected == [model["endpoint_id"] for model in body["models"]]


async def test_models_submitted_to_are_listed(fal):
    """An endpoint on no list is a model once somebody submitted to it, and unknown before."""
    url = f"{fal.simulator.platform_url}/models"
    http_status, body = await fal.get(url, params={"endpoint_id": "a/b"})
    assert (404, "not_found") == (http_status, body["error"]["type"])

    await fal.submit("stuck", endpoint="a/b")
    [model] = (await models(fal, endpoint_id="a/b"))["models"]
    assert ("a/b", "B") == (model["endpoint_id"], model["metadata"]["display_name"])


async def test_models_tell_their_order_when_it_was_asked_for(fal):
    """An explicit sort is echoed; recent puts the latest change first."""
    recent = await models(fal, sort="recent", limit="100")

    dates = [model["metadata"]["updated_at"] for model in recent["models"]]
    assert (sorted(dates, reverse=True), {"sort": "recent"}) == (dates, recent["ordering"])
    assert "ordering" not in await models(fal)


async def test_models_expand_on_demand(fal):
    """The OpenAPI document of a model comes when asked for, or why there is none."""
    body = await models(fal, endpoint_id="fal-ai/veo3", expand="openapi-3.0,enterprise_status")
    [model] = body["models"]
    assert ["/fal-ai/veo3"] == list(model["openapi"]["paths"])
    assert "ready" == model["enterprise_status"]

    [model] = (await models(fal, endpoint_id="fal-ai/lcm", expand="openapi-3.0"))["models"]
    assert "expansion_failed" == model["openapi"]["error"]["code"]


async def test_only_the_configured_endpoints_exist(start):
    """With a list of endpoints nothing else can be submitted to, listed or priced."""
    fal = await start(endpoints=frozenset({"team/app/edit"}))
    assert ["team/app/edit"] == [m["endpoint_id"] for m in (await models(fal))["models"]]

    await fal.submit("stuck", endpoint="team/app/edit")
    async with fal.http.post(f"{fal.simulator.url}/fal-ai/flux/dev", json={}) as answer:
        assert 404 == answer.status
        assert {"detail": 'Application "fal-ai/flux/dev" not found'} == await answer.json()
    url = f"{fal.simulator.platform_url}/models/pricing"
    http_status, _body = await fal.get(url, params={"endpoint_id": "fal-ai/flux/dev"})
    assert 404 == http_status


async def spent(fal, path, **query):
    return await fal.get(f"{fal.simulator.platform_url}/{path}", params=query)


async def test_billing_events_are_narrowed_and_put_down_to_callers(start):
    """Ids, endpoints, keys and tags narrow the events; callers and tags come when asked for."""
    fal = await start(billing_lag_s=0.0)
    tagged = await fal.submit(headers={"X-Fal-Tags": "team=a,env=test"}, endpoint="fal-ai/veo3")
    plain = await fal.submit(endpoint="fal-ai/veo3")
    for submitted in (tagged, plain):
        await fal.reach(submitted, "COMPLETED")
    a, b = tagged["request_id"], plain["request_id"]

    async def found(**query):
        http_status, body = await spent(fal, "models/billing-events", **query)
        assert 200 == http_status, body
        return {row["request_id"] for row in body["billing_events"]}

    assert {a, b} == await found() == await found(api_key_id="id", endpoint_id="fal-ai/veo3")
    assert {a} == await found(request_id=a) == await found(tag="team=a")
    assert {b} == await found(tag="team=(untagged)")
    assert set() == await found(api_key_id="other") == await found(login_username="me")
    _status, body = await spent(
        fal,
        "models/billing-events",
        request_id=a,
        source="tagged-billed",
        expand="auth_method,auth_method_structured",
    )
    [row] = body["billing_events"]
    assert {"team": "a", "env": "test"} == row["tags"]
    assert "id" == row["auth_method_structured"]["api_key_id"]
    assert row["cost_estimate_nano_usd"] == round(row["output_units"] * 0.4 * 1e9)


@pytest.mark.parametrize(
    "query",
    [
        {"start": "2026-01-01", "end": "2026-06-01"},
        {"tag": "no-pair"},
        {"limit": "10001"},
        {"request_id": ",".join(map(str, range(51)))},
    ],
)
async def test_billing_events_refuse_what_fal_does(fal, query):
    """More than 90 days, an unusable tag, too large a page and too many ids answer 400."""
    http_status, body = await spent(fal, "models/billing-events", **query)

    assert (400, "validation_error") == (http_status, body["error"]["type"])


async def test_usage_adds_up(start):
    """Summary and time series tell the same cost as the single events."""
    fal = await start(billing_lag_s=0.0)
    await completed(fal, "plain", "plain", "error_422", endpoint="fal-ai/veo3")
    await completed(fal, "plain", endpoint="fal-ai/flux/dev")

    _status, usage = await spent(fal, "models/usage", expand="time_series,summary")
    _status, events = await spent(fal, "models/billing-events")
    total = pytest.approx(sum(row["cost_total"] for row in events["billing_events"]))
    assert total == sum(row["cost"] for row in usage["summary"])
    rows = [row for bucket in usage["time_series"] for row in bucket["results"]]
    assert total == sum(row["cost_total"] for row in rows)
    assert ["fal-ai/flux/dev", "fal-ai/veo3"] == [row["endpoint_id"] for row in usage["summary"]]
    _status, account = await spent(fal, "account/billing", expand="credits")
    assert 100.0 - account["credits"]["current_balance"] == total


@pytest.mark.parametrize(
    "frame, bucket",
    [
        ("minute", "2026-07-16T14:46:00+02:00"),
        ("hour", "2026-07-16T14:00:00+02:00"),
        ("day", "2026-07-16T00:00:00+02:00"),
        ("week", "2026-07-13T00:00:00+02:00"),
        ("month", "2026-07-01T00:00:00+02:00"),
    ],
)
async def test_usage_comes_in_steps_of_the_callers_time_zone(start, frame, bucket):
    """A bucket begins where its step begins in that time zone."""
    fal = await start(now=lambda: 1_784_206_014.0, billing_lag_s=-1.0)
    await completed(fal, "plain")

    _status, body = await spent(fal, "models/usage", timeframe=frame, timezone="Europe/Berlin")
    assert [bucket] == [row["bucket"] for row in body["time_series"]]


@pytest.mark.parametrize(
    "query", [{"expand": "auth_method"}, {"timezone": "Nowhere/Here"}, {"timeframe": "year"}]
)
async def test_usage_refuses_what_it_cannot_show(fal, query):
    """Neither series nor summary, an unknown time zone or step answer 400."""
    http_status, _body = await spent(fal, "models/usage", **query)

    assert 400 == http_status


@pytest.mark.parametrize("path", ["models/usage", "models/billing-events", "account/billing"])
async def test_money_needs_an_admin_key(start, path):
    """A good API key is refused with 403, the ADMIN key is not, and no key is 401."""
    fal = await start(api_key="id:api", admin_key="id:admin")
    url = f"{fal.simulator.platform_url}/{path}"

    told = []
    for key in ("Key id:api", "Key id:admin", "Key id:none"):
        http_status, body = await fal.get(url, headers={"Authorization": key})
        told.append((http_status, body.get("error", {}).get("type")))
    assert [(403, "authorization_error"), (200, None), (401, "authorization_error")] == told


async def test_platform_calls_with_a_wrong_method_are_no_submits(fal):
    """Another method on a platform path answers 405 and names the right one."""
    async with fal.http.post(f"{fal.simulator.platform_url}/models", json={}) as answer:
        assert (405, "GET") == (answer.status, answer.headers["Allow"])
    assert {} == fal.simulator.books().requests


async def test_unknown_platform_paths_are_not_submits(fal):
    """A platform path that does not exist answers 404 in the envelope."""
    http_status, body = await fal.get(f"{fal.simulator.platform_url}/models/nonsense")

    assert (404, "not_found") == (http_status, body["error"]["type"])
