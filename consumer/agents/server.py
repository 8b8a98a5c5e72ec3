"""
The tools as a server of the official SDK: lists them, judges each call, words its outcome.

Whatever goes wrong in a tool is an `isError` result with a sentence; a traceback goes to
the log, never to an agent.
"""

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from enum import StrEnum
from importlib.metadata import version
from typing import Any

from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp_types import (
    CallToolRequestParams,
    CallToolResult,
    ListToolsResult,
    PaginatedRequestParams,
    TextContent,
)
from pydantic import BaseModel, ValidationError

from consumer.agents.sentences import ToolFailed, mistakes_of, sentence_of
from consumer.agents.tools import Tool
from consumer.core.text import dump_json, printable, storable
from consumer.errors import ConsumerError
from consumer.telemetry import get_logger

_log = get_logger()

MAX_IN_HAND = 32
# Calls at once, of all agents together; a stream may hold its place for five minutes.

_INSTRUCTIONS = """\
Runs generative-media jobs on fal.ai. The usual way: FAL_AI_GET_MODELS (find a model, read its \
input with `openapi`), FAL_AI_GET_PRICING, FAL_AI_SUBMIT (costs money; choose a `command_id` and \
keep it), FAL_AI_QUEUE_GET_STATUS_STREAM until `is_over`, FAL_AI_GET_QUEUE_REQUEST_RESULT. \
Every answer's `next_step` and every error say what to do next."""
_UNRECORDED = " This server calls fal at once and records nothing."

Context = ServerRequestContext[dict[str, Any], Any]


class AgentRole(StrEnum):
    """What a caller may do; `operate` includes `read`."""

    READ = "read"
    OPERATE = "operate"


class ToolServer:
    """What the SDK calls. Makes its server by `server`."""

    def __init__(self, tools: Mapping[str, Tool], role_of: Callable[[Context], AgentRole]) -> None:
        self._tools = tools
        self._role_of = role_of
        self._in_hand = 0
        self._is_stopping = False
        self._idle = asyncio.Event()
        self._idle.set()

    def server(self, *, is_recorded: bool) -> Server[dict[str, Any]]:
        """Return the SDK's server over these tools."""
        return Server(
            "fal-consumer",
            title="fal.ai by fal-consumer",
            version=version("fal-consumer"),
            instructions=_INSTRUCTIONS + ("" if is_recorded else _UNRECORDED),
            on_list_tools=self.list_tools,
            on_call_tool=self.call_tool,
        )

    async def list_tools(
        self, context: Context, _params: PaginatedRequestParams | None
    ) -> ListToolsResult:
        """Return the tools that this caller may call."""
        role = self._role_of(context)
        return ListToolsResult(
            tools=[tool.listed() for tool in self._tools.values() if _may_call(role, tool)]
        )

    async def call_tool(self, context: Context, params: CallToolRequestParams) -> CallToolResult:
        """Run a tool and return its answer, or a sentence as an error."""
        tool = self._tools.get(params.name)
        if tool is None:
            names = ", ".join(self._tools)
            return _failed(f"There is no tool of this name. There are: {names}.")
        if not _may_call(self._role_of(context), tool):
            _log.warning("tool.refused", tool=tool.name)
            return _failed(
                f"{tool.name} changes something and needs a token of role operate; yours may "
                "only read. Ask whoever runs this server for another token."
            )
        if self._is_stopping:
            return _failed("This server is stopping: call again once it has started anew.")
        if self._in_hand >= MAX_IN_HAND:
            return _failed(f"{MAX_IN_HAND} calls are under way already: wait and call again.")
        with self._held():
            return await self._timed(tool, context, params.arguments or {})

    async def drain(self, timeout: float) -> None:
        """Take no more calls, and wait for those in hand, at most `timeout` seconds."""
        self._is_stopping = True
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self._idle.wait()

    @contextmanager
    def _held(self) -> Iterator[None]:
        self._in_hand += 1
        self._idle.clear()
        try:
            yield
        finally:
            self._in_hand -= 1
            if not self._in_hand:
                self._idle.set()

    async def _timed(
        self, tool: Tool, context: Context, given: Mapping[str, Any]
    ) -> CallToolResult:
        began, outcome = time.monotonic(), "interrupted"
        try:
            outcome, result = await self._outcome(tool, context, given)
            return result
        finally:
            took = round((time.monotonic() - began) * 1000)
            _log.info("tool.called", tool=tool.name, outcome=outcome, duration_ms=took)

    async def _outcome(
        self, tool: Tool, context: Context, given: Mapping[str, Any]
    ) -> tuple[str, CallToolResult]:
        async def progress(done: float, told: str) -> None:
            await context.session.report_progress(done, None, printable(told))

        try:
            asked = tool.takes.model_validate(given)
            answer = await tool.run(asked, progress)
        except ValidationError as exc:
            return "unusable", _failed(mistakes_of(exc))
        except ToolFailed as exc:
            return "refused", _failed(str(exc))
        except ConsumerError as exc:
            return exc.code, _failed(sentence_of(exc))
        except Exception:  # noqa: BLE001  the outermost edge: told in the log, not to the agent
            _log.error("tool.crashed", tool=tool.name, exc_info=True)
            return "crashed", _failed(
                "This is a mistake of fal-consumer itself; its log has the details. If it was a "
                "submit, repeat it with the same command_id only."
            )
        return "answered", _succeeded(answer)


def _may_call(role: AgentRole, tool: Tool) -> bool:
    return role is AgentRole.OPERATE or not tool.changes


def _succeeded(answer: BaseModel) -> CallToolResult:
    # The protocol asks for the same as text, for clients that read no structured content.
    value = answer.model_dump(mode="json", exclude_none=True)
    text = dump_json(value).decode("ascii")
    return CallToolResult(
        content=[TextContent(type="text", text=text)], structured_content=_sayable(value)
    )


def _sayable(value: Any) -> Any:
    """Return a JSON value whose texts can be written as UTF-8: fal emits lone surrogates."""
    match value:
        case str():
            return storable(value)
        case list():
            return [_sayable(one) for one in value]
        case dict():
            return {storable(name): _sayable(one) for name, one in value.items()}
        case _:
            return value


def _failed(sentence: str) -> CallToolResult:
    return CallToolResult(content=[TextContent(type="text", text=sentence)], is_error=True)
