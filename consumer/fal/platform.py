"""
fal's platform API: catalogue, prices, estimates, the account's requests and bills, addresses.

Lists are followed page by page, each only when its first item is wanted. Source: fal docs,
"Platform APIs", OpenAPI of 2026-08-21 and 2026-10-07.
"""

from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from functools import partial
from ipaddress import ip_network
from typing import Literal

from consumer.core.endpoint import is_endpoint_id, is_request_id
from consumer.core.text import dump_json
from consumer.errors import FalRefused
from consumer.fal import pages
from consumer.fal.answers import (
    BillingEvent,
    Estimate,
    EstimateKind,
    ListedRequest,
    Model,
    Price,
    Prices,
    WebhookRanges,
)
from consumer.fal.call import Call, Host
from consumer.fal.caller import Caller
from consumer.fal.reading import drift

MAX_IDS = 50
# In one call. Source: fal docs, "Platform APIs", common parameters (2026-10-07).
_MODELS_WITH_OPENAPI = 10  # a page of them has about a MiB
_MAX_TEXT_CHARS = 1000
_MIN_UNITS = Decimal("0.000001")
_QUANTITY = {"historical_api_price": "call_quantity", "unit_price": "unit_quantity"}

RequestOutcome = Literal["success", "error", "user_error"]


@dataclass(frozen=True, slots=True)
class Span:
    """From `start` to before `end`, aware; without them the last 24 hours, as fal has it."""

    start: datetime | None = None
    end: datetime | None = None


