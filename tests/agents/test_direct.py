"""Straight to fal: from submit to result, once, and every error a sentence."""

import asyncio

import pytest
from structlog.testing import capture_logs

from consumer.agents import direct as direct_module
from consumer.fal import FalAddresses, FalParts, open_client
from consumer.simulator import Fault, Operation
from tests.agents.conftest import ENDPOINT, KEY, UNKNOWN, agent_of
from tests.fal.conftest import QUICK, Canned, CannedServer, serving

HOSTILE = [
    "../..",
    "fal-ai/../x",
    "https://evil.example/a",
    "fal-ai/flux\r\nX: y",
    "fal-ai/\u0000",
    "a/b?c=d",
    "a",
    "",
    "x/" * 200 + "x",
]


async def submitted(agent, scenario: str = "plain", **more) -> str:
    answer = await agent.call(
        "FAL_AI_SUBMIT", endpoint=ENDPOINT, input={"simulate": scenario}, **more
    )
    return answer["request_id"]


async def followed(agent, request_id: str) -> dict:
    return await agent.call(
        "FAL_AI_QUEUE_GET_STATUS_STREAM", endpoint=ENDPOINT, request_id=request_id
    )


async def result_of(agent, request_id: str) -> dict:
    return await agent.call(
        "FAL_AI_GET_QUEUE_REQUEST_RESULT", endpoint=ENDPOINT, request_id=request_id
    )


async def test_a_job_goes_from_submit_to_result(agent):
    """An agent submits, follows to the end, and reads the output; nothing is recorded."""
    sent = await agent.call("FAL_AI_SUBMIT", endpoint=ENDPOINT, input={"prompt": "a cat"})
    stream = await followed(agent, sent["request_id"])
    result = await result_of(agent, sent["request_id"])

    assert ("submitted", False) == (sent["outcome"], sent["recorded"])
    assert "Nothing was recorded" in sent["next_step"]
    assert stream["is_over"]
    assert "COMPLETED" == stream["states"][-1]["status"]
    assert "succeeded" == result["outcome"]
    assert result["output"]["images"][0]["url"].startswith("https://")


async def test_the_same_command_id_is_one_job(agent, simulator):
    """A repeated submit, also at the same time, gives the same request and pays once."""
    one = {"command_id": "order-17"}

    first, second = await asyncio.gather(submitted(agent, **one), submitted(agent, **one))
    third = await submitted(agent, **one)

    assert [first] * 2 == [second, third]
    assert [first] == list(simulator.books().requests)


async def test_the_same_command_id_with_another_input_is_refused(agent, simulator):
    """An id that stands for one job is not used for another."""
    await submitted(agent, "plain", command_id="order-17")

    said = await agent.refused(
        "FAL_AI_SUBMIT", endpoint=ENDPOINT, input={"prompt": "b"}, command_id="order-17"
    )

    assert "choose a new command_id" in said
    assert 1 == len(simulator.books().requests)


async def test_a_made_command_id_is_returned(agent):
    """Without an id of its own the agent gets the one that was made."""
    sent = await agent.call("FAL_AI_SUBMIT", endpoint=ENDPOINT, input={})

    assert 32 == len(sent["command_id"])


async def test_an_unknown_submit_is_never_sent_again(agent, simulator):
    """Where fal's answer was cut the outcome is unknown, and the same id asks nothing more."""
    arguments = {"endpoint": ENDPOINT, "input": {"simulate": "unknown_submit"}}

    answers = [
        await agent.call("FAL_AI_SUBMIT", **arguments, command_id="order-18") for _ in range(2)
    ]

    assert ["unknown"] * 2 == [answer["outcome"] for answer in answers]
    assert "may pay twice" in answers[0]["next_step"]
    assert 1 == len(simulator.books().requests)


async def test_a_refused_submit_may_be_tried_again_under_its_id(agent, simulator):
    """A certain no leaves no job, so its id is free."""
    simulator.plan_faults(Operation.SUBMIT, Fault.LOCKED, 1)

    said = await agent.refused(
        "FAL_AI_SUBMIT", endpoint=ENDPOINT, input={"simulate": "plain"}, command_id="order-19"
    )

    assert "locked the account" in said
    assert await submitted(agent, command_id="order-19")


async def test_what_was_sent_is_never_forgotten(agent, monkeypatch, simulator):
    """A server that remembers no more refuses, and sends nothing."""
    monkeypatch.setattr(direct_module, "MAX_REMEMBERED", 1)
    await submitted(agent)

    said = await agent.refused("FAL_AI_SUBMIT", endpoint=ENDPOINT, input={})

    assert "remembers no more" in said
    assert 1 == len(simulator.books().requests)


