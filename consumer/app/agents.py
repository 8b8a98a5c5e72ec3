"""The tools for agents, joined to fal and to a running service. Needs the extra `mcp`."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

from consumer.agents.direct import Direct
from consumer.agents.reading import Reading
from consumer.agents.recorded import Recorded
from consumer.agents.server import AgentRole
from consumer.agents.serving import Door, Holder, serve_http, serve_stdio
from consumer.agents.tools import Tool, tools_of
from consumer.app.credentials import console_tokens, fal_credential
from consumer.app.reading import open_desk, open_ledger
from consumer.app.values import utc_now
from consumer.console.api import find_token
from consumer.errors import ConfigError, LedgerUnavailable
from consumer.fal import FalAddresses, FalLimits, FalParts, open_client
from consumer.folder import DataFolder
from consumer.settings import Address, Settings


@asynccontextmanager
async def open_tools(settings: Settings, *, is_direct: bool) -> AsyncIterator[dict[str, Tool]]:
    """
    Open fal, and give the tools over it. Those that change something go through the service
    of the data folder, or, with `is_direct`, straight to fal.
    """
    addresses = FalAddresses(settings.queue_url, settings.api_url, settings.jwks_url)
    parts = FalParts(FalLimits(submit_s=settings.submit_timeout_s))
    async with AsyncExitStack() as stack:
        client = open_client(fal_credential(settings), addresses, parts)
        fal = await stack.enter_async_context(client)
        if is_direct:
            direct = Direct(fal)
            stack.push_async_callback(direct.drain)
            yield dict(tools_of(Reading(fal), direct))
        else:
            recorded = Recorded(lambda: open_desk(settings), utc_now)
            yield dict(tools_of(Reading(fal, partial(recall_result, settings)), recorded))


async def recall_result(settings: Settings, request_id: str) -> bytes | None:
    """Return the result event that the ledger holds of a request; None where there is none."""
    try:
        async with open_ledger(settings) as ledger:
            return await ledger.result(request_id)
    except (ConfigError, LedgerUnavailable):  # fal's own answer stands without it
        return None


async def serve_agents(settings: Settings, *, is_direct: bool, stop: asyncio.Event) -> None:
    """Serve the tools on standard input and output until it is closed, or `stop`."""
    async with open_tools(settings, is_direct=is_direct) as tools:
        await serve_stdio(
            tools,
            is_recorded=not is_direct,
            stop=stop,
            stop_within_s=settings.stop_timeout_s,
        )


@asynccontextmanager
async def serve_agents_http(
    settings: Settings, address: Address, names: Sequence[str], *, is_direct: bool
) -> AsyncIterator[str]:
    """
    Serve the tools over HTTP behind the console's tokens, while the context lasts; gives the URL.

    Raises ConfigError when the address cannot be had, or there are no usable tokens.
    """
    folder = DataFolder(settings.data_dir)
    if settings.console_tokens_file is None:
        folder.make()
    tokens = console_tokens(settings, folder)

    def find_holder(given: str) -> Holder | None:
        token = find_token(tokens, given)
        return (token.name, AgentRole(token.role.value)) if token else None

    door = Door(address.host, address.port, names, find_holder)
    async with AsyncExitStack() as stack:
        tools = await stack.enter_async_context(open_tools(settings, is_direct=is_direct))
        serving = serve_http(
            tools, door, is_recorded=not is_direct, stop_within_s=settings.stop_timeout_s
        )
        try:
            url = await stack.enter_async_context(serving)
        except OSError as exc:
            problem = f"{address.host}:{address.port} cannot be had ({exc.strerror or exc})"
            raise ConfigError([f"--http: {problem}"]) from exc
        yield url
