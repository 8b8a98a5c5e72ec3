"""
The tools that an agent sees: names, descriptions, marks, and who may call which.

Names and their meaning are the product's interface. What a tool does stands in `reading`,
`recorded` and `direct`.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from mcp_types import Tool as ListedTool
from mcp_types import ToolAnnotations
from pydantic import BaseModel

from consumer.agents import answers, arguments
from consumer.agents.direct import Direct
from consumer.agents.reading import MAX_OUTPUT_BYTES, Progress, Reading
from consumer.agents.recorded import Recorded

COSTS_MONEY = "fal-consumer/costs-money"
"""The key in a tool's `_meta` that marks what is billed: the protocol has no hint for it."""

Run = Callable[[Any, Progress], Awaitable[BaseModel]]


@dataclass(frozen=True)
class Tool:
    """One tool. One that `changes` something needs a token of role operate."""

    name: str
    title: str
    description: str
    takes: type[BaseModel]
    gives: type[BaseModel]
    run: Run = field(repr=False)
    changes: bool = False
    is_destructive: bool = False
    costs_money: bool = False

    def listed(self) -> ListedTool:
        """Return the tool as the protocol lists it."""
        return ListedTool(
            name=self.name,
            title=self.title,
            description=self.description,
            input_schema=self.takes.model_json_schema(),
            output_schema=self.gives.model_json_schema(mode="serialization"),
            annotations=ToolAnnotations(
                title=self.title,
                read_only_hint=not self.changes,
                destructive_hint=self.is_destructive,
                idempotent_hint=not self.changes,
                open_world_hint=True,
            ),
            _meta={COSTS_MONEY: self.costs_money},
        )


def tools_of(reading: Reading, changing: Recorded | Direct) -> Mapping[str, Tool]:
    """Return the tools by name, in the order in which they are listed."""
    changes = _recorded(changing) if isinstance(changing, Recorded) else _direct(changing)
    tools = [*changes, *_about_requests(reading), *_about_models(reading)]
    return {tool.name: tool for tool in tools}


def _recorded(changing: Recorded) -> list[Tool]:
    return [
        Tool(
            "FAL_AI_SUBMIT",
            "Submit a job to fal (costs money)",
            "Submit a generative-media job to fal's queue. COSTS MONEY: fal bills the account "
            "for what the model makes (FAL_AI_GET_PRICING, FAL_AI_ESTIMATE_PRICING). Goes "
            "through the running fal-consumer service, which records it and follows it to its "
            "end. Returns the request id, not the result. Give a `command_id` of your own: a "
            "repeated call with the same one never sends a second job. fal does not check the "
            "input here: a wrong one fails later, so read the model's OpenAPI document first. "
            "Waits at most `wait_s` (1 to 120 s).",
            arguments.OfSubmit,
            answers.SubmitAnswer,
            changing.submit,
            changes=True,
            is_destructive=True,
            costs_money=True,
        ),
        Tool(
            "FAL_AI_CANCEL_QUEUE_REQUEST",
            "Cancel a request at fal",
            "Ask fal to stop a request, by its request id or submission id. Cannot be undone. "
            "Accepted is not cancelled: `asked` means that a running job was told to stop and "
            "may still succeed and be billed. Goes through the running fal-consumer service, "
            "which records it; the service must know the request. Waits at most `wait_s` "
            "(1 to 120 s).",
            arguments.OfCancel,
            answers.CancelAnswer,
            changing.cancel,
            changes=True,
            is_destructive=True,
        ),
    ]


