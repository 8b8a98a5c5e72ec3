"""
The platform API under `/v1`: models, the request listing, prices, billing events, meta.

Only what a consumer of results needs; errors come in the platform's envelope, pages as
base64 page numbers. Source: fal docs, Platform APIs (read 2026-10-07).
"""

import json
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from aiohttp import web
from multidict import MultiMapping

from consumer.simulator import platform_query as reading
from consumer.simulator.config import SimulatorConfig
from consumer.simulator.door import Door
from consumer.simulator.errors import refusal
from consumer.simulator.faults import Operation
from consumer.simulator.jobqueue import JobQueue
from consumer.simulator.jobs import Job
from consumer.simulator.platform_query import BadQueryError
from consumer.simulator.standing import Api

UNIT_PRICE_USD = 0.025
_MAX_LISTED_REQUESTS = 100
_MAX_LISTED_EVENTS = 10_000
_STATUS_CLASSES = {"success": (200, 400), "user_error": (400, 500), "error": (500, 600)}

_Handler = Callable[[web.Request], Awaitable[web.Response]]
_Guarded = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class PlatformApi:
    """The handlers of the platform host."""

    config: SimulatorConfig
    queue: JobQueue
    door: Door
    now: Callable[[], float]

    def routes(self) -> list[web.RouteDef]:
        """Return the routes to serve."""
        guarded = self._guarded
        listing = guarded(Operation.LISTING, self._requests)
        return [
            web.get("/v1/meta", guarded(Operation.META, self._meta, is_open=True)),
            web.get("/v1/models", guarded(Operation.MODELS, self._models, is_open=True)),
            web.get("/v1/models/requests/by-endpoint", listing),
            web.get("/v1/models/pricing", guarded(Operation.PRICING, self._pricing)),
            web.post("/v1/models/pricing/estimate", guarded(Operation.ESTIMATE, self._estimate)),
            web.get("/v1/models/billing-events", guarded(Operation.BILLING, self._billing)),
            web.route("*", "/v1/{tail:.*}", _nothing_here),
        ]

    def _guarded(
        self, operation: Operation, handler: _Handler, *, is_open: bool = False
    ) -> _Guarded:
        async def carry_out(request: web.Request) -> web.Response:
            try:
                return await handler(request)
            except BadQueryError as exc:
                return refusal(Api.PLATFORM, 400, str(exc))

        async def handle(request: web.Request) -> web.StreamResponse:
            is_refused = not is_open and self.door.access.refusal_of(request) is not None
            refused = "Authentication required" if is_refused else None
            return await self.door.admit(request, operation, refused, lambda: carry_out(request))

        return handle

    async def _meta(self, _request: web.Request) -> web.Response:
        return web.json_response({"webhook_ip_ranges": ["127.0.0.1/32", "::1/128"]})

    async def _models(self, request: web.Request) -> web.Response:
        query = request.query
        size = reading.limit(query, default=50, most=_MAX_LISTED_REQUESTS)
        known = reading.endpoints(query, required=False) or self.queue.endpoints()
        found, cursor = reading.paged(known, reading.page(query), size)
        return _page("models", [_model(endpoint) for endpoint in found], cursor)

    async def _requests(self, request: web.Request) -> web.Response:
        query = request.query
        size = reading.limit(query, default=50, most=_MAX_LISTED_REQUESTS)
        jobs = self._listed(query)
        if query.get("sort_by", "ended_at") == "duration":
            jobs = sorted(jobs, key=_duration_s, reverse=True)
        elif query.get("sort_by", "ended_at") != "ended_at":
            raise BadQueryError("sort_by")
        found, cursor = reading.paged(jobs, reading.page(query), size)
        has_payloads = "payloads" in query.getall("expand", [])
        items = [self._item(job, has_payloads=has_payloads) for job in found]
        return _page("items", items, cursor)

    def _listed(self, query: MultiMapping[str]) -> Iterable[Job]:
        """Yield the jobs a listing call asks for, running ones first, then the latest ends."""
        endpoints = reading.endpoints(query, required=True)
        request_id, status = query.get("request_id"), query.get("status")
        if status is not None and status not in _STATUS_CLASSES:
            raise BadQueryError("status")
        default = reading.LONG_RANGE if request_id else reading.DEFAULT_RANGE
        start, end = reading.time_range(query, self.now(), default)
        if request_id:
            job = self.queue.find(request_id)
            known = job is not None and job.sent_at is not None
            jobs = [job] if job and known and job.order.endpoint in endpoints else []
        else:
            jobs = self._by_end(endpoints)
        return (
            job
            for job in jobs
            if start <= (job.ended_at or job.sent_at or 0.0) < end and _has_class(job, status)
        )

    def _by_end(self, endpoints: list[str]) -> list[Job]:
        jobs = [job for endpoint in endpoints for job in self.queue.line(endpoint).started()]
        if len(endpoints) > 1:
            jobs.sort(key=lambda job: job.ended_at or float("inf"), reverse=True)
        return jobs

    def _item(self, job: Job, *, has_payloads: bool) -> dict[str, Any]:
        item: dict[str, Any] = {
            "request_id": job.request_id,
            "endpoint_id": job.order.endpoint,
            "started_at": reading.iso(job.sent_at),
            "sent_at": reading.iso(job.sent_at),
        }
        if job.ending is not None:
            item |= {
                "ended_at": reading.iso(job.ended_at),
                "status_code": job.ending.http_status,
                "duration": _duration_s(job),
            }
        if has_payloads and job.order.stores_io:
            item["json_input"] = job.order.input
            item["json_output"] = None if job.ending is None else job.json_output(job.ending)
        return item

    async def _pricing(self, request: web.Request) -> web.Response:
        prices = [
            {"endpoint_id": name, "unit_price": UNIT_PRICE_USD, "unit": "image", "currency": "USD"}
            for name in reading.endpoints(request.query, required=True)
        ]
        return _page("prices", prices, None)

    async def _estimate(self, request: web.Request) -> web.Response:
        try:
            body = json.loads(await request.read())
            kind = body["estimate_type"]
            counted = {"historical_api_price": "call_quantity", "unit_price": "unit_quantity"}[kind]
            total = sum(float(asked[counted]) for asked in body["endpoints"].values())
        except (ValueError, KeyError, TypeError, AttributeError) as exc:
            raise BadQueryError("body") from exc
        cost = total * UNIT_PRICE_USD
        return web.json_response({"estimate_type": kind, "total_cost": cost, "currency": "USD"})

    async def _billing(self, request: web.Request) -> web.Response:
        if not self.door.access.may_administrate(request):
            return refusal(Api.PLATFORM, 403, "Access denied")
        query = request.query
        size = reading.limit(query, default=50, most=_MAX_LISTED_EVENTS)
        start, end = reading.time_range(query, self.now(), reading.DEFAULT_RANGE)
        end = min(end, self.now() - self.config.billing_lag_s * self.config.time_scale)
        billed = (job for job in self._billed(query) if start <= (job.ended_at or 0.0) < end)
        found, cursor = reading.paged(billed, reading.page(query), size)
        return _page("billing_events", [_billing_event(job) for job in found], cursor)

    def _billed(self, query: MultiMapping[str]) -> Iterator[Job]:
        endpoints = reading.endpoints(query, required=False)
        wanted = [part for text in query.getall("request_id", []) for part in text.split(",")]
        if wanted:
            found = (self.queue.find(request_id) for request_id in wanted)
            jobs = [job for job in found if job is not None]
        else:
            jobs = self._by_end(endpoints or self.queue.endpoints())
        for job in jobs:
            is_asked = not endpoints or job.order.endpoint in endpoints
            if is_asked and job.ending is not None and job.ending.billable_units:
                yield job


