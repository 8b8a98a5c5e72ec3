"""
Facts: one thing learned about a request or a submission, by one witness, at one time.

What each fact does to a state is the table in `lifecycle`; here is only their form as
values and as events on `fal.lifecycle`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from consumer.core.event import Event, EventType, event_id, format_time, parse_time
from consumer.core.text import dump_json, parse_json, storable
from consumer.errors import UndecodableEvent


class FactName(StrEnum):
    """Everything that can be learned; the tables in `lifecycle` say what each one does."""

    # about a submission
    INTENDED = "intended"
    SENDING = "sending"
    REFUSED = "refused"
    UNKNOWN = "unknown"
    STOPPED = "stopped"
    NEVER_CONFIRMED = "never_confirmed"
    CANCEL_REMEMBERED = "cancel_remembered"
    # about a request
    SUBMITTED = "submitted"
    TRACKED = "tracked"
    QUEUED = "queued"
    RUNNING = "running"
    CANCEL_WANTED = "cancel_wanted"
    CANCEL_ASKED = "cancel_asked"
    CANCEL_ACCEPTED = "cancel_accepted"
    CANCEL_REFUSED = "cancel_refused"
    NOT_FOUND = "not_found"
    LISTED = "listed"
    UNREADABLE = "unreadable"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    LOST = "lost"
    CONFLICTED = "conflicted"
    TOKEN_MISMATCHED = "token_mismatched"  # noqa: S105  a word, not a secret
    # about neither
    GROUP_CANCELLED = "group_cancelled"
    KEY_SET_FETCHED = "key_set_fetched"
    REPLAY_ASKED = "replay_asked"
    REPLAYED = "replayed"


class Witness(StrEnum):
    """Where a fact came from."""

    WEBHOOK = "webhook"
    RESULT = "result"
    STATUS = "status"
    LISTING = "listing"
    CANCEL = "cancel"
    SUBMIT = "submit"
    COMMAND = "command"
    TOKEN = "token"  # noqa: S105  a word, not a secret
    SWEEP = "sweep"
    RECEIVER = "receiver"
    OPERATOR = "operator"


OBSERVATIONS = frozenset(
    {
        FactName.QUEUED,
        FactName.RUNNING,
        FactName.NOT_FOUND,
        FactName.LISTED,
        FactName.CANCEL_REFUSED,
    }
)
"""Facts that may truly be learned again: their id holds their time, so that each one is kept."""

BY_POLICY = frozenset(
    {
        FactName.CANCEL_WANTED,
        FactName.CANCEL_REMEMBERED,
        FactName.CANCEL_ASKED,
        FactName.CANCEL_ACCEPTED,
    }
)
"""Facts that are another one under another policy: their id holds it."""


@dataclass(frozen=True, slots=True)
class Fact:
    """
    One thing learned. `at` is aware UTC; `detail` is JSON.

    `id` is the id of the event it came from. `signed` facts rest on fal's signature over
    `account`; one that does not `count` changes no state until its account is ours.
    """

    name: FactName
    witness: Witness
    at: datetime
    id: str
    request_id: str = ""
    submission_id: str = ""
    detail: Mapping[str, Any] = field(default_factory=dict)
    signed: bool = False
    account: str = ""
    counts: bool = True


class FactBody(BaseModel):
    """The data of a fact event, as others read it on `fal.lifecycle`."""

    model_config = ConfigDict(extra="allow", frozen=True)

    fact: FactName = Field(description="what was learned")
    witness: Witness = Field(description="where it came from")
    at: str = Field(description="when it was learned, RFC 3339 in UTC")
    request_id: str | None = Field(None, description="fal's id of the request, once there is one")
    submission_id: str | None = Field(None, description="our id of the submission, if it was ours")
    detail: dict[str, Any] = Field(default_factory=dict, description="what else was learned")


def new_fact(  # noqa: PLR0913  a fact is a row of six columns
    name: FactName,
    witness: Witness,
    at: datetime,
    *,
    request_id: str = "",
    submission_id: str = "",
    detail: Mapping[str, Any] | None = None,
) -> Fact:
    """Return an unsigned fact with its deterministic id."""
    subject = request_id or submission_id
    parts = [EventType.FACT.value, subject, submission_id, name.value, witness.value]
    if name in OBSERVATIONS:
        parts.append(format_time(at))
    if name in BY_POLICY:
        parts.append(str((detail or {}).get("policy") or ""))
    return Fact(name, witness, at, event_id(*parts), request_id, submission_id, detail or {})


def group_cancelled(group: str, at: datetime, detail: Mapping[str, Any]) -> Fact:
    """Return the fact that a group is cancelled: one for each group, whoever asks and how often."""
    return Fact(
        FactName.GROUP_CANCELLED,
        Witness.COMMAND,
        at,
        group_cancelled_id(group),
        detail={"group": group, **detail},
    )


def group_cancelled_id(group: str) -> str:
    """Return the id of the fact that a group is cancelled."""
    return event_id(EventType.FACT.value, FactName.GROUP_CANCELLED.value, group)


def fact_event(fact: Fact, source: str) -> Event:
    """Return the event of an unsigned fact. `source` is the origin of the answer it came from."""
    body = {
        "fact": fact.name.value,
        "witness": fact.witness.value,
        "at": format_time(fact.at),
        "request_id": fact.request_id or None,
        "submission_id": fact.submission_id or None,
        "detail": dict(fact.detail),
    }
    subject = fact.request_id or fact.submission_id or fact.id
    return Event(EventType.FACT, fact.id, source, subject, fact.at, dump_json(body))


def fact_from(event: Event) -> Fact:
    """
    Return the fact that a fact event carries.

    Raises UndecodableEvent, and nothing else.
    """
    try:
        body = FactBody.model_validate(parse_json(event.data))
        at = parse_time(body.at)
    except ValidationError as exc:
        first = exc.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "data"
        raise UndecodableEvent(where, first["msg"]) from exc
    except ValueError as exc:
        raise UndecodableEvent("data", "not JSON, or its time is none") from exc
    return Fact(
        body.fact,
        body.witness,
        at,
        event.id,
        storable(body.request_id or ""),
        storable(body.submission_id or ""),
        body.detail,
    )
