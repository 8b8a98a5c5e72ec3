"""
What a tool returns: fal's own answers as the client types them, with what an agent needs besides.

`next_step` says in a sentence what to do now. Amounts of money are exact decimals, as text.
"""

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from consumer.fal.answers import (
    Estimate,
    HeldKeySet,
    Model,
    Price,
    RequestResult,
    Status,
)


class Answer(BaseModel):
    """Base of what is wholly ours."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class StatusAnswer(Status):
    """Where a request stands; `queue_position` counts the requests in front."""

    is_over: bool = Field(description="nothing more happens: COMPLETED or NOT_FOUND")
    next_step: str


class StreamAnswer(Answer):
    """The states that a request went through while it was followed, each once."""

    request_id: str
    states: list[Status]
    is_over: bool = Field(description="false: the time was up; call again to go on")
    next_step: str


class ResultAnswer(RequestResult):
    """One of five outcomes; `output` is the model's answer where it succeeded."""

    is_over: bool = Field(description="false only while it is not_ready")
    output_bytes: int | None = Field(
        None, description="with an output too large to return here: its size in bytes"
    )
    record: dict[str, Any] | None = Field(
        None, description="where fal's result has expired: the result that the service recorded"
    )
    next_step: str


class ModelsAnswer(Answer):
    """Models of the catalogue, in fal's order."""

    models: list[Model]
    has_more: bool = Field(description="more match: call again with a larger `skip`")


class PricingAnswer(Answer):
    """Unit prices of this account, and the endpoints for which fal names none."""

    prices: list[Price]
    unknown: list[str]


class EstimateAnswer(Estimate):
    """What it would cost in all. An estimate: the bill may differ."""


class KeySetAnswer(HeldKeySet):
    """fal's public keys for webhooks; `age_s` in seconds."""

    fetched_at: datetime
    refresh_at: datetime


class _Change(Answer):
    recorded: bool = Field(description="whether the service keeps a record and follows it up")
    next_step: str


class SubmitAnswer(_Change):
    """
    What became of a submit.

    `submitted` has a request id. `sending` and `unknown` have none yet: the same call with the
    same `command_id` asks again and never sends twice.
    """

    outcome: Literal["submitted", "sending", "unknown"]
    command_id: str
    endpoint: str
    request_id: str | None = None
    submission_id: str | None = None
    queue_position: int | None = None


class CancelAnswer(_Change):
    """
    What became of a cancel. Accepted (`asked`) is not cancelled: a running job may still succeed.

    `removed`: taken out of fal's queue, it never runs. `stopped`: it is never sent to fal.
    `remembered`: asked as soon as its request id is known. `already_completed`, `not_found`,
    `ended`: there was nothing left to cancel.
    """

    outcome: Literal[
        "removed", "asked", "remembered", "stopped", "already_completed", "not_found", "ended"
    ]
    request_id: str
    is_cancelled: bool
    detail: str = ""


def widened(answer: BaseModel, **added: Any) -> dict[str, Any]:
    """Return the fields of one of fal's answers, unknown ones too, with ours over them."""
    return {**answer.model_dump(), **added}