class Platform:
    """Asks the platform host."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller
        self._limits = caller.limits

    async def models(  # noqa: PLR0913  the catalogue has as many filters
        self,
        endpoints: Sequence[str] = (),
        *,
        text: str | None = None,
        category: str | None = None,
        status: Literal["active", "deprecated"] | None = None,
        has_openapi: bool = False,
        page_size: int | None = None,
    ) -> AsyncGenerator[Model, None]:
        """
        Yield the models of the catalogue that match all that is given, each once.

        Raises FalRefused 0 `bad_endpoint` before any call, FalRefused 404 where fal does not
        know one of the ids, and what every call raises.
        """
        _judge_endpoints(endpoints)
        for given in (text, category):
            if given is not None and not 0 < len(given) <= _MAX_TEXT_CHARS:
                raise FalRefused(0, "bad_text")
        limit = _MODELS_WITH_OPENAPI if page_size is None and has_openapi else page_size
        if limit is not None and not 1 <= limit <= 1000:
            raise FalRefused(0, "bad_page_size")
        seen = set[str]()
        size = min(MAX_IDS, limit or MAX_IDS)
        for ids in _batches(endpoints, size) if endpoints else iter([()]):
            query: pages.Query = {
                "endpoint_id": ids,
                "q": text,
                "category": category,
                "status": status,
                "expand": ["openapi-3.0"] if has_openapi else None,
                "limit": limit,
            }
            async with aclosing(
                pages.follow(self._caller, "models", "/models", query, pages.Page[Model], "models")
            ) as found:
                async for model in found:
                    if model.endpoint_id not in seen:  # pages may shift while they are read
                        seen.add(model.endpoint_id)
                        yield model

    async def pricing(self, endpoints: Sequence[str]) -> Prices:
        """
        Return the prices of these endpoints, and which of them fal does not know.

        More than 50 are asked for in several calls. Where fal refuses a call for one id that it
        does not know, the ids are asked for in halves, until it stands alone.
        Raises FalRefused 0 `bad_endpoint` before any call, and what every call raises.
        """
        _judge_endpoints(endpoints)
        prices: dict[str, Price] = {}
        waiting = list(_batches(dict.fromkeys(endpoints), MAX_IDS))
        while waiting:
            ids = waiting.pop()
            try:
                prices |= await self._prices(ids)
            except FalRefused as exc:
                if exc.http_status != 404:
                    raise
                if len(ids) > 1:
                    half = len(ids) // 2
                    waiting += [ids[:half], ids[half:]]
        asked = dict.fromkeys(endpoints)
        return Prices(
            prices=[prices[name] for name in asked if name in prices],
            unknown=[name for name in asked if name not in prices],
        )

    async def _prices(self, ids: Sequence[str]) -> dict[str, Price]:
        async with aclosing(
            pages.follow(
                self._caller,
                "pricing",
                "/models/pricing",
                {"endpoint_id": ids},
                pages.Page[Price],
                "prices",
            )
        ) as found:
            return {price.endpoint_id: price async for price in found}

    async def estimate(
        self, kind: EstimateKind, quantities: Mapping[str, int | Decimal]
    ) -> Estimate:
        """
        Return what these numbers of calls (`historical_api_price`) or of billing units
        (`unit_price`) would cost in all, by endpoint. fal names one total only.

        Raises FalRefused 0 `bad_endpoint`, `bad_quantity` or `no_endpoint` before any call.
        """
        _judge_endpoints(quantities)
        if not quantities:
            raise FalRefused(0, "no_endpoint")
        for quantity in quantities.values():
            _judge_quantity(kind, quantity)
        name = _QUANTITY[kind]
        body = {
            "estimate_type": kind,
            "endpoints": {
                endpoint: {name: _number(quantity)} for endpoint, quantity in quantities.items()
            },
        }
        call = Call(
            "estimate",
            "POST",
            "/models/pricing/estimate",
            self._limits.max_answer_bytes,
            headers={"Content-Type": "application/json"},
            body=dump_json(body),
            host=Host.API,
        )
        judge = partial(pages.read_answer, model=Estimate, operation="estimate")
        found = await self._caller.ask(call, self._limits.listing_s, judge)
        self._caller.tell(found.drifts)
        return found

    async def requests_by_endpoint(  # noqa: PLR0913  the listing has as many filters
        self,
        endpoints: Sequence[str],
        *,
        span: Span = Span(),
        outcome: RequestOutcome | None = None,
        request_id: str | None = None,
        has_payloads: bool = False,
        page_size: int | None = None,
    ) -> AsyncGenerator[ListedRequest, None]:
        """
        Yield the account's requests of these endpoints, the latest ends first.

        Without a span the last 24 hours, with a request id the last 90 days. What still waits
        in the queue is probably absent. Payloads are empty where fal stores none.
        """
        _judge_endpoints(endpoints)
        if not endpoints:
            raise FalRefused(0, "no_endpoint")
        _judge_request_ids([request_id] if request_id is not None else [])
        for ids in _batches(dict.fromkeys(endpoints), MAX_IDS):
            query: pages.Query = {
                "endpoint_id": ids,
                "limit": page_size,
                "start": span.start,
                "end": span.end,
                "status": outcome,
                "request_id": request_id,
                "expand": ["payloads"] if has_payloads else None,
            }
            path, page = "/models/requests/by-endpoint", pages.Page[ListedRequest]
            async with aclosing(
                pages.follow(self._caller, "listing", path, query, page, "items")
            ) as found:
                async for request in found:
                    yield request

    async def billing_events(
        self,
        *,
        span: Span = Span(),
        endpoints: Sequence[str] = (),
        request_ids: Sequence[str] = (),
    ) -> AsyncGenerator[BillingEvent, None]:
        """
        Yield what the account was billed for. Needs an ADMIN key: others are FalRefused 403.
        """
        _judge_endpoints(endpoints)
        _judge_request_ids(request_ids)
        for ids in _batches(request_ids, MAX_IDS) if request_ids else iter([()]):
            query: pages.Query = {
                "start": span.start,
                "end": span.end,
                "endpoint_id": list(endpoints),
                "request_id": list(ids),
            }
            path, page = "/models/billing-events", pages.Page[BillingEvent]
            async with aclosing(
                pages.follow(self._caller, "billing", path, query, page, "billing_events")
            ) as found:
                async for event in found:
                    yield event

    async def webhook_ip_ranges(self) -> list[str]:
        """
        Return the networks that fal's webhooks come from, as CIDR texts. They may change.

        Raises SchemaDrift where one is no network: an allow list must not be made of it.
        """
        call = Call(
            "meta", "GET", "/meta", self._limits.max_answer_bytes, host=Host.API, is_public=True
        )
        judge = partial(pages.read_answer, model=WebhookRanges, operation="meta")
        found = await self._caller.ask(call, self._limits.listing_s, judge)
        for text in found.webhook_ip_ranges:
            try:
                ip_network(text)
            except ValueError as exc:
                where = "webhook_ip_ranges"
                raise drift("meta", where, b"", expected="a network", value=text) from exc
        if found.drifts:
            raise found.drifts[0]
        return found.webhook_ip_ranges


def _batches(ids: Sequence[str] | Mapping[str, None], size: int) -> Iterator[list[str]]:
    names = list(ids)
    return (names[first : first + size] for first in range(0, len(names), size))


def _judge_endpoints(endpoints: Sequence[str] | Mapping[str, object]) -> None:
    if not all(is_endpoint_id(endpoint) for endpoint in endpoints):
        raise FalRefused(0, "bad_endpoint")


def _judge_request_ids(request_ids: Sequence[str]) -> None:
    if not all(is_request_id(request_id) for request_id in request_ids):
        raise FalRefused(0, "bad_request_id")


def _judge_quantity(kind: EstimateKind, quantity: int | Decimal) -> None:
    """Raise FalRefused 0 for what fal does not take: calls are whole, units above a millionth."""
    if kind not in _QUANTITY:
        raise FalRefused(0, "bad_estimate_kind")
    is_calls = kind == "historical_api_price"
    number = Decimal(quantity)
    is_fit = number.is_finite() and number <= 10**12
    is_fit = is_fit and (
        number >= 1 and number == int(number) if is_calls else number >= _MIN_UNITS
    )
    if not is_fit:
        raise FalRefused(0, "bad_quantity")


def _number(quantity: int | Decimal) -> int | float:
    number = Decimal(quantity)
    return int(number) if number == int(number) else float(number)