def _direct(changing: Direct) -> list[Tool]:
    return [
        Tool(
            "FAL_AI_SUBMIT",
            "Submit a job to fal (costs money)",
            "Submit a generative-media job to fal's queue. COSTS MONEY: fal bills the account "
            "for what the model makes (FAL_AI_GET_PRICING, FAL_AI_ESTIMATE_PRICING). NOTHING IS "
            "RECORDED: fal is called at once, no service follows the job, and only you know its "
            "request id. Returns the request id, not the result. Give a `command_id` of your "
            "own: while this server runs, a repeated call with the same one never sends a "
            "second job; after a restart it would. fal does not check the input here: a wrong "
            "one fails later, so read the model's OpenAPI document first. Takes up to 60 s.",
            arguments.OfDirectSubmit,
            answers.SubmitAnswer,
            changing.submit,
            changes=True,
            is_destructive=True,
            costs_money=True,
        ),
        Tool(
            "FAL_AI_CANCEL_QUEUE_REQUEST",
            "Cancel a request at fal",
            "Ask fal to stop a request. Cannot be undone. NOTHING IS RECORDED: fal is called at "
            "once. Accepted is not cancelled: `asked` means that a running job was told to stop "
            "and may still succeed and be billed.",
            arguments.OfRequest,
            answers.CancelAnswer,
            changing.cancel,
            changes=True,
            is_destructive=True,
        ),
    ]


def _about_requests(reading: Reading) -> list[Tool]:
    return [
        Tool(
            "FAL_AI_QUEUE_GET_STATUS",
            "Status of a request",
            "Where a request stands in fal's queue: IN_QUEUE with the number of requests in "
            "front, IN_PROGRESS, COMPLETED, or NOT_FOUND; with its log lines on demand (the "
            "last 1000). COMPLETED covers success, failure and cancellation: "
            "FAL_AI_GET_QUEUE_REQUEST_RESULT tells which. Free.",
            arguments.OfStatus,
            answers.StatusAnswer,
            reading.status,
        ),
        Tool(
            "FAL_AI_QUEUE_GET_STATUS_STREAM",
            "Follow a request",
            "Follow a request until it ends, or for `follow_s` (1 to 300 s, 60 by default), and "
            "return each state it went through, once. `is_over` false: the time was up, so "
            "call again. Sends a progress notification for each state where you ask for them. "
            "Better than asking for the status again and again. Free.",
            arguments.OfStream,
            answers.StreamAnswer,
            reading.stream,
        ),
        Tool(
            "FAL_AI_GET_QUEUE_REQUEST_RESULT",
            "Result of a request",
            "The result of a request, as one of five outcomes: succeeded (`output`), "
            "model_failed (`detail`, the model's own words), infrastructure_failed, not_ready, "
            "expired. fal keeps results for an hour as a rule, large ones for minutes, so read "
            f"it soon. Outputs over {MAX_OUTPUT_BYTES // 1024} KiB are left out. Free.",
            arguments.OfRequest,
            answers.ResultAnswer,
            reading.result,
        ),
    ]


def _about_models(reading: Reading) -> list[Tool]:
    return [
        Tool(
            "FAL_AI_GET_MODELS",
            "Find models",
            "List or search fal's models: by endpoint ids, free text, category, status. With "
            "`openapi` each model's OpenAPI document, which describes its input and output. "
            f"Returns up to `limit` (1 to {arguments.MAX_MODELS}, 20 by default; at most "
            f"{arguments.MAX_MODELS_WITH_OPENAPI} with `openapi`); `skip` goes on from there. "
            "Free.",
            arguments.OfModels,
            answers.ModelsAnswer,
            reading.models,
        ),
        Tool(
            "FAL_AI_GET_PRICING",
            "Prices of models",
            "What one unit (an image, a second of video, …) of each endpoint costs this account. "
            f"1 to {arguments.MAX_ENDPOINTS} endpoints at once; those for which fal names no "
            "price are listed in `unknown`. Prices are exact decimals. Free.",
            arguments.OfPricing,
            answers.PricingAnswer,
            reading.pricing,
        ),
        Tool(
            "FAL_AI_ESTIMATE_PRICING",
            "Estimate a cost",
            "What a number of calls or of billing units would cost in all, over 1 to 50 "
            "endpoints: one total. An estimate; the bill may differ. Free.",
            arguments.OfEstimate,
            answers.EstimateAnswer,
            reading.estimate,
        ),
        Tool(
            "FAL_AI_GET_JWKS",
            "Keys that verify fal's webhooks",
            "fal's public Ed25519 keys, with which its webhooks are verified: their age in "
            "seconds and when they are fetched anew. A set younger than 1 h is not fetched "
            "again, unless `fresh`. Free.",
            arguments.OfKeySet,
            answers.KeySetAnswer,
            reading.key_set,
        ),
    ]