async def _nothing_here(_request: web.Request) -> web.Response:
    return refusal(Api.PLATFORM, 404, "Resource not found")


def _page(name: str, rows: list[dict[str, Any]], cursor: str | None) -> web.Response:
    body = {name: rows, "next_cursor": cursor, "has_more": cursor is not None}
    return web.json_response(body)


def _model(endpoint: str) -> dict[str, Any]:
    metadata: dict[str, Any] = {
        "display_name": endpoint.rpartition("/")[2],
        "category": "text-to-image",
        "description": "A simulated model.",
        "status": "active",
        "tags": [],
        "updated_at": "2026-01-01T00:00:00Z",
        "is_favorited": None,
        "thumbnail_url": "https://fal.media/files/simulated.png",
        "model_url": f"https://fal.run/{endpoint}",
        "date": "2026-01-01T00:00:00Z",
        "highlighted": False,
        "pinned": False,
    }
    return {"endpoint_id": endpoint, "metadata": metadata}


def _duration_s(job: Job) -> float:
    return (job.ended_at or 0.0) - job.sent_at if job.ended_at and job.sent_at else 0.0


def _has_class(job: Job, name: str | None) -> bool:
    if name is None:
        return True
    low, high = _STATUS_CLASSES[name]
    return job.ending is not None and low <= job.ending.http_status < high


def _billing_event(job: Job) -> dict[str, Any]:
    units = job.ending.billable_units if job.ending is not None else 0.0
    cost = units * UNIT_PRICE_USD
    return {
        "request_id": job.request_id,
        "endpoint_id": job.order.endpoint,
        "timestamp": reading.iso(job.ended_at),
        "output_units": units,
        "unit_price": UNIT_PRICE_USD,
        "percent_discount": None,
        "cost_subtotal": cost,
        "cost_discount": 0.0,
        "cost_total": cost,
        "cost_estimate_nano_usd": round(cost * 1_000_000_000),
    }
