"""The tools over a simulated fal, asked by the SDK's own client in this process."""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
from mcp import Client
from mcp.server.lowlevel import Server
from mcp_types import Tool

from consumer.agents.direct import Direct
from consumer.agents.reading import Reading
from consumer.agents.server import AgentRole, ToolServer
from consumer.agents.tools import tools_of
from consumer.fal import FalAddresses, FalClient, FalParts, open_client
from consumer.simulator import Simulator, SimulatorConfig
from tests.fal.conftest import QUICK

KEY = "id-of-key:secret-of-key"
ENDPOINT = "fal-ai/flux/dev"
UNKNOWN = "019f7085-1439-7320-9a28-939d54dfcee5"


@dataclass
class Agent:
    """What an agent can do: list tools and call them, each time over a client of its own."""

    server: Server[Any]
    mode: str = "auto"

    def client(self) -> Client:
        """Return a client, to be entered."""
        return Client(self.server, mode=self.mode)

    async def listed(self) -> dict[str, Tool]:
        """List the tools, by name."""
        async with self.client() as client:
            return {tool.name: tool for tool in (await client.list_tools()).tools}

    async def call(self, tool: str, **arguments: Any) -> dict[str, Any]:
        """Call a tool; its structured answer, which is also there as text."""
        async with self.client() as client:
            result = await client.call_tool(tool, arguments)
        assert not result.is_error, result.content[0].text
        assert json.loads(result.content[0].text).keys() == result.structured_content.keys()
        return result.structured_content

    async def refused(self, tool: str, **arguments: Any) -> str:
        """Call a tool that must fail; the sentence it is told."""
        async with self.client() as client:
            result = await client.call_tool(tool, arguments)
        assert result.is_error, result.structured_content
        (block,) = result.content
        return block.text


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    """A simulator for which a second of fal's lasts a millisecond."""
    config = SimulatorConfig(seed=7, time_scale=0.001, api_key=KEY)
    async with Simulator(config) as running:
        yield running


@pytest.fixture
async def fal(simulator: Simulator) -> AsyncIterator[FalClient]:
    """The real client before it."""
    addresses = FalAddresses(simulator.url, simulator.platform_url, simulator.jwks_url)
    async with open_client(KEY, addresses, FalParts(QUICK)) as client:
        yield client


@pytest.fixture
async def direct(fal: FalClient) -> AsyncIterator[Direct]:
    """Changes straight at fal."""
    changing = Direct(fal)
    yield changing
    await changing.drain()


def agent_of(fal: FalClient, changing: Any, role: AgentRole = AgentRole.OPERATE) -> Agent:
    """Return an agent on the tools over this client, with this role."""
    return agent_over(Reading(fal), changing, role)


def agent_over(reading: Reading, changing: Any, role: AgentRole = AgentRole.OPERATE) -> Agent:
    """Return an agent on the tools over these parts, with this role."""
    joined = ToolServer(tools_of(reading, changing), lambda _context: role)
    return Agent(joined.server(is_recorded=changing.is_recorded))


@pytest.fixture
def agent(fal: FalClient, direct: Direct) -> Agent:
    """An agent whose changes go straight to fal."""
    return agent_of(fal, direct)