async def test_an_agent_that_leaves_does_not_cut_a_paid_call():
    """A call that its agent gives up goes on, is told in the log, and its id gives its request."""
    canned = CannedServer()
    canned.answer(Canned(body=b'{"request_id": "%s"}' % UNKNOWN.encode(), fault="hang"))
    arguments = {"endpoint": ENDPOINT, "input": {}, "command_id": "order-20"}
    async with serving(canned.handle) as url:
        addresses = FalAddresses(url, url, url)
        async with open_client(KEY, addresses, FalParts(QUICK)) as fal:
            agent = agent_of(fal, direct_module.Direct(fal))
            leaving = asyncio.create_task(agent.call("FAL_AI_SUBMIT", **arguments))
            await canned.hung.wait()

            leaving.cancel()
            await asyncio.gather(leaving, return_exceptions=True)
            canned.let_go.set()
            with capture_logs() as lines:
                sent = await agent.call("FAL_AI_SUBMIT", **arguments)

    assert (UNKNOWN, 1) == (sent["request_id"], len(canned.seen))
    assert ("submission.sent", "order-20", UNKNOWN) == tuple(
        lines[0][key] for key in ("event", "command_id", "request_id")
    )


async def test_cancels_have_distinct_outcomes(agent):
    """Removed, ended already and unknown are told apart; only the first is cancelled."""
    stuck, done = await submitted(agent, "stuck"), await submitted(agent)
    await followed(agent, done)

    answers = [
        await agent.call("FAL_AI_CANCEL_QUEUE_REQUEST", endpoint=ENDPOINT, request_id=request_id)
        for request_id in (stuck, done, UNKNOWN)
    ]

    assert [("removed", True), ("already_completed", False), ("not_found", False)] == [
        (answer["outcome"], answer["is_cancelled"]) for answer in answers
    ]
    assert not any(answer["recorded"] for answer in answers)


async def test_status_tells_the_place_and_what_to_do(agent):
    """A queued request has its position, and the next step names a tool."""
    status = await agent.call(
        "FAL_AI_QUEUE_GET_STATUS", endpoint=ENDPOINT, request_id=await submitted(agent, "stuck")
    )

    assert ("IN_QUEUE", False) == (status["status"], status["is_over"])
    assert status["queue_position"] >= 0
    assert "FAL_AI_QUEUE_GET_STATUS_STREAM" in status["next_step"]


async def test_a_stream_is_bounded(agent):
    """A request that never ends is given back after the time asked for, as not over."""
    stream = await agent.call(
        "FAL_AI_QUEUE_GET_STATUS_STREAM",
        endpoint=ENDPOINT,
        request_id=await submitted(agent, "stuck"),
        follow_s=1,
    )

    assert not stream["is_over"]
    assert "IN_QUEUE" == stream["states"][-1]["status"]
    assert "call again" in stream["next_step"]


async def test_progress_is_told_where_it_is_asked_for(agent):
    """Each state of a stream is a progress notification with a sentence."""
    told = []

    async def hear(progress, _total, message):
        told.append((progress, message))

    arguments = {"endpoint": ENDPOINT, "request_id": await submitted(agent)}
    async with agent.client() as client:
        result = await client.call_tool(
            "FAL_AI_QUEUE_GET_STATUS_STREAM", arguments, progress_callback=hear
        )

    states = result.structured_content["states"]
    assert len(states) == len(told)
    assert (float(len(states)), "COMPLETED") == told[-1]


@pytest.mark.parametrize(
    "scenario, outcome",
    [
        ("error_422", "model_failed"),
        ("error_infrastructure", "infrastructure_failed"),
        ("payload_null", "succeeded"),
        ("huge_seed", "succeeded"),
        ("nul_prompt", "succeeded"),
        ("surrogate_prompt", "succeeded"),
        ("deep_nesting", "succeeded"),
        ("big_body", "succeeded"),
    ],
)
async def test_every_kind_of_result_reaches_the_agent(agent, scenario, outcome):
    """Whatever a model answered, the result is told as one of the outcomes."""
    request_id = await submitted(agent, scenario)
    await followed(agent, request_id)

    result = await result_of(agent, request_id)

    assert (outcome, True) == (result["outcome"], result["is_over"])


async def test_an_output_too_large_is_left_out_with_its_size(agent):
    """An output over the limit is not returned; its size and where to get it are."""
    request_id = await submitted(agent, "big_body")
    await followed(agent, request_id)

    result = await result_of(agent, request_id)

    assert "output" not in result
    assert result["output_bytes"] > 256 * 1024
    assert "left out" in result["next_step"]


async def test_a_result_too_early_is_not_ready(agent):
    """A result that is not there yet is an answer, not an error."""
    result = await result_of(agent, await submitted(agent, "stuck"))

    assert ("not_ready", False) == (result["outcome"], result["is_over"])


async def test_models_are_found_and_paged(agent):
    """Models come up to the limit, with word of more."""
    ids = ["fal-ai/flux/dev", "fal-ai/flux/schnell", "fal-ai/veo3"]

    page = await agent.call("FAL_AI_GET_MODELS", endpoints=ids, limit=2)
    rest = await agent.call("FAL_AI_GET_MODELS", endpoints=ids, limit=2, skip=2)

    assert (2, True) == (len(page["models"]), page["has_more"])
    assert (1, False) == (len(rest["models"]), rest["has_more"])
    found = {model["endpoint_id"] for model in page["models"] + rest["models"]}
    assert set(ids) == found


