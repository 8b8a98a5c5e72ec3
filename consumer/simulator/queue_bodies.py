"""
What the queue's host says, as types: handlers build them, and the published schema is made of them.

Source: fal docs, Queue (read 2026-10-07), and answers recorded in 2026.
"""

from typing import Annotated, Any, Literal, NotRequired

from pydantic import Field
from typing_extensions import TypedDict

LogLevel = Literal["STDERR", "STDOUT", "ERROR", "INFO", "WARN", "DEBUG"]
Timestamp = Annotated[str, Field(json_schema_extra={"format": "date-time"})]
QueueStatus = Literal["IN_QUEUE", "IN_PROGRESS", "COMPLETED"]
CancelStatus = Literal["OK", "CANCELLATION_REQUESTED", "ALREADY_COMPLETED"]
Position = Annotated[int, Field(ge=0, description="How many requests are in front.")]


class LogLine(TypedDict):
    """One line that the model wrote."""

    message: str
    timestamp: Timestamp
    level: LogLevel
    source: Literal["USER"]


class Metrics(TypedDict):
    """Empty before the end; seconds."""

    inference_time: NotRequired[float]


class Urls(TypedDict):
    """Where to go on with a request."""

    response_url: str
    status_url: str
    cancel_url: str


class SubmitBody(Urls):
    """The answer to a submit."""

    status: Literal["IN_QUEUE"]
    request_id: str
    gateway_request_id: str
    queue_position: Position
    logs: None
    metrics: Metrics


class StatusBody(Urls):
    """
    The status of a request; `queue_position` only while it is queued.

    `error` and `error_type` are for infrastructure failures and cancels: a model's own
    refusal shows a bare COMPLETED.
    """

    status: QueueStatus
    request_id: str
    logs: list[LogLine] | None
    metrics: Metrics
    queue_position: NotRequired[Position]
    error: NotRequired[str]
    error_type: NotRequired[str]


class NotReadyBody(Urls):
    """A result that was read too early."""

    detail: Literal["Request is still in progress"]
    request_id: str


class NotFoundBody(TypedDict):
    """Nobody knows this id."""

    status: Literal["NOT_FOUND"]


class CancelBody(TypedDict):
    """`OK` is out of the queue, `CANCELLATION_REQUESTED` is a wish."""

    status: CancelStatus


class OldCancelBody(TypedDict):
    """The answer to a cancel as models' own pages gave it before 2026."""

    success: bool


class DetailBody(TypedDict):
    """A refusal in words; with `error_type` one of the infrastructure."""

    detail: str
    error_type: NotRequired[str]


class ModelError(TypedDict):
    """One complaint of a model about its input."""

    loc: list[str | int]
    msg: str
    type: str
    url: NotRequired[str]
    ctx: NotRequired[dict[str, Any]]
    input: NotRequired[Any]


class ModelErrorsBody(TypedDict):
    """A model's refusal."""

    detail: list[ModelError]
