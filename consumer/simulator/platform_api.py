"""
The platform API under `/v1`: each call of `calls.PLATFORM_CALLS`, read, admitted, answered.

Errors come in the platform's envelope. What is asked for, and what is answered, are types
of `platform_queries` and `platform_bodies`; the published schema is made of the same.
"""

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from aiohttp import web
from pydantic import TypeAdapter, ValidationError

from consumer.simulator.asked import BadQueryError, read
from consumer.simulator.calls import PLATFORM_CALLS, Call
from consumer.simulator.catalog import Catalog, UnknownEndpointError
from consumer.simulator.config import SimulatorConfig
from consumer.simulator.door import Door
from consumer.simulator.errors import refusal
from consumer.simulator.faults import Operation
from consumer.simulator.history_api import HistoryApi
from consumer.simulator.jobqueue import JobQueue
from consumer.simulator.models_api import ModelsApi
from consumer.simulator.platform_bodies import MetaBody
from consumer.simulator.platform_queries import EstimateAsked, NothingAsked
from consumer.simulator.spending_api import SpendingApi
from consumer.simulator.standing import Api

_ESTIMATE: TypeAdapter[Any] = TypeAdapter(EstimateAsked)
_Handler = Callable[[Any], Mapping[str, Any]]
_Guarded = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class PlatformApi:
    """The handlers of the platform host."""

    config: SimulatorConfig
    queue: JobQueue
    catalog: Catalog
    door: Door
    now: Callable[[], float]

    def routes(self) -> list[web.RouteDef]:
        """Return the routes to serve."""
        models, history = ModelsApi(self.catalog), HistoryApi(self.queue, self.now)
        spending = SpendingApi(self.config, self.queue, self.now)
        handlers: dict[Operation, _Handler] = {
            Operation.META: _meta,
            Operation.MODELS: models.models,
            Operation.PRICING: models.pricing,
            Operation.ESTIMATE: models.estimate,
            Operation.LISTING: history.requests,
            Operation.USAGE: spending.usage,
            Operation.BILLING: spending.billing_events,
            Operation.ACCOUNT: spending.account,
        }
        served = [
            web.route(call.method, call.path, self._guarded(call, handlers[call.operation]))
            for call in PLATFORM_CALLS
        ]
        # Before the one that takes everything: a known path under another method.
        wrong = [web.route("*", call.path, _wrong_method) for call in PLATFORM_CALLS]
        return [*served, *wrong, web.route("*", "/v1/{tail:.*}", _nothing_here)]

    def _guarded(self, call: Call, handler: _Handler) -> _Guarded:
        async def carry_out(request: web.Request) -> web.StreamResponse:
            if call.needs_admin and not self.door.access.may_administrate(request):
                return refusal(Api.PLATFORM, 403, "Access denied")
            try:
                asked = await _asked(request, call)
                return web.json_response(handler(asked))
            except BadQueryError as exc:
                return refusal(Api.PLATFORM, 400, str(exc))
            except UnknownEndpointError as exc:
                return refusal(Api.PLATFORM, 404, str(exc))

        async def handle(request: web.Request) -> web.StreamResponse:
            is_refused = not call.is_open and self.door.access.refusal_of(request) is not None
            refused = "Authentication required" if is_refused else None
            return await self.door.admit(
                request, call.operation, refused, lambda: carry_out(request)
            )

        return handle


async def _asked(request: web.Request, call: Call) -> Any:
    """Return what is asked for, by body or by query; raises BadQueryError."""
    if call.body is None:
        return read(call.query, request.query)
    try:
        return _ESTIMATE.validate_python(json.loads(await request.read()))
    except (ValidationError, ValueError, RecursionError) as exc:
        raise BadQueryError("body") from exc


def _meta(_asked: NothingAsked) -> MetaBody:
    return {"webhook_ip_ranges": ["127.0.0.1/32", "::1/128"]}


async def _wrong_method(request: web.Request) -> web.Response:
    known = [call.method for call in PLATFORM_CALLS if call.path == request.path]
    text = f"Method {request.method} is not allowed"
    return refusal(Api.PLATFORM, 405, text, headers={"Allow": ", ".join(known)})


async def _nothing_here(_request: web.Request) -> web.Response:
    return refusal(Api.PLATFORM, 404, "Resource not found")
