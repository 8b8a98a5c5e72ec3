"""
Reading what a caller asks for in query and headers into models, which also make the schema. Pure.

Source for all of it: fal docs, Platform APIs, common parameters (read 2026-10-07).
"""

import base64
import binascii
import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Annotated, Any, TypeVar, get_origin

from multidict import MultiMapping
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, WithJsonSchema

DEFAULT_RANGE = timedelta(hours=24)
LONG_RANGE = timedelta(days=90)
_DIGITS = re.compile(r"[0-9]{1,9}")
# Base64 of the numbers 1 to 999, so that whoever makes calls from the schema makes usable ones.
_CURSOR_PATTERN = (
    r"^((M[Qgw]|N[AQgw]|O[AQ])==|(M[Tjz]|N[DTjz]|O[DT])([AEIMQUYcgk]=|[AEIMQUYcgk][w-z0-5]))$"
)
Item = TypeVar("Item")
Model = TypeVar("Model", bound=BaseModel)


class BadQueryError(ValueError):
    """A parameter fal would answer 400 for; carries its name."""

    def __init__(self, parameter: str) -> None:
        super().__init__(parameter)
        self.parameter = parameter

    def __str__(self) -> str:
        return f"Invalid request parameters: {self.parameter}"


def _whole(text: object) -> object:
    if isinstance(text, str) and not _DIGITS.fullmatch(text):
        raise ValueError("expected a whole number")
    return text


def _page_number(cursor: object) -> object:
    if not isinstance(cursor, str):
        return cursor
    try:
        text = base64.b64decode(cursor, validate=True).decode("ascii")
    except (binascii.Error, UnicodeDecodeError) as exc:
        raise ValueError("expected a cursor of this API") from exc
    return _whole(text)


def _instant(text: object) -> object:
    if not isinstance(text, str):
        return text
    # A plus sign that nobody encoded arrives as a space.
    moment = datetime.fromisoformat(text.replace(" ", "+"))
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


WHOLE = BeforeValidator(_whole)
PageNumber = Annotated[
    int,
    BeforeValidator(_page_number),
    Field(ge=1),
    WithJsonSchema(
        {
            "type": "string",
            "pattern": _CURSOR_PATTERN,
            "description": "The next_cursor of the page before: a page number in base64.",
            "examples": ["Mg=="],
        }
    ),
]
Instant = Annotated[
    float,
    BeforeValidator(_instant),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "format": "date-time"},
                {"type": "string", "format": "date"},
            ],
            "description": "RFC 3339, or a day in UTC.",
        }
    ),
]
Ids = Annotated[tuple[str, ...], Field(min_length=1, max_length=50)]
SomeIds = Annotated[tuple[str, ...], Field(max_length=50)]


class Asked(BaseModel):
    """What one call asks for; parameters that fal does not know are passed over."""

    model_config = ConfigDict(extra="ignore", frozen=True, hide_input_in_errors=True)


class Paged(Asked):
    """A call that answers in pages."""

    cursor: PageNumber | None = None

    @property
    def page(self) -> int:
        """The number of the page, from 1."""
        return self.cursor or 1


class Ranged(Asked):
    """A call about some time; `end` is exclusive."""

    start: Instant | None = None
    end: Instant | None = None

    def span(
        self, now: float, default: timedelta, longest: timedelta | None = None
    ) -> tuple[float, float]:
        """Return start and end as unix seconds; raises BadQueryError for too long a range."""
        end = float("inf") if self.end is None else self.end
        last = min(end, now)
        start = last - default.total_seconds() if self.start is None else self.start
        if longest is not None and last - start > longest.total_seconds() + 1.0:
            raise BadQueryError("start")
        return start, end


def read(kind: type[Model], given: MultiMapping[str]) -> Model:
    """
    Return what the query or the headers ask for.

    Fields that are tuples take a parameter repeated or with commas, each value once.
    Raises BadQueryError with the name of the first parameter that cannot be.
    """
    fields: dict[str, Any] = {}
    for name, field in kind.model_fields.items():
        key = field.alias or name
        texts = given.getall(key, [])
        if not texts:
            continue
        if get_origin(field.annotation) is tuple:
            parts = [part for text in texts for part in text.split(",") if part]
            fields[key] = list(dict.fromkeys(parts))
        else:
            fields[key] = texts[0]
    try:
        return kind.model_validate(fields)
    except ValidationError as exc:
        where = exc.errors(include_input=False, include_url=False)[0]["loc"]
        raise BadQueryError(str(where[0]) if where else "expand") from exc


def paged(items: Iterable[Item], page_number: int, page_size: int) -> tuple[list[Item], str | None]:
    """Return one page and the cursor of the next, None when this is the last."""
    first = (page_number - 1) * page_size
    found = list(islice(items, first, first + page_size + 1))
    if len(found) <= page_size:
        return found, None
    return found[:page_size], base64.b64encode(str(page_number + 1).encode()).decode()


def iso(instant: float) -> str:
    """Return unix seconds as ISO 8601 in UTC."""
    return datetime.fromtimestamp(instant, UTC).isoformat().replace("+00:00", "Z")
