import json

import aiohttp
import pytest

from consumer.simulator import MIXED_WEIGHTS, SCENARIOS, SimulatorConfig

ENDS_WELL = sorted(SCENARIOS.keys() - {"stuck", "submit_500", "unknown_submit"})


async def settled(fal, inbox, scenario):
    submitted = await fal.submit(scenario, inbox.url)
    assert await fal.simulator.wait_idle(20.0)
    return submitted, fal.entry(submitted)


def kinds(entry):
    return [attempt.kind for attempt in entry.attempts]


@pytest.mark.parametrize("scenario", ENDS_WELL)
async def test_every_scenario_ends_and_result_agrees_with_books(fal, inbox, scenario):
    """Each request ends, and its result has the status and units that the books name."""
    submitted, entry = await settled(fal, inbox, scenario)

    async with fal.http.get(submitted["response_url"]) as answer:
        assert entry.http_status == answer.status
        assert entry.billable_units == float(answer.headers["X-Fal-Billable-Units"])
        assert submitted["request_id"] == answer.headers["x-fal-request-id"]
    expected = "succeeded" if entry.http_status == 200 else "failed"
    assert expected == entry.end
    assert ["IN_QUEUE", "COMPLETED"] == [entry.changes[0].status, entry.changes[-1].status]


@pytest.mark.parametrize("scenario", ENDS_WELL)
async def test_deliveries_verify_unless_they_are_forged(fal, inbox, scenario):
    """Every delivery but a forged one verifies with the first published key, and only with it."""
    _submitted, entry = await settled(fal, inbox, scenario)

    first, second = await fal.keys()
    verdicts = [got.is_signed_by(first) for got in inbox.received]
    falsely_signed = {"forged:key", "forged:body"} & set(kinds(entry))
    assert len(entry.attempts) == len(inbox.received)
    assert len(falsely_signed) == verdicts.count(False)
    assert not any(got.is_signed_by(second) for got in inbox.received)


async def test_plain_delivery_is_what_fal_sends(fal, inbox):
    """The body has sorted keys, an explicit null error, and the output of the result."""
    submitted, entry = await settled(fal, inbox, "plain")

    [got] = inbox.received
    body = json.loads(got.body)
    assert json.dumps(body, sort_keys=True).encode() == got.body
    assert ["error", "gateway_request_id", "payload", "request_id", "status"] == list(body)
    assert (None, "OK", submitted["request_id"]) == (
        body["error"],
        body["status"],
        body["request_id"],
    )
    _status, output = await fal.get(submitted["response_url"])
    assert output == body["payload"]
    assert ["genuine"] == kinds(entry)


async def test_duplicate_arrives_twice_at_once_and_again_later(fal, inbox):
    """A duplicate is the same delivery with the same signature, then one signed afresh."""
    _submitted, entry = await settled(fal, inbox, "duplicate")

    signatures = [got.headers["X-Fal-Webhook-Signature"] for got in inbox.received]
    assert ["duplicate", "duplicate", "genuine"] == sorted(kinds(entry))
    assert signatures[0] == signatures[1]
    assert 1 == len({got.body for got in inbox.received})


async def test_lost_sends_nothing(fal, inbox):
    """A lost webhook is never sent, though the request has succeeded."""
    _submitted, entry = await settled(fal, inbox, "lost")

    assert ("succeeded", []) == (entry.end, inbox.received)


async def test_late_arrives_long_after_the_end(start, inbox):
    """A late webhook comes after the configured time."""
    fal = await start(late_s=250.0)
    _submitted, entry = await settled(fal, inbox, "late")

    assert entry.attempts[0].at - entry.changes[-1].at >= 0.25


async def test_reordered_is_overtaken_and_brings_the_older_signature_last(start, inbox):
    """A reordered delivery waits for a later request's; its older signature arrives last."""
    clock = iter(range(1_800_000_000, 1_900_000_000))
    fal = await start(now=lambda: float(next(clock)), queue_s=(0, 0), run_s=(0, 0), time_scale=0.5)
    reordered = await fal.submit("reordered", inbox.url)
    await fal.reach(reordered, "COMPLETED")
    later = await fal.submit("early", inbox.url)
    received = await inbox.wait_for(3)

    ids = [got.headers["X-Fal-Webhook-Request-Id"] for got in received]
    assert [later["request_id"], reordered["request_id"], reordered["request_id"]] == ids
    assert received[2].timestamp < received[1].timestamp


