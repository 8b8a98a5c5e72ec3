"""
Every call of fal's that is served here, as one table: routes and published schema come from it.

Source: fal docs, Queue and Platform APIs (read 2026-10-07).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

from pydantic import BaseModel

from consumer.simulator import platform_bodies as platform
from consumer.simulator import platform_queries as queries
from consumer.simulator import queue_bodies as queue
from consumer.simulator.asked import Asked
from consumer.simulator.faults import Operation
from consumer.simulator.orders import SubmitHeaders, SubmitQuery

_PLATFORM_ERRORS: Mapping[int, Any] = MappingProxyType(
    {400: platform.ErrorBody, 429: platform.ErrorBody, 500: platform.ErrorBody}
)

_QUEUE_ERRORS: Mapping[int, Any] = MappingProxyType(
    {401: queue.DetailBody, 429: queue.DetailBody, 500: queue.DetailBody}
)
_UNKNOWN = queue.NotFoundBody | queue.DetailBody


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """
    One call: how it is made, and what it is answered by HTTP status.

    `is_open` calls need no key, `needs_admin` ones an ADMIN key. A value of `answers` is a type,
    for the statuses of `replayed` that of one among many: a model answers what it likes.
    `leads_to` are the calls that take the request id of this one's answer.
    """

    operation: Operation
    method: str
    path: str
    summary: str
    answers: Mapping[int, Any]
    query: type[BaseModel] = queries.NothingAsked
    headers: type[BaseModel] | None = None
    body: Any = None
    is_open: bool = False
    needs_admin: bool = False
    media_type: str = "application/json"
    replayed: frozenset[int] = frozenset()
    leads_to: tuple[Operation, ...] = ()


def _platform(operation: Operation, path: str, summary: str, answer: Any, **settings: Any) -> Call:
    answers = dict(_PLATFORM_ERRORS) | {200: answer}
    if not settings.get("is_open"):
        answers[401] = platform.ErrorBody
    if settings.get("needs_admin"):
        answers[403] = platform.ErrorBody
    for status in settings.pop("also", ()):
        answers[status] = platform.ErrorBody
    return Call(
        operation=operation,
        method=settings.pop("method", "GET"),
        path=path,
        summary=summary,
        answers=MappingProxyType(dict(sorted(answers.items()))),
        **settings,
    )


PLATFORM_CALLS: tuple[Call, ...] = (
    _platform(
        Operation.META,
        "/v1/meta",
        "Where webhooks come from",
        platform.MetaBody,
        is_open=True,
    ),
    _platform(
        Operation.MODELS,
        "/v1/models",
        "List and search models",
        platform.ModelsBody,
        query=queries.ModelsQuery,
        is_open=True,
        also=(404,),
    ),
    _platform(
        Operation.PRICING,
        "/v1/models/pricing",
        "Prices of endpoints",
        platform.PricesBody,
        query=queries.PricingQuery,
        also=(404,),
    ),
    _platform(
        Operation.ESTIMATE,
        "/v1/models/pricing/estimate",
        "What so many calls or units would cost",
        platform.EstimateBody,
        method="POST",
        body=queries.EstimateAsked,
        also=(404,),
    ),
    _platform(
        Operation.USAGE,
        "/v1/models/usage",
        "Cost by endpoint over time",
        platform.UsageBody,
        query=queries.UsageQuery,
        needs_admin=True,
    ),
    _platform(
        Operation.BILLING,
        "/v1/models/billing-events",
        "Cost by request",
        platform.BillingEventsBody,
        query=queries.BillingQuery,
        needs_admin=True,
    ),
    _platform(
        Operation.LISTING,
        "/v1/models/requests/by-endpoint",
        "The account's requests",
        platform.RequestsBody,
        query=queries.RequestsQuery,
    ),
    _platform(
        Operation.ACCOUNT,
        "/v1/account/billing",
        "The account and its credits",
        platform.AccountBody,
        query=queries.AccountQuery,
        needs_admin=True,
    ),
)


class LogsQuery(Asked):
    """Whether log lines are wanted."""

    logs: Literal["0", "1", "true", "false"] | None = None


def _queue(
    operation: Operation, call: str, summary: str, answers: Mapping[int, Any], **more: Any
) -> Call:
    method, tail = call.split(" ")
    known = dict(_QUEUE_ERRORS) | dict(answers)
    return Call(
        operation=operation,
        method=method,
        path="/{owner}/{app}" + tail,
        summary=summary,
        answers=MappingProxyType(dict(sorted(known.items()))),
        **more,
    )


def _submit(tail: str) -> Call:
    return _queue(
        Operation.SUBMIT,
        f"POST {tail}",
        "Submit a request",
        {200: queue.SubmitBody} | dict.fromkeys((400, 403, 404, 422), queue.DetailBody),
        query=SubmitQuery,
        headers=SubmitHeaders,
        body=dict[str, Any],
        leads_to=(Operation.STATUS, Operation.STREAM, Operation.RESULT, Operation.CANCEL),
    )


def _result(tail: str) -> Call:
    return _queue(
        Operation.RESULT,
        f"GET /requests/{{request_id}}{tail}",
        "The result: what the model answered, whatever that was",
        {
            200: Any,
            400: queue.NotReadyBody | queue.DetailBody,
            404: _UNKNOWN,
            422: queue.ModelErrorsBody,
            499: queue.DetailBody,
            502: queue.DetailBody,
            503: queue.DetailBody,
            504: queue.DetailBody,
        },
        replayed=frozenset({200}),
    )


QUEUE_CALLS: tuple[Call, ...] = (
    _submit(""),
    _submit("/{path}"),
    _queue(
        Operation.STATUS,
        "GET /requests/{request_id}/status",
        "The status: 202 until it is COMPLETED",
        {200: queue.StatusBody, 202: queue.StatusBody, 404: _UNKNOWN},
        query=LogsQuery,
    ),
    _queue(
        Operation.STREAM,
        "GET /requests/{request_id}/status/stream",
        "The status at each change, one event each, until it is COMPLETED",
        {200: queue.StatusBody, 404: _UNKNOWN},
        query=LogsQuery,
        media_type="text/event-stream",
    ),
    _result(""),
    _result("/response"),
    _queue(
        Operation.CANCEL,
        "PUT /requests/{request_id}/cancel",
        "Cancel: 200 out of the queue, 202 asked of the runner",
        {
            200: queue.CancelBody | queue.OldCancelBody,
            202: queue.CancelBody,
            400: queue.CancelBody,
            404: _UNKNOWN,
        },
    ),
)
QUEUE_METHODS: Mapping[Operation, str] = MappingProxyType(
    {call.operation: call.method for call in QUEUE_CALLS}
)
