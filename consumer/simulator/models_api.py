"""
The catalog over HTTP: models, prices, estimates. One unknown endpoint sinks a whole call.

Source: fal docs, Platform APIs, models and pricing (read 2026-10-07).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from consumer.simulator.asked import paged
from consumer.simulator.catalog import Catalog, Offer
from consumer.simulator.platform_bodies import (
    EstimateBody,
    Model,
    ModelsBody,
    PricesBody,
)
from consumer.simulator.platform_queries import (
    HistoricalEstimate,
    ModelsQuery,
    PricingQuery,
    UnitEstimate,
)

# What a call cost on average so far, in units; users say that such estimates come out too low.
_UNITS_A_CALL = 1.5
_OPENAPI = "openapi-3.0"


@dataclass(frozen=True, slots=True)
class ModelsApi:
    """The handlers about what is offered."""

    catalog: Catalog

    def models(self, query: ModelsQuery) -> ModelsBody:
        """Return a page of the offers that match; named ones in the order of their naming."""
        if query.endpoint_id:
            found = [self.catalog.find(endpoint_id) for endpoint_id in query.endpoint_id]
        else:
            found = self.catalog.offers()
            if query.sort == "recent":
                found.sort(key=lambda offer: offer.updated_at, reverse=True)
        matching = [offer for offer in found if _matches(offer, query)]
        page, cursor = paged(matching, query.page, query.limit)
        body: ModelsBody = {
            "models": [_expanded(offer, query.expand) for offer in page],
            "next_cursor": cursor,
            "has_more": cursor is not None,
        }
        if query.sort is not None and not query.endpoint_id:
            body["ordering"] = {"sort": query.sort}
        return body

    def pricing(self, query: PricingQuery) -> PricesBody:
        """Return the price of each endpoint asked for."""
        offers = [self.catalog.find(endpoint_id) for endpoint_id in query.endpoint_id]
        return {
            "prices": [
                {
                    "endpoint_id": offer.endpoint_id,
                    "unit_price": offer.unit_price,
                    "unit": offer.unit,
                    "currency": "USD",
                }
                for offer in offers
            ],
            "next_cursor": None,
            "has_more": False,
        }

    def estimate(self, asked: HistoricalEstimate | UnitEstimate) -> EstimateBody:
        """Return one total over all endpoints asked about."""
        total = 0.0
        if isinstance(asked, UnitEstimate):
            for endpoint_id, units in asked.endpoints.items():
                total += self.catalog.find(endpoint_id).unit_price * units.unit_quantity
        else:
            for endpoint_id, calls in asked.endpoints.items():
                price = self.catalog.find(endpoint_id).unit_price * _UNITS_A_CALL
                total += price * calls.call_quantity
        cost = round(total, 9)  # a nano dollar, as in the bills
        return {"estimate_type": asked.estimate_type, "total_cost": cost, "currency": "USD"}


def _matches(offer: Offer, query: ModelsQuery) -> bool:
    return (
        (query.q is None or offer.says(query.q))
        and (query.category is None or offer.category == query.category)
        and (query.status is None or offer.status == query.status)
    )


def _expanded(offer: Offer, expand: Iterable[str]) -> Model:
    model = offer.model()
    if _OPENAPI in expand:
        # Of what is no longer offered there is no schema: the one case in which this fails.
        model["openapi"] = _schema(offer) if offer.status == "active" else _no_schema()
    if "enterprise_status" in expand:
        model["enterprise_status"] = "ready"
    return model


def _no_schema() -> dict[str, Any]:
    text = "The OpenAPI document of this endpoint could not be made."
    return {"error": {"code": "expansion_failed", "message": text}}


def _schema(offer: Offer) -> dict[str, Any]:
    """Return what fal publishes for one endpoint, as small as it can be."""
    content = {
        "application/json": {
            "schema": {
                "type": "object",
                "properties": {"prompt": {"type": "string"}},
                "required": ["prompt"],
            }
        }
    }
    return {
        "openapi": "3.0.4",
        "info": {"title": offer.display_name, "version": "1.0.0"},
        "servers": [{"url": "https://queue.fal.run"}],
        "paths": {
            f"/{offer.endpoint_id}": {
                "post": {
                    "requestBody": {"required": True, "content": content},
                    "responses": {"200": {"description": "The request was accepted."}},
                }
            }
        },
    }
