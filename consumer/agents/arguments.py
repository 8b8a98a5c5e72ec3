"""
What a tool takes: types that judge it, and make the schemas that an agent reads.

Ids outside their grammar are refused here, before anything is asked of anybody.
"""

from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from consumer.core.command import CommandId
from consumer.core.endpoint import is_endpoint_id, is_request_id
from consumer.core.submit_options import SubmitOptions
from consumer.fal.answers import EstimateKind

MAX_ENDPOINTS = 200
MAX_MODELS = 100
MAX_MODELS_WITH_OPENAPI = 5  # each has about 100 KiB
MAX_FOLLOW_S = 300.0
MAX_WAIT_S = 120.0
_MAX_SPAN_S = 30 * 86400.0
_UUID = r"^[0-9A-Fa-f]{8}-([0-9A-Fa-f]{4}-){3}[0-9A-Fa-f]{12}$"
_SUBJECT = rf"{_UUID}|^sub_[0-9a-f]{{32}}$"


def _endpoint(value: str) -> str:
    if not is_endpoint_id(value):
        raise ValueError("expected owner/app[/path], like fal-ai/flux/dev")
    return value


def _request_id(value: str) -> str:
    if not is_request_id(value):
        raise ValueError("expected a UUID, as fal's request ids are")
    return value.lower()


def _subject(value: str) -> str:
    return value if value.startswith("sub_") else _request_id(value)


Endpoint = Annotated[
    str,
    AfterValidator(_endpoint),
    Field(
        max_length=256,
        description="fal's endpoint id, owner/app[/path]; FAL_AI_GET_MODELS finds it",
        examples=["fal-ai/flux/dev"],
    ),
]
RequestId = Annotated[
    str,
    AfterValidator(_request_id),
    Field(pattern=_UUID, description="the request id that FAL_AI_SUBMIT returned, a UUID"),
]


class Arguments(BaseModel):
    """Base of what a tool takes: no other fields than these."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class OfRequest(Arguments):
    """One request of an endpoint."""

    endpoint: Endpoint
    request_id: RequestId


class OfStatus(OfRequest):
    """One request, and whether to read its logs."""

    logs: bool = Field(False, description="also return the log lines of the run")


class OfStream(OfStatus):
    """One request, and for how long to follow it."""

    follow_s: float = Field(
        60.0,
        ge=1,
        le=MAX_FOLLOW_S,
        description="how long to follow it at most, in seconds; call again to go on",
    )


class OfModels(Arguments):
    """Which models to list."""

    endpoints: list[Endpoint] = Field(
        [], max_length=MAX_ENDPOINTS, description="only these; the other filters narrow further"
    )
    text: str | None = Field(
        None, min_length=1, max_length=1000, description="free text: name, description, category"
    )
    category: str | None = Field(
        None, min_length=1, max_length=200, description="fal's category", examples=["text-to-image"]
    )
    status: Literal["active", "deprecated"] | None = None
    openapi: bool = Field(
        False,
        description=(
            "also return each model's OpenAPI document, which describes its input; large: "
            f"at most {MAX_MODELS_WITH_OPENAPI} models at once"
        ),
    )
    limit: int = Field(20, ge=1, le=MAX_MODELS, description="how many models to return at most")
    skip: int = Field(0, ge=0, le=10_000, description="how many matching models to pass over")


class OfPricing(Arguments):
    """Whose prices to read."""

    endpoints: list[Endpoint] = Field(min_length=1, max_length=MAX_ENDPOINTS)


class OfEstimate(Arguments):
    """What to estimate the cost of."""

    basis: EstimateKind = Field(
        description=(
            "historical_api_price: quantities are calls, priced as past calls were; "
            "unit_price: quantities are billing units (images, seconds, …), priced by the list"
        )
    )
    quantities: dict[Endpoint, Annotated[Decimal, Field(gt=0, le=10**12)]] = Field(
        min_length=1,
        max_length=50,
        description="how many, by endpoint id; whole numbers for calls",
        examples=[{"fal-ai/flux/dev": 10}],
    )


class OfKeySet(Arguments):
    """Whether a held key set will do."""

    fresh: bool = Field(False, description="fetch it now, although one younger than 1 h is held")


class OfDirectSubmit(Arguments):
    """A job to submit."""

    endpoint: Endpoint
    input: dict[str, Any] = Field(
        description="the model's input, as its OpenAPI document says (FAL_AI_GET_MODELS)",
        examples=[{"prompt": "a red apple"}],
    )
    command_id: CommandId | None = Field(
        None,
        description=(
            "your own id of this job: the same id again never sends a second one, so choose one "
            "for each job and keep it when you repeat a call. Without one a fresh id is made, "
            "and a repeated call pays again"
        ),
    )
    start_within_s: float | None = Field(
        None,
        ge=1,
        le=_MAX_SPAN_S,
        description="give up where it has not started after this many seconds",
    )
    tags: dict[str, str] = Field(
        {}, max_length=10, description="come back with the result, and stand in fal's bills"
    )
    options: SubmitOptions = Field(
        SubmitOptions(), description="what is asked of fal's queue besides"
    )


class OfSubmit(OfDirectSubmit):
    """A job to submit through the service."""

    finish_within_s: float | None = Field(
        None,
        ge=1,
        le=_MAX_SPAN_S,
        description="have it cancelled where it has not finished after this many seconds",
    )
    wait_s: float = Field(
        30.0,
        ge=1,
        le=MAX_WAIT_S,
        description="how long to wait for the request id, in seconds; the job goes on after it",
    )


class OfCancel(Arguments):
    """What to cancel through the service."""

    request_id: Annotated[
        str,
        AfterValidator(_subject),
        Field(
            pattern=_SUBJECT,
            description="the request id (a UUID), or the submission id (sub_…), of FAL_AI_SUBMIT",
        ),
    ]
    wait_s: float = Field(
        60.0,
        ge=1,
        le=MAX_WAIT_S,
        description="how long to wait for what comes of it, in seconds",
    )
