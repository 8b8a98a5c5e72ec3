"""The tools over a simulated fal, asked by the SDK's own client in this process."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import pytest
from mcp import Client
from mcp_types import CallToolResult

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
    """What an agent can do: list tools and call them."""

    client: Client

    async def call(self, tool: str, **arguments: Any) -> dict[str, Any]:
        """Call a tool; its structured answer."""
        result = await self.client.call_tool(tool, arguments)
        assert not result.is_error, result.content[0].text
        return result.structured_content

    async def refused(self, tool: str, **arguments: Any) -> str:
        """Call a tool that must fail; the sentence it is told."""
        result: CallToolResult = await self.client.call_tool(tool, arguments)
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


OpenAgent = Callable[..., Any]


@pytest.fixture
async def open_agent() -> AsyncIterator[OpenAgent]:
    """Open an agent on tools, by default with the role operate; closed when the test ends."""
    async with AsyncExitStack() as stack:

        async def open_it(
            fal: FalClient, changing: Any, role: AgentRole = AgentRole.OPERATE, **more: Any
        ) -> Agent:
            joined = ToolServer(tools_of(Reading(fal), changing), lambda _context: role)
            server = joined.server(is_recorded=changing.is_recorded)
            client = Client(server, raise_exceptions=True, **more)
            return Agent(await stack.enter_async_context(client))

        yield open_it


@pytest.fixture
async def agent(open_agent: OpenAgent, fal: FalClient, direct: Direct) -> Agent:
    """An agent whose changes go straight to fal."""
    return await open_agent(fal, direct)
