"""
What fal's API answers, as typed values: unknown fields are kept, amounts are `Decimal`.

Types only. How bodies become these is `reading`, `wire` and `platform`'s business. Source:
fal docs, "Queue" (2026-10) and "Platform APIs" (OpenAPI of 2026-08-21 and 2026-10-07).
"""

from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PrivateAttr, Strict

from consumer.errors import SchemaDrift
from consumer.ports import CancelAnswer, QueueStatus


def _amount(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, (int, float, Decimal)):
        raise ValueError("expected a number")  # noqa: TRY004  what pydantic takes for a no
    return Decimal(repr(value)) if isinstance(value, float) else Decimal(value)


def _instant(value: Any) -> Any:
    if isinstance(value, datetime):
        return value
    if not isinstance(value, str) or "T" not in value:
        raise ValueError("expected a time as RFC 3339")
    try:
        read = datetime.fromisoformat(value)
    except ValueError as exc:
        raise ValueError("expected a time as RFC 3339") from exc
    return read if read.tzinfo else read.replace(tzinfo=UTC)


Amount = Annotated[Decimal, BeforeValidator(_amount)]
"""A number of money or of units, as exact as fal wrote it (up to 15 digits)."""
Instant = Annotated[datetime, BeforeValidator(_instant)]
"""An aware instant; one without a zone is read as UTC."""


class FalAnswer(BaseModel):
    """Base of what fal answers. `drifts` tells what of the answer could not be read."""

    model_config = ConfigDict(strict=True, extra="allow", hide_input_in_errors=True)

    _drifts: tuple[SchemaDrift, ...] = PrivateAttr(default=())

    @property
    def drifts(self) -> tuple[SchemaDrift, ...]:
        """What this version could not read and did without, empty as a rule."""
        return self._drifts

    def with_drifts(self, drifts: tuple[SchemaDrift, ...]) -> Self:
        """Return this very value, told what it was read without."""
        self._drifts = drifts
        return self


# ---------------------------------------------------------------- the queue


class LogLine(FalAnswer):
    """One line of a run's log. `timestamp` is fal's own text."""

    message: str
    timestamp: str | None = None
    level: str | None = None
    source: str | None = None


class RunMetrics(FalAnswer):
    """What fal measured of a run. `inference_time` in seconds."""

    inference_time: float | None = None


class Status(FalAnswer):
    """
    Where a request stands in fal's queue.

    `queue_position` counts the requests in front, only with IN_QUEUE; `error` and
    `error_type` only with COMPLETED, and only where the platform failed: COMPLETED covers
    success, failure and cancellation, and the result tells which. `logs` only where asked for.
    """

    status: Annotated[QueueStatus, Strict(strict=False)]
    request_id: str | None = None
    queue_position: Annotated[int, Field(ge=0)] | None = None
    logs: list[LogLine] | None = None
    metrics: RunMetrics | None = None
    error: str | None = None
    error_type: str | None = None
    response_url: str | None = None
    status_url: str | None = None
    cancel_url: str | None = None


class SubmitWord(StrEnum):
    """Whether a job exists."""

    SUBMITTED = "submitted"
    REFUSED = "refused"
    UNKNOWN = "unknown"


class Submission(FalAnswer):
    """
    What became of a submit.

    `refused` is a certain no, with `reason`; `unknown` means that a job may exist and that
    submitting again may pay twice. The URLs are fal's own; nothing here calls them.
    """

    outcome: SubmitWord
    request_id: str | None = None
    http_status: int | None = None
    reason: str | None = None
    queue_position: int | None = None
    response_url: str | None = None
    status_url: str | None = None
    cancel_url: str | None = None
    gateway_request_id: str | None = None


class ResultWord(StrEnum):
    """The five answers to a result read."""

    SUCCEEDED = "succeeded"
    MODEL_FAILED = "model_failed"
    INFRASTRUCTURE_FAILED = "infrastructure_failed"
    NOT_READY = "not_ready"
    EXPIRED = "expired"


