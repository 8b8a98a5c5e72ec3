"""The tools as an agent sees them: names, schemas, marks, roles."""

import jsonschema
import pytest

from consumer.agents.recorded import Recorded
from consumer.agents.server import AgentRole
from consumer.agents.tools import COSTS_MONEY
from consumer.app.values import utc_now
from tests.agents.conftest import agent_of

CHANGING = {"FAL_AI_SUBMIT", "FAL_AI_CANCEL_QUEUE_REQUEST"}
READING = {
    "FAL_AI_ESTIMATE_PRICING",
    "FAL_AI_GET_JWKS",
    "FAL_AI_GET_MODELS",
    "FAL_AI_GET_PRICING",
    "FAL_AI_GET_QUEUE_REQUEST_RESULT",
    "FAL_AI_QUEUE_GET_STATUS",
    "FAL_AI_QUEUE_GET_STATUS_STREAM",
}


@pytest.fixture
def recorded():
    """Changes through a service that nobody needs here."""

    def no_desk():
        raise AssertionError("no desk is opened by listing")

    return Recorded(no_desk, utc_now)


async def test_the_tools_have_their_names(agent):
    """Nine tools are listed, by the names that agents were promised."""
    assert CHANGING | READING == set(await agent.listed())


@pytest.mark.parametrize("way", ["direct", "recorded"])
async def test_what_changes_something_is_marked(fal, direct, recorded, way):
    """Reading tools are read-only and idempotent; submit and cancel are destructive and not."""
    agent = agent_of(fal, direct if way == "direct" else recorded)

    marks = {
        name: (
            tool.annotations.read_only_hint,
            tool.annotations.idempotent_hint,
            tool.annotations.destructive_hint,
            tool.annotations.open_world_hint,
            tool.meta[COSTS_MONEY],
        )
        for name, tool in (await agent.listed()).items()
    }

    reads = dict.fromkeys(READING, (True, True, False, True, False))
    submits = {"FAL_AI_SUBMIT": (False, False, True, True, True)}
    cancels = {"FAL_AI_CANCEL_QUEUE_REQUEST": (False, False, True, True, False)}
    assert reads | submits | cancels == marks


@pytest.mark.parametrize("way", ["direct", "recorded"])
async def test_schemas_are_schemas(fal, direct, recorded, way):
    """Each tool has a title, a description, and schemas of objects for input and output."""
    agent = agent_of(fal, direct if way == "direct" else recorded)

    for tool in (await agent.listed()).values():
        assert tool.title == tool.annotations.title
        assert len(tool.description) > 60
        for schema in (tool.input_schema, tool.output_schema):
            jsonschema.Draft202012Validator.check_schema(schema)
            assert "object" == schema["type"]
        assert tool.input_schema["additionalProperties"] is False


@pytest.mark.parametrize("name", sorted(CHANGING))
async def test_the_direct_way_says_that_nothing_is_recorded(fal, direct, recorded, name):
    """The description tells an agent whether what it does is recorded."""
    straight = await agent_of(fal, direct).listed()
    kept = await agent_of(fal, recorded).listed()

    assert "NOTHING IS RECORDED" in straight[name].description
    assert "which records it" in kept[name].description


async def test_the_costly_tool_says_so(agent):
    """An agent reads that a submit costs money before it calls it."""
    tool = (await agent.listed())["FAL_AI_SUBMIT"]

    assert "COSTS MONEY" in tool.description
    assert "costs money" in tool.title


async def test_the_role_read_gets_the_reading_tools_only(fal, direct, simulator):
    """A reader neither sees nor calls what changes something."""
    agent = agent_of(fal, direct, AgentRole.READ)

    said = await agent.refused("FAL_AI_SUBMIT", endpoint="fal-ai/flux/dev", input={})

    assert READING == set(await agent.listed())
    assert "needs a token of role operate" in said
    assert {} == simulator.books().requests


async def test_an_unknown_tool_is_told_which_there_are(agent):
    """A wrong name is answered with the right ones."""
    assert "FAL_AI_GET_MODELS" in await agent.refused("FAL_AI_GET_WEATHER")