async def test_early_webhook_comes_before_the_submit_answer(fal, inbox):
    """With `early` the first attempt is over before the caller knows the request id."""
    submitted = await fal.submit("early", inbox.url)

    [got] = inbox.received
    assert submitted["request_id"] == got.headers["X-Fal-Webhook-Request-Id"]


@pytest.mark.parametrize(
    "scenario, expected",
    [
        ("payload_null", ("OK", None, False)),
        ("error_422", ("ERROR", "Unexpected status code: 422", True)),
        ("error_invalid_wording", ("ERROR", "Invalid status code: 422", True)),
        ("error_null_payload", ("ERROR", "Invalid status code: 404", False)),
        ("error_infrastructure", ("ERROR", "Unexpected status code: 503", True)),
    ],
)
async def test_failures_are_worded_as_fal_words_them(fal, inbox, scenario, expected):
    """Errors and null payloads come in the recorded forms; a null payload explains itself."""
    await settled(fal, inbox, scenario)

    body = json.loads(inbox.received[0].body)
    has_payload = body["payload"] is not None
    assert expected == (body["status"], body["error"], has_payload)
    assert has_payload != ("payload_error" in body)


async def test_model_failure_shows_a_bare_completed_and_lists_details(fal, inbox):
    """A 422 is told by the result alone: the status names no error."""
    submitted, _entry = await settled(fal, inbox, "error_422")

    http_status, status = await fal.get(submitted["status_url"])
    assert (200, "COMPLETED") == (http_status, status["status"])
    assert "error" not in status
    http_status, result = await fal.get(submitted["response_url"])
    assert 422 == http_status
    assert {"loc", "msg", "type", "url", "input"} == set(result["detail"][0])


async def test_infrastructure_failure_is_typed_everywhere(fal, inbox):
    """A lost runner shows its error type in the status, the result's body and its header."""
    submitted, _entry = await settled(fal, inbox, "error_infrastructure")

    _http_status, status = await fal.get(submitted["status_url"])
    assert "runner_disconnected" == status["error_type"]
    async with fal.http.get(submitted["response_url"]) as answer:
        assert 503 == answer.status
        assert "runner_disconnected" == answer.headers["X-Fal-Error-Type"]
        assert "runner_disconnected" == (await answer.json())["error_type"]


async def test_payload_null_has_a_result_that_is_not_json(fal, inbox):
    """The output behind a null payload is readable from the queue, as bytes of another type."""
    submitted, _entry = await settled(fal, inbox, "payload_null")

    async with fal.http.get(submitted["response_url"]) as answer:
        assert "image/png" == answer.content_type
        content = await answer.read()
    with pytest.raises(ValueError):
        json.loads(content)


async def test_strange_outputs_hold_what_their_names_promise(fal, inbox):
    """Huge seeds, NUL and lone surrogates arrive as escapes in the signed bytes."""
    found = {}
    for scenario in ("huge_seed", "nul_prompt", "surrogate_prompt"):
        await settled(fal, inbox, scenario)
        found[scenario] = json.loads(inbox.received[-1].body)["payload"]

    assert found["huge_seed"]["seed"] >= 2**63
    assert "\x00" in found["nul_prompt"]["prompt"]
    assert found["surrogate_prompt"]["prompt"].endswith("\ud83d")


async def test_deep_nesting_is_beyond_the_standard_parser(fal, inbox):
    """A deeply nested body is signed and whole, and the parser gives up on it."""
    await settled(fal, inbox, "deep_nesting")

    with pytest.raises(RecursionError):
        json.loads(inbox.received[0].body)


async def test_big_body_is_just_below_ten_mebibytes(fal, inbox):
    """The big body fits a limit of 10 MiB, and hardly anything more does."""
    await settled(fal, inbox, "big_body")

    size = len(inbox.received[0].body)
    assert 10 * 1024 * 1024 - 4096 < size < 10 * 1024 * 1024


async def test_unreadable_and_other_id_differ_from_their_signed_header(fal, inbox):
    """One body is no JSON, the other names another request; both are truly signed."""
    submitted, entry = await settled(fal, inbox, "unreadable")
    other, other_entry = await settled(fal, inbox, "other_id")

    assert ["unreadable", "other_id"] == kinds(entry) + kinds(other_entry)
    with pytest.raises(ValueError):
        json.loads(inbox.received[0].body)
    named = json.loads(inbox.received[1].body)["request_id"]
    assert named not in {submitted["request_id"], other["request_id"]}


