"""
What a submitter may ask of fal's queue besides the job itself.

Every field is a header or a query parameter of the submit call; absent ones are not sent.
Source of all of them: fal docs, "Platform headers" and "Queue submit" (read 2026-10-07).
"""

from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
)

_VISIBLE = r"^[\x20-\x7e]{1,256}$"
_MAX_LIFETIME_S = 100 * 365 * 24 * 3600

AclDecision = Literal["allow", "forbid", "hide"]
RetryCause = Literal["server_error", "timeout", "connection_error"]


class _Options(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class AclRule(_Options):
    """What one user may do with a generated file."""

    user: str = Field(pattern=_VISIBLE)
    decision: AclDecision


class InitialAcl(_Options):
    """Who may read a generated file: a default, and users that differ."""

    default: AclDecision
    rules: tuple[AclRule, ...] = Field((), max_length=50)


class ObjectLifecycle(_Options):
    """How long generated files live, in seconds (None: never expire), and who may read them."""

    expiration_duration_seconds: int | None = Field(None, ge=1, le=_MAX_LIFETIME_S)
    initial_acl: InitialAcl | None = None

    @model_serializer(mode="wrap")
    def _as_given(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out what was not given: to fal, absent is not the same as null."""
        return {
            name: value for name, value in handler(self).items() if name in self.model_fields_set
        }


class SubmitOptions(_Options):
    """
    How a job is queued, retried and stored at fal.

    `retry_config` gives extra attempts for each cause; fal honours it on one's own apps only.
    `store_io` false means that fal keeps no input and output, so a result that nobody read
    within minutes is gone. `max_queue_length` lets fal answer 429 where more requests wait.
    """

    priority: Literal["normal", "low"] | None = Field(
        None, description="normal or low; low waits behind every normal request"
    )
    runner_hint: str | None = Field(
        None, pattern=_VISIBLE, description="requests of one hint prefer one runner"
    )
    no_retry: bool = Field(False, description="fal's platform does not try this job again")
    retry_config: dict[RetryCause, Annotated[int, Field(ge=0, le=100)]] | None = Field(
        None, description="extra attempts, by cause"
    )
    store_io: bool | None = Field(None, description="whether fal keeps input and output")
    object_lifecycle: ObjectLifecycle | None = Field(
        None, description="how long generated files live, and who may read them"
    )
    disable_fallback: bool = Field(False, description="never reroute to an equivalent model")
    max_queue_length: int | None = Field(
        None, ge=0, le=10**9, description="refuse where more requests than this wait"
    )
