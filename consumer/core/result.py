"""
The result event: what other services read on `fal.results`, one for every end.

`revision` is 1; it is higher only when a later truth outranks the earlier one or fills a
missing output. Of several revisions the highest wins.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from consumer.core.completion import Completion
from consumer.core.event import Event, EventType, event_id, format_time
from consumer.core.fact import FactName
from consumer.core.standing import RANK, Published, State
from consumer.core.text import dump_json, parse_json
from consumer.errors import UndecodableEvent

MAX_OUTPUT_BYTES = 10 * 1024 * 1024
# The default limit of a webhook's body: what may come in may go out. Beyond it the output
# stays at fal and the event says so, because no log takes records of any size.
_MAX_MEDIA = 100
_MAX_MEDIA_DEPTH = 8


class OutputMissing(StrEnum):
    """Why a result of a finished request carries no output."""

    TOO_LARGE = "too_large"
    EXPIRED = "expired"
    ENDPOINT_UNKNOWN = "endpoint_unknown"
    UNAVAILABLE = "unavailable"


class Media(BaseModel):
    """One generated file, as fal names it."""

    model_config = ConfigDict(frozen=True)

    url: str
    content_type: str | None = None
    file_name: str | None = None


class Result(BaseModel):
    """The outcome of one request, or of a submission that ended without one."""

    model_config = ConfigDict(frozen=True, extra="allow")

    request_id: str | None = Field(
        None, description="fal's id; null when a submission never got one"
    )
    submission_id: str | None = Field(None, description="our id of the submission, if it was ours")
    command_id: str | None = Field(None, description="the submitter's own id of its command")
    endpoint: str | None = Field(None, description="fal's endpoint id, where it is known")
    tags: dict[str, str] = Field(default_factory=dict, description="the submitter's tags")
    revision: int = Field(1, ge=1, description="1, and higher only for a later, better truth")
    outcome: str = Field(
        pattern="^(succeeded|failed|cancelled|lost)$",
        description="succeeded, failed, cancelled or lost",
    )
    reason: str | None = Field(None, description="why, for an end that fal did not explain")
    witness: str = Field(description="who told the end: webhook, result, status, listing, cancel …")
    http_status: int | None = Field(None, description="the model's HTTP status, where known")
    error: str | None = Field(None, description="fal's short error text")
    error_type: str | None = Field(None, description="fal's machine type of the error")
    output: Any = Field(None, description="the model's output, or its error detail, as JSON")
    output_base64: str | None = Field(None, description="the output where it is not JSON")
    content_type: str | None = Field(None, description="the type of `output_base64`")
    output_missing: str | None = Field(
        None, description="too_large, expired, endpoint_unknown or unavailable"
    )
    billable_units: str | None = Field(None, description="what fal charged, decimal text")
    media: list[Media] = Field(default_factory=list, description="files named in the output")
    ended_at: str = Field(description="when we learned the end, RFC 3339 in UTC")


@dataclass(frozen=True, slots=True)
class Correlation:
    """What a submitter recognises its job by."""

    submission_id: str = ""
    command_id: str = ""
    endpoint: str = ""
    tags: tuple[tuple[str, str], ...] = ()


def result_of(
    completion: Completion, correlation: Correlation, *, witness: str, ended_at: datetime
) -> Result:
    """Return the result, at revision 1, of a completion; an output over 10 MiB is left out."""
    fields = _output_of(completion)
    return Result(
        request_id=completion.request_id,
        **_correlation_fields(correlation),
        outcome=completion.end.value,
        witness=witness,
        http_status=completion.http_status,
        error=completion.error,
        error_type=completion.error_type,
        billable_units=completion.billable_units,
        ended_at=format_time(ended_at),
        **fields,
    )


def bare_result(  # noqa: PLR0913  an end without output has as many sides
    end: FactName | str,
    correlation: Correlation,
    *,
    request_id: str = "",
    reason: str | None,
    witness: str,
    ended_at: datetime,
    http_status: int | None = None,
    output_missing: str | None = None,
) -> Result:
    """Return the result of an end that has no output: lost, cancelled, refused."""
    return Result(
        request_id=request_id or None,
        **_correlation_fields(correlation),
        outcome=str(end),
        reason=reason,
        witness=witness,
        http_status=http_status,
        output_missing=output_missing,
        ended_at=format_time(ended_at),
    )


def result_event(result: Result, *, source: str, at: datetime) -> Event:
    """Return the event of a result. Its id names the subject and the revision, nothing else."""
    subject = result.request_id or result.submission_id or ""
    identity = event_id(EventType.RESULT.value, subject, str(result.revision))
    return Event(EventType.RESULT, identity, source, subject, at, dump_json(result.model_dump()))


def result_from(event: Event) -> Result:
    """
    Return the result that a result event carries.

    Raises UndecodableEvent, and nothing else.
    """
    try:
        return Result.model_validate(parse_json(event.data))
    except ValidationError as exc:
        first = exc.errors(include_input=False, include_url=False)[0]
        raise UndecodableEvent(".".join(map(str, first["loc"])), first["msg"]) from exc
    except ValueError as exc:
        raise UndecodableEvent("data", "not JSON that can be read") from exc


def published_of(result: Result) -> Published:
    """Return what the ledger remembers of a result."""
    return Published(
        revision=result.revision,
        outcome=result.outcome,
        witness=result.witness,
        billable_units=result.billable_units,
        http_status=result.http_status,
        output_missing=result.output_missing,
    )


def next_revision(held: Published | None, offered: Result) -> int | None:
    """
    Return the revision under which to publish `offered`, or None when it adds nothing.

    It adds something when nothing is published, when its outcome outranks the published
    one, or when it fills an output that was missing. A better witness of the same outcome
    is no revision.
    """
    if held is None:
        return 1
    held_rank, offered_rank = RANK[State(held.outcome)], RANK[State(offered.outcome)]
    fills = held.output_missing is not None and offered.output_missing is None
    if offered_rank > held_rank or (offered_rank == held_rank and fills):
        return held.revision + 1
    return None


def media_in(output: Any, *, schemes: tuple[str, ...] = ("https://",)) -> list[Media]:
    """
    Return the files that an output names: https URLs in `url` fields or in `…_url` fields.

    The layout differs per model (fal docs, "Files"), so the whole output is walked, to a
    depth of 8 and for 100 files at most.
    """
    found: list[Media] = []
    _walk(output, found, 0, schemes)
    return found


def _walk(value: Any, found: list[Media], depth: int, schemes: tuple[str, ...]) -> None:
    if depth > _MAX_MEDIA_DEPTH or len(found) >= _MAX_MEDIA:
        return
    if isinstance(value, list):
        for item in value:
            _walk(item, found, depth + 1, schemes)
    elif isinstance(value, dict):
        for key, item in value.items():
            if isinstance(item, str) and (key == "url" or key.endswith("_url")):
                if item.startswith(schemes) and len(found) < _MAX_MEDIA:
                    found.append(_media(item, value if key == "url" else {}))
            else:
                _walk(item, found, depth + 1, schemes)


def _media(url: str, file: dict[str, Any]) -> Media:
    content_type, name = file.get("content_type"), file.get("file_name")
    return Media(
        url=url,
        content_type=content_type if isinstance(content_type, str) else None,
        file_name=name if isinstance(name, str) else None,
    )


def _correlation_fields(correlation: Correlation) -> dict[str, Any]:
    return {
        "submission_id": correlation.submission_id or None,
        "command_id": correlation.command_id or None,
        "endpoint": correlation.endpoint or None,
        "tags": dict(correlation.tags),
    }


def _output_of(completion: Completion) -> dict[str, Any]:
    """Return the output fields of a result, or why there is none."""
    missing = {"output_missing": completion.output_missing or OutputMissing.UNAVAILABLE.value}
    if completion.output_base64 is not None:
        if len(completion.output_base64) > MAX_OUTPUT_BYTES:
            return {"output_missing": OutputMissing.TOO_LARGE.value}
        return {
            "output_base64": completion.output_base64,
            "content_type": completion.content_type,
        }
    if not completion.has_output:
        return missing
    try:
        size = len(dump_json(completion.output))
    except ValueError:
        return missing
    if size > MAX_OUTPUT_BYTES:
        return {"output_missing": OutputMissing.TOO_LARGE.value}
    # An error's detail holds links too, to fal's documentation: no media.
    is_ok = completion.end is FactName.SUCCEEDED
    return {
        "output": completion.output,
        "media": media_in(completion.output) if is_ok else [],
    }
