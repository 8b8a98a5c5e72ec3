"""
Every call of fal's that is served here, as one table: routes and published schema come from it.

Source: fal docs, Queue and Platform APIs (read 2026-10-07).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from pydantic import BaseModel

from consumer.simulator import platform_bodies as platform
from consumer.simulator import platform_queries as asked
from consumer.simulator.faults import Operation

_PLATFORM_ERRORS: Mapping[int, Any] = MappingProxyType(
    {400: platform.ErrorBody, 429: platform.ErrorBody, 500: platform.ErrorBody}
)

QUEUE_METHODS: Mapping[Operation, str] = MappingProxyType(
    {
        Operation.SUBMIT: "POST",
        Operation.STATUS: "GET",
        Operation.STREAM: "GET",
        Operation.RESULT: "GET",
        Operation.CANCEL: "PUT",
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """
    One call: how it is made, and what it is answered by HTTP status.

    `is_open` calls need no key, `needs_admin` ones an ADMIN key. A value of `answers` is a type.
    """

    operation: Operation
    method: str
    path: str
    summary: str
    answers: Mapping[int, Any]
    query: type[BaseModel] = asked.NothingAsked
    headers: type[BaseModel] | None = None
    body: Any = None
    is_open: bool = False
    needs_admin: bool = False
    media_type: str = "application/json"
    links: tuple[Operation, ...] = field(default=())


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
        query=asked.ModelsQuery,
        is_open=True,
        also=(404,),
    ),
    _platform(
        Operation.PRICING,
        "/v1/models/pricing",
        "Prices of endpoints",
        platform.PricesBody,
        query=asked.PricingQuery,
        also=(404,),
    ),
    _platform(
        Operation.ESTIMATE,
        "/v1/models/pricing/estimate",
        "What so many calls or units would cost",
        platform.EstimateBody,
        method="POST",
        body=asked.EstimateAsked,
        also=(404,),
    ),
    _platform(
        Operation.USAGE,
        "/v1/models/usage",
        "Cost by endpoint over time",
        platform.UsageBody,
        query=asked.UsageQuery,
        needs_admin=True,
    ),
    _platform(
        Operation.BILLING,
        "/v1/models/billing-events",
        "Cost by request",
        platform.BillingEventsBody,
        query=asked.BillingQuery,
        needs_admin=True,
    ),
    _platform(
        Operation.LISTING,
        "/v1/models/requests/by-endpoint",
        "The account's requests",
        platform.RequestsBody,
        query=asked.RequestsQuery,
    ),
    _platform(
        Operation.ACCOUNT,
        "/v1/account/billing",
        "The account and its credits",
        platform.AccountBody,
        query=asked.AccountQuery,
        needs_admin=True,
    ),
)