class RequestResult(FalAnswer):
    """
    The result of a request, as one of five outcomes.

    `output` is the model's answer where it is JSON, else `output_base64` with
    `content_type`. `detail` is fal's or the model's own description of a failure, whole;
    `http_status` the replayed status. `is_own_deadline`: the start timeout that the
    submitter set has passed, and nothing ran.
    """

    outcome: ResultWord
    request_id: str
    http_status: int | None = None
    output: Any = None
    output_base64: str | None = None
    content_type: str | None = None
    detail: Any = None
    error_type: str | None = None
    is_own_deadline: bool = False
    billable_units: Decimal | None = None


class Cancellation(FalAnswer):
    """What fal answered to a cancel. Only `OK` is an end: the others say look again."""

    outcome: Annotated[CancelAnswer, Strict(strict=False)]
    request_id: str

    @property
    def is_cancelled(self) -> bool:
        """Tell whether the request is certainly cancelled: it never ran and never will."""
        return self.outcome is CancelAnswer.REMOVED


# ---------------------------------------------------------------- the platform


class ModelGroup(FalAnswer):
    """The family that a model belongs to."""

    key: str
    label: str | None = None


class ModelMetadata(FalAnswer):
    """What the catalogue says of a model."""

    display_name: str
    category: str
    description: str = ""
    status: str
    tags: list[str] = Field(default_factory=list)
    updated_at: str | None = None
    date: str | None = None
    is_favorited: bool | None = None
    thumbnail_url: str | None = None
    model_url: str | None = None
    license_type: str | None = None
    group: ModelGroup | None = None
    kind: str | None = None
    training_endpoint_ids: list[str] = Field(default_factory=list)
    inference_endpoint_ids: list[str] = Field(default_factory=list)
    stream_url: str | None = None
    duration_estimate: float | None = None
    highlighted: bool | None = None
    pinned: bool | None = None


class Model(FalAnswer):
    """One endpoint of the catalogue. `openapi` only where asked for; it may hold an `error`."""

    endpoint_id: str
    metadata: ModelMetadata | None = None
    openapi: dict[str, Any] | None = None


class Price(FalAnswer):
    """What one unit of an endpoint costs this account."""

    endpoint_id: str
    unit_price: Amount
    unit: str
    currency: str


class Prices(FalAnswer):
    """Prices by endpoint, and the endpoints that fal names no price for."""

    prices: list[Price]
    unknown: list[str]


EstimateKind = Literal["historical_api_price", "unit_price"]


class Estimate(FalAnswer):
    """What a number of calls, or of units, would cost in all."""

    estimate_type: str
    total_cost: Amount
    currency: str


class ListedRequest(FalAnswer):
    """One request of the account's listing. `duration` in seconds."""

    request_id: str
    endpoint_id: str
    started_at: Instant | None = None
    sent_at: Instant | None = None
    ended_at: Instant | None = None
    status_code: int | None = None
    duration: float | None = None
    json_input: Any = None
    json_output: Any = None


class BillingEvent(FalAnswer):
    """
    What one request cost, in US dollars; `cost_estimate_nano_usd` is the exact total.

    That none exists soon after a request's end is no proof that it was free: events lag.
    """

    request_id: str
    endpoint_id: str
    timestamp: Instant
    output_units: Amount | None = None
    unit_price: Amount | None = None
    percent_discount: Amount | None = None
    cost_subtotal: Amount | None = None
    cost_discount: Amount | None = None
    cost_total: Amount
    cost_estimate_nano_usd: int | None = None
    tags: dict[str, Any] | None = None


class WebhookRanges(FalAnswer):
    """The networks that fal's webhooks come from, as CIDR texts."""

    webhook_ip_ranges: list[str]


class PublicKeyEntry(BaseModel):
    """One usable key of fal's key set. `x` is base64url without padding."""

    kid: str
    x: str


class HeldKeySet(BaseModel):
    """fal's key set as held: what is in it, how old it is, when it is fetched anew."""

    url: str
    keys: list[PublicKeyEntry]
    fetched_at: datetime
    age_s: float
    refresh_at: datetime
