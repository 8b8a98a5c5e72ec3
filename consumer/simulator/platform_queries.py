"""
What each call of the platform API takes, as models: read by handlers, published as the schema.

Source: fal docs, Platform APIs, with its OpenAPI document (read 2026-10-07).
"""

from typing import Annotated, Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from consumer.simulator.asked import WHOLE, Asked, Ids, Paged, Ranged, SomeIds

Timeframe = Literal["minute", "hour", "day", "week", "month"]
MAX_LISTED = 100
MAX_EVENTS = 10_000
_UUID = r"^[0-9a-fA-F]{8}-([0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}$"


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as exc:
        raise ValueError("expected the name of a time zone") from exc
    return name


class NothingAsked(Asked):
    """A call without parameters."""


class ModelsQuery(Paged):
    """Which models, in which order."""

    limit: Annotated[int, Field(ge=1, le=MAX_LISTED), WHOLE] = 50
    endpoint_id: SomeIds = ()
    q: str | None = None
    category: str | None = None
    status: Literal["active", "deprecated"] | None = None
    sort: Literal["relevant", "recent"] | None = None
    expand: tuple[Literal["openapi-3.0", "enterprise_status"], ...] = ()


class PricingQuery(Asked):
    """The prices of which endpoints."""

    endpoint_id: Ids


class _Attributed(Ranged):
    endpoint_id: SomeIds = ()
    api_key_id: tuple[str, ...] = ()
    login_username: tuple[str, ...] = ()
    tag: Annotated[tuple[str, ...], Field(max_length=10)] = ()

    @model_validator(mode="after")
    def _tags_are_pairs(self) -> Self:
        if any("=" not in pair for pair in self.tag):
            raise ValueError("tag: expected key=value")
        return self


class UsageQuery(_Attributed, Paged):
    """Cost over which time, in which steps, put down to whom."""

    limit: Annotated[int, Field(ge=1, le=MAX_LISTED), WHOLE] = 50
    timezone: Annotated[str, AfterValidator(_zone)] = "UTC"
    timeframe: Timeframe | None = None
    bound_to_timeframe: Literal["true", "false"] = "true"
    source: Literal["estimate", "tagged-estimate"] = "estimate"
    expand: tuple[
        Literal["time_series", "summary", "auth_method", "auth_method_structured"], ...
    ] = ("time_series",)

    @model_validator(mode="after")
    def _asks_for_something(self) -> Self:
        if not {"time_series", "summary"} & set(self.expand):
            raise ValueError("expand: expected time_series or summary")
        return self


class BillingQuery(_Attributed, Paged):
    """The cost of which requests."""

    limit: Annotated[int, Field(ge=1, le=MAX_EVENTS), WHOLE] = 50
    request_id: SomeIds = ()
    source: Literal["billed", "tagged-billed"] = "billed"
    expand: tuple[Literal["auth_method", "auth_method_structured"], ...] = ()


class RequestsQuery(Ranged, Paged):
    """Which of the account's requests."""

    endpoint_id: Ids
    limit: Annotated[int, Field(ge=1, le=MAX_LISTED), WHOLE] = 50
    status: Literal["success", "error", "user_error"] | None = None
    request_id: Annotated[str, Field(pattern=_UUID)] | None = None
    sort_by: Literal["ended_at", "duration"] = "ended_at"
    expand: tuple[Literal["payloads"], ...] = ()


class AccountQuery(Asked):
    """What of the account."""

    expand: tuple[Literal["credits"], ...] = ()


# ---------------------------------------------------------------- the body of an estimate


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Calls(_Strict):
    """How many calls."""

    call_quantity: Annotated[int, Field(ge=1)]


class Units(_Strict):
    """How many units."""

    unit_quantity: Annotated[float, Field(ge=0.000001, allow_inf_nan=False)]


class HistoricalEstimate(_Strict):
    """What so many calls of each endpoint would cost, judged by what calls cost so far."""

    estimate_type: Literal["historical_api_price"]
    endpoints: Annotated[dict[str, Calls], Field(min_length=1, max_length=50)]


class UnitEstimate(_Strict):
    """What so many units of each endpoint would cost."""

    estimate_type: Literal["unit_price"]
    endpoints: Annotated[dict[str, Units], Field(min_length=1, max_length=50)]


EstimateAsked = Annotated[HistoricalEstimate | UnitEstimate, Field(discriminator="estimate_type")]