async def test_prices_and_estimates_are_exact(agent):
    """Prices are decimals as text; an estimate is one total."""
    prices = await agent.call("FAL_AI_GET_PRICING", endpoints=[ENDPOINT])
    estimate = await agent.call(
        "FAL_AI_ESTIMATE_PRICING", basis="unit_price", quantities={ENDPOINT: 4}
    )

    assert [ENDPOINT] == [price["endpoint_id"] for price in prices["prices"]]
    assert float(prices["prices"][0]["unit_price"]) * 4 == float(estimate["total_cost"])


async def test_keys_have_an_age(agent):
    """The key set tells its keys, its age and when it is fetched anew."""
    held = await agent.call("FAL_AI_GET_JWKS")

    assert held["keys"]
    assert held["age_s"] >= 0
    assert held["refresh_at"] > held["fetched_at"]


@pytest.mark.parametrize("endpoint", HOSTILE)
async def test_hostile_ids_cause_no_call(endpoint):
    """An id outside its grammar is told to the agent, and fal hears nothing."""
    canned = CannedServer()
    async with serving(canned.handle) as url:
        addresses = FalAddresses(url, url, url)
        async with open_client(KEY, addresses, FalParts(QUICK)) as fal:
            agent = agent_of(fal, direct_module.Direct(fal))
            ids = {"endpoint": endpoint, "request_id": UNKNOWN}
            said = [
                await agent.refused("FAL_AI_SUBMIT", endpoint=endpoint, input={}),
                await agent.refused("FAL_AI_QUEUE_GET_STATUS", **ids),
                await agent.refused("FAL_AI_QUEUE_GET_STATUS_STREAM", **ids),
                await agent.refused("FAL_AI_GET_QUEUE_REQUEST_RESULT", **ids),
                await agent.refused("FAL_AI_CANCEL_QUEUE_REQUEST", **ids),
                await agent.refused("FAL_AI_GET_PRICING", endpoints=[endpoint]),
                await agent.refused("FAL_AI_GET_MODELS", endpoints=[endpoint]),
                await agent.refused(
                    "FAL_AI_ESTIMATE_PRICING", basis="unit_price", quantities={endpoint: 1}
                ),
                await agent.refused(
                    "FAL_AI_GET_QUEUE_REQUEST_RESULT", endpoint=ENDPOINT, request_id=endpoint
                ),
            ]

    assert [] == canned.seen
    assert all(sentence.startswith("Nothing was asked: ") for sentence in said)
    assert not any("evil" in sentence or "pydantic" in sentence for sentence in said)


async def test_an_unknown_request_is_told_what_to_check(agent):
    """A result of an id that fal never gave is an error that says what to look at."""
    said = await agent.refused(
        "FAL_AI_GET_QUEUE_REQUEST_RESULT", endpoint=ENDPOINT, request_id=UNKNOWN
    )

    assert "fal knows no request of this id" in said


async def test_no_key_ever_reaches_an_agent(simulator):
    """A refused key is told as such, without a part of it."""
    addresses = FalAddresses(simulator.url, simulator.platform_url, simulator.jwks_url)
    async with open_client("wrong-id:wrong-secret", addresses, FalParts(QUICK)) as fal:
        agent = agent_of(fal, direct_module.Direct(fal))
        said = [
            await agent.refused("FAL_AI_SUBMIT", endpoint=ENDPOINT, input={}),
            await agent.refused("FAL_AI_GET_PRICING", endpoints=[ENDPOINT]),
        ]

    assert all("does not take this server's key" in sentence for sentence in said)
    assert not any("wrong" in sentence for sentence in said)


async def test_trouble_at_fal_is_a_sentence(agent, simulator):
    """Fal that does not answer is told with what to do."""
    request_id = await submitted(agent, "stuck")
    simulator.plan_faults(Operation.STATUS, Fault.NGINX_502, 50)

    said = await agent.refused("FAL_AI_QUEUE_GET_STATUS", endpoint=ENDPOINT, request_id=request_id)

    assert said.startswith("fal does not answer now (http_502): call again in ")


async def test_without_a_key_only_the_key_set_can_be_read(simulator):
    """A server without a key reads fal's public keys, and says of the rest whom to ask."""
    addresses = FalAddresses(simulator.url, simulator.platform_url, simulator.jwks_url)
    async with open_client(None, addresses, FalParts(QUICK)) as fal:
        agent = agent_of(fal, direct_module.Direct(fal))
        held = await agent.call("FAL_AI_GET_JWKS")
        said = [
            await agent.refused("FAL_AI_GET_MODELS"),
            await agent.refused("FAL_AI_SUBMIT", endpoint=ENDPOINT, input={}),
        ]

    assert held["keys"]
    assert all("has no fal key" in sentence for sentence in said)
