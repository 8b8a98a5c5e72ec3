"""
Lists of the platform, page after page, and how its calls are written.

Source: fal docs, "Platform APIs", common parameters (2026-10-07): `limit` and `cursor` in,
`next_cursor` and `has_more` out; a cursor is a position and no snapshot, so pages may shift.
"""

from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Generic, TypeVar
from urllib.parse import urlencode

from pydantic import BaseModel

from consumer.errors import FalRefused
from consumer.fal import wire
from consumer.fal.answers import FalAnswer
from consumer.fal.call import Answer, Call, Host
from consumer.fal.caller import Caller
from consumer.fal.reading import drift, json_of, read

_Item = TypeVar("_Item", bound=BaseModel)
_Model = TypeVar("_Model", bound=FalAnswer)

MAX_PAGES = 10_000
Query = Mapping[str, str | int | datetime | Sequence[str] | None]
"""Parameters of a call: None is left out, a sequence repeats its name."""


class Page(FalAnswer, Generic[_Item]):
    """One page of a list."""

    items: list[_Item]
    next_cursor: str | None = None
    has_more: bool | None = None


def get(operation: str, path: str, query: Query, max_bytes: int) -> Call:
    """Return the call that reads this path of the platform."""
    return Call(operation, "GET", path, max_bytes, query=encoded(query), host=Host.API)


def encoded(query: Query) -> str:
    """Return the parameters as fal takes them: times as RFC 3339 in UTC, lists repeated."""
    return urlencode(list(_pairs(query)))


def read_answer(answer: Answer, model: type[_Model], operation: str, name: str = "") -> _Model:
    """
    Return what a platform call answered; `name` is the field that becomes `items`.

    Raises FalUnavailable, FalRefused, SchemaDrift, and nothing else.
    """
    wire.raise_unless_ok(answer)
    value = json_of(answer)
    if not isinstance(value, dict):
        raise drift(operation, "the answer", answer.body, expected="an object", value=value)
    if name:
        if name not in value:
            raise drift(operation, name, answer.body, expected="a list")
        value = {**value, "items": value.pop(name)}
    found, drifts = read(model, value, operation, answer.body)
    return found.with_drifts(drifts)


async def follow(  # noqa: PLR0913, PLR0917  what is asked, and what becomes of it
    caller: Caller, operation: str, path: str, query: Query, page: type[Page[_Item]], name: str
) -> AsyncGenerator[_Item, None]:
    """
    Yield the items of a list, asking for each page when its first item is wanted.

    Raises FalUnavailable, FalRefused and SchemaDrift, this also where pages do not end.
    """
    cursor: str | None = None
    seen = set[str]()
    judge = partial(read_answer, model=page, operation=operation, name=name)
    limits = caller.limits
    while len(seen) < MAX_PAGES:
        call = get(operation, path, {**query, "cursor": cursor}, limits.max_page_bytes)
        found = await caller.ask(call, limits.listing_s, judge)
        caller.tell(found.drifts)
        for item in found.items:
            yield item
        cursor = found.next_cursor
        if found.has_more is False or (cursor is None and found.has_more is None):
            return
        if cursor is None or cursor in seen:
            expected = "a cursor that was not given before, where there is more"
            raise drift(operation, "next_cursor", b"", expected=expected, value=cursor)
        seen.add(cursor)
    raise FalRefused(0, "too_many_pages")


def _pairs(query: Query) -> Iterable[tuple[str, str]]:
    for name, value in query.items():
        if value is None:
            continue
        if isinstance(value, datetime):
            yield name, value.astimezone(UTC).isoformat().replace("+00:00", "Z")
        elif isinstance(value, (str, int)):
            yield name, str(value)
        else:
            yield from ((name, item) for item in value)
