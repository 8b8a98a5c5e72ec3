"""
What the platform API says, as types: handlers build them, and the published schema is made of them.

Source: fal docs, Platform APIs, with its OpenAPI document (read 2026-10-07).
"""

from typing import Annotated, Any, Literal, NotRequired

from pydantic import Field
from typing_extensions import TypedDict

from consumer.simulator.queue_bodies import Timestamp

Status = Literal["active", "deprecated"]
EstimateType = Literal["historical_api_price", "unit_price"]


class PlatformError(TypedDict):
    """What went wrong, in a word and a sentence."""

    type: Literal[
        "authorization_error",
        "validation_error",
        "not_found",
        "rate_limited",
        "server_error",
        "not_implemented",
    ]
    message: str
    docs_url: NotRequired[str]
    request_id: NotRequired[str]


class ErrorBody(TypedDict):
    """The envelope of every error of the platform API."""

    error: PlatformError


class MetaBody(TypedDict):
    """Where webhooks come from, as CIDR ranges."""

    webhook_ip_ranges: list[str]


class Page(TypedDict):
    """Every listing ends like this; the cursor is the next page's number in base64."""

    next_cursor: str | None
    has_more: bool


# ---------------------------------------------------------------- models


class Group(TypedDict):
    """The family of a model."""

    key: str
    label: str


class ModelMetadata(TypedDict):
    """What people read about a model."""

    display_name: str
    category: str
    description: str
    status: Status
    tags: list[str]
    updated_at: Timestamp
    is_favorited: bool | None
    thumbnail_url: str
    model_url: str
    date: Timestamp
    highlighted: bool
    pinned: bool
    thumbnail_animated_url: NotRequired[str]
    github_url: NotRequired[str]
    license_type: NotRequired[Literal["commercial", "research", "private"]]
    group: NotRequired[Group]
    kind: NotRequired[Literal["inference", "training"]]
    stream_url: NotRequired[str]
    duration_estimate: NotRequired[Annotated[float, Field(description="Minutes.")]]


class ExpansionProblem(TypedDict):
    """Why something that was asked for is not there."""

    code: str
    message: str


class ExpansionError(TypedDict):
    """In the place of what was asked for."""

    error: ExpansionProblem


class Model(TypedDict):
    """One endpoint of the catalog."""

    endpoint_id: str
    metadata: NotRequired[ModelMetadata]
    openapi: NotRequired[dict[str, Any]]
    enterprise_status: NotRequired[Literal["ready", "pending"] | ExpansionError]


class Ordering(TypedDict):
    """The order that was asked for."""

    sort: Literal["relevant", "recent"]


class ModelsBody(Page):
    """A page of models."""

    models: list[Model]
    ordering: NotRequired[Ordering]


# ---------------------------------------------------------------- money


class Price(TypedDict):
    """The price of one unit; the unit is free text."""

    endpoint_id: str
    unit_price: float
    unit: str
    currency: Literal["USD"]


class PricesBody(Page):
    """The prices asked for."""

    prices: list[Price]


class EstimateBody(TypedDict):
    """One total over all endpoints."""

    estimate_type: EstimateType
    total_cost: float
    currency: Literal["USD"]


class AuthMethod(TypedDict):
    """How the caller proved who he was."""

    detail: str
    api_key_id: NotRequired[str]
    login_username: NotRequired[str]


class Amounts(TypedDict):
    """Money in USD; the discount in percent."""

    percent_discount: Annotated[float, Field(ge=0, le=100)] | None
    cost_subtotal: float
    cost_discount: float
    cost_total: float


class Attributed(TypedDict):
    """Who it is put down to, as far as that was asked for."""

    auth_method: NotRequired[str]
    auth_method_structured: NotRequired[AuthMethod]
    tags: NotRequired[dict[str, str]]


class UsageRow(Amounts, Attributed):
    """What one endpoint cost in some time; `cost` is the old name of `cost_total`."""

    endpoint_id: str
    unit: str
    quantity: float
    unit_price: float
    cost: float
    currency: Literal["USD"]


class UsageBucket(TypedDict):
    """The rows of one stretch of time, which begins at `bucket`."""

    bucket: Timestamp
    results: list[UsageRow]


class UsageBody(Page):
    """Aggregated cost, over time or in all."""

    time_series: NotRequired[list[UsageBucket]]
    summary: NotRequired[list[UsageRow]]


class BillingEvent(Amounts, Attributed):
    """What one request cost; sums are exact in `cost_estimate_nano_usd`."""

    request_id: str
    endpoint_id: str
    timestamp: Timestamp
    output_units: float | None
    unit_price: float | None
    cost_estimate_nano_usd: int


class BillingEventsBody(Page):
    """A page of the ledger of costs."""

    billing_events: list[BillingEvent]


class Credits(TypedDict):
    """What is left on the account."""

    current_balance: float
    currency: Literal["USD"]


class AccountBody(TypedDict):
    """The account, with its credits where they were asked for."""

    username: str
    credits: NotRequired[Credits]


# ---------------------------------------------------------------- requests


class RequestItem(TypedDict):
    """One request of the account, as its history knows it."""

    request_id: str
    endpoint_id: str
    started_at: Timestamp
    sent_at: Timestamp
    ended_at: NotRequired[Timestamp]
    status_code: NotRequired[int]
    duration: NotRequired[float]
    json_input: NotRequired[Any]
    json_output: NotRequired[Any]


class RequestsBody(Page):
    """A page of requests."""

    items: list[RequestItem]