@pytest.mark.parametrize("scenario", ["forged_key", "forged_body", "forged_old_timestamp"])
async def test_forgeries_accompany_a_genuine_delivery(fal, inbox, scenario):
    """A forgery names the same request, is tried once, and the genuine delivery comes too."""
    _submitted, entry = await settled(fal, inbox, scenario)

    forged = f"forged:{scenario.removeprefix('forged_')}"
    assert [forged, "genuine"] == sorted(kinds(entry))


async def test_refused_forgeries_are_not_repeated(fal, inbox):
    """A forger has no schedule: what is refused stays refused, while fal tries again."""
    first_key = await fal.keys()
    inbox.answer = lambda number: 401 if number <= 2 else 200
    _submitted, entry = await settled(fal, inbox, "forged_key")

    forged = [got for got in inbox.received if not got.is_signed_by(first_key[0])]
    assert (1, 1) == (len(forged), kinds(entry).count("forged:key"))
    assert kinds(entry).count("genuine") >= 2


async def test_old_timestamp_is_an_hour_old(fal, inbox):
    """The replayed delivery is signed by the real key, but an hour ago."""
    await settled(fal, inbox, "forged_old_timestamp")

    stamps = sorted(got.timestamp for got in inbox.received)
    assert 3598 <= stamps[1] - stamps[0] <= 3602


async def test_foreign_delivery_is_another_accounts_own_request(fal, inbox):
    """Another customer's delivery verifies, under his account and his own request id."""
    submitted, entry = await settled(fal, inbox, "foreign_account")

    foreign = [
        got
        for got in inbox.received
        if got.headers["X-Fal-Webhook-User-Id"] != fal.simulator.config.account
    ]
    assert ["foreign:account", "genuine"] == sorted(kinds(entry))
    assert 1 == len(foreign)
    assert submitted["request_id"] != foreign[0].headers["X-Fal-Webhook-Request-Id"]


async def test_unknown_submit_leaves_a_job_but_no_answer(fal, inbox):
    """The caller's connection dies, while the job exists and its webhook comes."""
    with pytest.raises(aiohttp.ClientError):
        await fal.submit("unknown_submit", inbox.url)

    [got] = await inbox.wait_for(1)
    [entry] = fal.simulator.books().requests.values()
    assert entry.request_id == got.headers["X-Fal-Webhook-Request-Id"]


async def test_submit_500_leaves_no_job(fal):
    """A submit that fails on fal's side is counted, and nothing is in the books."""
    async with fal.http.post(f"{fal.simulator.url}/a/b", json={"simulate": "submit_500"}) as answer:
        assert 500 == answer.status

    books = fal.simulator.books()
    assert ({}, 1) == (books.requests, books.submits_refused)


async def test_regress_goes_back_to_the_queue(fal, inbox):
    """A request that loses its runner is queued again before it completes."""
    _submitted, entry = await settled(fal, inbox, "regress")

    expected = ["IN_QUEUE", "IN_PROGRESS", "IN_QUEUE", "IN_PROGRESS", "COMPLETED"]
    assert expected == [change.status for change in entry.changes]


async def test_weights_and_seed_decide_what_unnamed_requests_meet(start):
    """The same seed draws the same scenarios in the same order."""
    drawn = []
    for _run in range(2):
        fal = await start(weights=MIXED_WEIGHTS, seed=3)
        for _request in range(30):
            async with fal.http.post(f"{fal.simulator.url}/a/b", json={}) as answer:
                await answer.release()
        entries = fal.simulator.books().requests.values()
        drawn.append([entry.scenario for entry in entries])

    assert drawn[0] == drawn[1]
    assert len(set(drawn[0])) > 3


async def test_unknown_scenario_is_a_loud_mistake(fal):
    """Naming a scenario that does not exist is refused, and the known ones are listed."""
    async with fal.http.post(f"{fal.simulator.url}/a/b", json={"simulate": "nope"}) as answer:
        assert 400 == answer.status
        assert "payload_null" in (await answer.json())["detail"]


@pytest.mark.parametrize(
    "settings",
    [
        {"weights": {"nope": 1.0}},
        {"weights": {"plain": 0.0}},
        {"time_scale": 0.0},
        {"queue_s": (3.0, 1.0)},
        {"max_webhook_attempts": 0},
    ],
)
def test_settings_that_cannot_work_are_refused_by_name(settings):
    """A setting that cannot work is named in the error."""
    [name] = settings

    with pytest.raises(ValueError, match=name):
        SimulatorConfig(seed=1, **settings)
