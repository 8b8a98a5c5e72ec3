"""
Reading a submit: its body, its query and every header that fal reads, into one order.

What is asked for is a model, of which the published schema is made too.
Source: fal docs, Queue submit and Platform headers (read 2026-10-07).
"""

import json
import re
from typing import Annotated, Literal

from aiohttp import web
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    Json,
    WithJsonSchema,
)

from consumer.simulator.access import key_id_of
from consumer.simulator.asked import WHOLE, Asked, BadQueryError, read
from consumer.simulator.jobs import Order
from consumer.simulator.queue_wire import QueuePath
from consumer.simulator.webhooks import loopback_url

_MAX_TAGS = 10
_MAX_TAGS_BYTES = 1024
_TAG = re.compile(r"(?!fal\.)[a-z0-9._-]{1,64}=[^,\x00-\x1f\x7f]{0,256}")
_YES = frozenset({"1", "true", "yes"})


class BadOrderError(ValueError):
    """The submit call itself cannot be taken; carries the HTTP status and fal's words."""

    def __init__(self, http_status: int, detail: str, error_type: str = "bad_request") -> None:
        super().__init__(http_status, detail, error_type)
        self.http_status = http_status
        self.detail = detail
        self.error_type = error_type


def _seconds(text: object) -> object:
    # Python reads more than other languages as a number: "1_0", " 1 ", "infinity".
    if isinstance(text, str) and not re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", text):
        raise ValueError("expected a number of seconds")
    return text


def _tags(text: str) -> str:
    pairs = text.split(",")
    is_short = len(pairs) <= _MAX_TAGS and len(text.encode()) <= _MAX_TAGS_BYTES
    if not is_short or not all(_TAG.fullmatch(pair) for pair in pairs):
        raise ValueError("expected key=value,key=value")
    return text


StartTimeout = Annotated[
    float,
    BeforeValidator(_seconds),
    Field(gt=0.1),
    WithJsonSchema({"type": "number", "exclusiveMinimum": 0.1}),
]


class AclRule(BaseModel):
    """What one user may do with the files of a request."""

    user: str
    decision: Literal["allow", "forbid", "hide"]


class Acl(BaseModel):
    """Who may read the files of a request."""

    default: Literal["allow", "forbid", "hide"] | None = None
    rules: list[AclRule] = Field(default_factory=list)


class ObjectLifecycle(BaseModel):
    """How long files live, and who may read them."""

    model_config = ConfigDict(extra="forbid")

    expiration_duration_seconds: Annotated[float, Field(gt=0)] | None = None
    initial_acl: Acl | None = None


class SubmitQuery(Asked):
    """What the address of a submit asks for."""

    fal_webhook: str | None = None
    fal_max_queue_length: Annotated[int, Field(ge=0), WHOLE] | None = None


class SubmitHeaders(Asked):
    """
    Every header that fal reads at a submit.

    The old deadline is looked at only without the new one. Unknown priorities and unusable
    retry configurations are passed over, as fal says; that unusable tags and file preferences
    are refused is our reading.
    """

    start_timeout: StartTimeout | None = Field(None, alias="X-Fal-Request-Start-Timeout")
    old_start_timeout: str | None = Field(
        None, alias="X-Fal-Request-Timeout", json_schema_extra={"deprecated": True}
    )
    priority: str | None = Field(None, alias="X-Fal-Queue-Priority", examples=["normal", "low"])
    runner_hint: str | None = Field(None, alias="X-Fal-Runner-Hint")
    no_retry: str | None = Field(None, alias="X-Fal-No-Retry", examples=["1", "true", "yes"])
    retry_config: str | None = Field(None, alias="X-Fal-Retry-Config")
    store_io: str | None = Field(None, alias="X-Fal-Store-IO", examples=["0", "1"])
    object_lifecycle: Json[ObjectLifecycle] | None = Field(
        None, alias="X-Fal-Object-Lifecycle-Preference"
    )
    disable_fallback: str | None = Field(None, alias="x-app-fal-disable-fallback")
    tags: Annotated[str, AfterValidator(_tags)] | None = Field(
        None, alias="X-Fal-Tags", examples=["team=a,env=test"]
    )


class _OldDeadline(BaseModel):
    seconds: StartTimeout


async def read_order(request: web.Request, path: QueuePath) -> Order:
    """
    Read a submit call; the input may hold anything, for fal does not validate it here.

    Raises BadOrderError when the body is no JSON object or a header cannot be,
    NotLoopbackError when the webhook URL leads off this machine.
    """
    content = await request.read()
    try:
        model_input = json.loads(content)
    except (ValueError, RecursionError) as exc:
        raise BadOrderError(422, "The body is not JSON") from exc
    if not isinstance(model_input, dict):
        raise BadOrderError(422, "The body is not a JSON object")
    try:
        query, headers = read(SubmitQuery, request.query), read(SubmitHeaders, request.headers)
    except BadQueryError as exc:
        raise BadOrderError(400, f"Invalid {exc.parameter}") from exc
    if query.fal_webhook is not None:
        loopback_url(query.fal_webhook)
    return Order(
        endpoint=path.endpoint,
        app=path.app,
        content=content,
        input=model_input,
        headers=_headers_of_fal(request),
        webhook_url=query.fal_webhook,
        max_queue_length=query.fal_max_queue_length,
        tags=headers.tags,
        start_timeout_s=_deadline_s(headers),
        is_low=headers.priority == "low",
        may_retry=(headers.no_retry or "").lower() not in _YES,
        stores_io={"0": False, "1": True}.get(headers.store_io or ""),
        api_key_id=key_id_of(request),
    )


def _deadline_s(headers: SubmitHeaders) -> float | None:
    if headers.start_timeout is not None or headers.old_start_timeout is None:
        return headers.start_timeout
    try:
        return _OldDeadline.model_validate({"seconds": headers.old_start_timeout}).seconds
    except ValueError as exc:
        raise BadOrderError(400, "Invalid X-Fal-Request-Timeout") from exc


def _headers_of_fal(request: web.Request) -> dict[str, str]:
    """Return the headers that fal's documentation names, by their names in lower case."""
    return {
        name.lower(): text
        for name, text in request.headers.items()
        if name.lower().startswith(("x-fal-", "x-app-fal-"))
    }
