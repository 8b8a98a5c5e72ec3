"""
Commands: what other services, the command line and agents ask of us on `fal.commands`.

Each carries a `command_id` chosen by its sender; the same id is the same command.
"""

from collections.abc import Mapping
from datetime import datetime
from hashlib import sha256
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    field_validator,
    model_validator,
)

from consumer.core.endpoint import is_endpoint_id, is_request_id
from consumer.core.event import Event, EventType, event_id, parse_time
from consumer.core.submit_options import SubmitOptions
from consumer.core.text import dump_json, parse_json
from consumer.errors import UndecodableEvent

CommandId = Annotated[
    str, Field(pattern=r"^[\x21-\x7e]{1,200}$", description="the sender's own id")
]


def _request_id(value: str) -> str:
    if not is_request_id(value):
        raise ValueError("expected a UUID, as fal's request ids are")
    return value.lower()


def _writable(value: dict[str, Any]) -> dict[str, Any]:
    try:
        dump_json(value)
    except (ValueError, TypeError) as exc:
        raise ValueError("expected JSON without numbers beyond a float, not nested deeply") from exc
    return value


_MAX_WHERE = 200  # part of it may be a sender's field name
RequestId = Annotated[str, AfterValidator(_request_id)]

GroupKey = Annotated[str, Field(pattern=r"^[\x21-\x7e]{1,200}$", description="what it belongs to")]
SeriesKey = Annotated[
    str, Field(pattern=r"^[\x21-\x7e]{1,200}$", description="of each key only the newest is wanted")
]


class _Command(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    command_id: CommandId


class _Wanted(_Command):
    endpoint: str = Field(description="fal's endpoint id, `owner/app[/path]`")
    start_by: str | None = Field(None, description="deadline to start, RFC 3339")
    finish_by: str | None = Field(None, description="deadline to finish, RFC 3339")
    tags: dict[str, str] = Field(default_factory=dict, max_length=10)
    group: GroupKey | None = Field(None, description="cancelled together, by this name")
    supersedes: SeriesKey | None = Field(
        None, description="a newer one with this key cancels the older ones that wait"
    )

    @field_validator("endpoint")
    @classmethod
    def _endpoint(cls, value: str) -> str:
        if not is_endpoint_id(value):
            raise ValueError("expected owner/app[/path] of letters, digits, '_', '.', '-'")
        return value

    @field_validator("start_by", "finish_by")
    @classmethod
    def _time(cls, value: str | None) -> str | None:
        if value is not None:
            parse_time(value)
        return value


class Submit(_Wanted):
    """Submit a job to fal, once."""

    command: Literal["submit"] = "submit"
    input: Annotated[dict[str, Any], AfterValidator(_writable)] = Field(
        description="the model's input"
    )
    options: SubmitOptions = Field(
        default_factory=SubmitOptions, description="what is asked of fal's queue besides"
    )

    @property
    def submission_id(self) -> str:
        """
        Our id of the submission: a hash of the command's id, so that a repeat is the same one.
        """
        return submission_id_of(self.command_id)

    @property
    def input_sha256(self) -> str:
        """What makes two submits with one `command_id` the same: endpoint and input."""
        return sha256(dump_json([self.endpoint, self.input])).hexdigest()


class Track(_Wanted):
    """Follow a request that somebody else submitted."""

    command: Literal["track"] = "track"
    request_id: RequestId


class Cancel(_Command):
    """
    Ask fal to stop a request, or everything in a group, what is still to come included.

    `subject` is a request id or a submission id; either it or `group` is given.
    """

    command: Literal["cancel"] = "cancel"
    subject: str | None = Field(None, pattern=r"^[A-Za-z0-9_-]{1,64}$")
    group: GroupKey | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.subject is None) == (self.group is None):
            raise ValueError("expected either subject or group")
        return self


class Refetch(_Command):
    """Ask fal for the result of a request again."""

    command: Literal["refetch"] = "refetch"
    request_id: RequestId


Command = Annotated[Submit | Track | Cancel | Refetch, Field(discriminator="command")]
COMMAND: TypeAdapter[Submit | Track | Cancel | Refetch] = TypeAdapter(Command)


def submission_id_of(command_id: str) -> str:
    """Return the submission id that belongs to a command: `sub_` and 32 hex digits."""
    return f"sub_{event_id('submission', command_id)[:32]}"


def group_subject(group: str) -> str:
    """Return what records about a group are keyed by: `grp_` and 32 hex digits."""
    return f"grp_{event_id('group', group)[:32]}"


def parse_command(data: bytes) -> Submit | Track | Cancel | Refetch:
    """
    Return the command in a record's value.

    Raises UndecodableEvent that names the field and what was expected, and nothing else.
    """
    try:
        return COMMAND.validate_python(parse_json(data))
    except ValidationError as exc:
        first = exc.errors(include_input=False, include_url=False, include_context=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "data"
        is_tag = first["type"].startswith("union_tag")  # pydantic's sentence repeats the input
        problem = "expected submit, track, cancel or refetch" if is_tag else first["msg"]
        raise UndecodableEvent(where[:_MAX_WHERE], problem) from exc
    except ValueError as exc:
        raise UndecodableEvent("data", "not JSON") from exc


def command_event(fields: Mapping[str, Any], *, source: str, at: datetime) -> Event:
    """
    Return the event of a command, validated.

    Raises UndecodableEvent that names the field and what was expected.
    """
    try:
        command = parse_command(dump_json(dict(fields)))
    except (ValueError, TypeError) as exc:
        raise UndecodableEvent("data", "not JSON") from exc
    subject = _subject_of(command)
    data = dump_json(command.model_dump())
    return Event(EventType.COMMAND, command.command_id, source, subject, at, data)


def _subject_of(command: Submit | Track | Cancel | Refetch) -> str:
    match command:
        case Submit():
            return command.submission_id
        case Cancel(subject=str(subject)):
            return subject
        case Cancel():
            return group_subject(command.group or "")
        case _:
            return command.request_id
