"""
An answer's JSON into a typed value, with as much of it as this version knows. Pure.

A field that is missing or has changed is a drift. Where the value can do without it, the
field is left out, the drift told beside the value, and the rest is used; where it cannot,
the drift is raised. Nothing here quotes a body but single words of fal's own kind.
"""

import re
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from consumer.core.text import parse_json, printable
from consumer.errors import FalUnavailable, SchemaDrift
from consumer.fal.call import Answer

_Model = TypeVar("_Model", bound=BaseModel)
_Where = tuple[int | str, ...]

_MAX_PASSES = 8  # each pass leaves out at least one value that the pass before it kept
_MAX_DRIFTS = 20  # of one answer: a page of a hundred models drifts in all of them
_MAX_WHERE_CHARS = 200
_WORD = re.compile(r"[A-Za-z_-]{1,40}")
_EXPECTED = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "string_type": "text",
    "bool_type": "true or false",
    "list_type": "a list",
    "tuple_type": "a list",
    "dict_type": "an object",
    "model_type": "an object",
    "model_attributes_type": "an object",
    "finite_number": "a finite number",
}
_GONE = object()


def json_of(answer: Answer) -> Any:
    """
    Return the JSON that came. Raises FalUnavailable for what is none: it may be whole next time.
    """
    try:
        return parse_json(answer.body)
    except ValueError as exc:
        problem = "unreadable_answer" if answer.body else "empty_answer"
        raise FalUnavailable(problem, came=answer.came) from exc


def read(
    model: type[_Model], value: Any, operation: str, body: bytes
) -> tuple[_Model, tuple[SchemaDrift, ...]]:
    """
    Return the value as `model`, and what had to be left out of it to read it.

    An item of a list that cannot be read is left out whole. Raises SchemaDrift where what is
    missing is needed, and nothing else.
    """
    drifts: list[SchemaDrift] = []
    left_out: set[_Where] = set()
    for _ in range(_MAX_PASSES):
        try:
            return model.model_validate(value), tuple(drifts[:_MAX_DRIFTS])
        except ValidationError as exc:
            errors = exc.errors(include_url=False, include_context=True)
        drifts += [
            _drift(error, operation, body)
            for error in errors
            if tuple(error["loc"]) not in left_out
        ]
        wheres = {_removable(error, value, left_out) for error in errors}
        if () in wheres:
            break
        left_out |= wheres | {tuple(error["loc"]) for error in errors}
        value = _without(value, wheres)
    raise drifts[0]


def drift(
    operation: str, where: str, body: bytes, *, expected: str, value: Any = _GONE
) -> SchemaDrift:
    """Return the drift of one value, described and not quoted."""
    return SchemaDrift(operation, where, body, expected=expected, came=_came(value))


def _drift(error: ErrorDetails, operation: str, body: bytes) -> SchemaDrift:
    came = _GONE if error["type"] == "missing" else error["input"]
    return drift(operation, _path(error["loc"]), body, expected=_expected(error), value=came)


def _path(where: Sequence[int | str]) -> str:
    text = ""
    for part in where:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return printable(text)[:_MAX_WHERE_CHARS] or "the answer"


def _expected(error: ErrorDetails) -> str:
    kind = error["type"]
    if kind == "missing":
        return "a value"
    allowed = error.get("ctx", {}).get("expected")
    if kind in ("literal_error", "enum") and isinstance(allowed, str):
        return f"one of {allowed}"
    return _EXPECTED.get(kind) or error["msg"].removeprefix("Value error, expected ")


def _came(value: Any) -> str:
    """Return the kind of a JSON value; a single word as it is, for it may be a new one of fal's."""
    if value is _GONE:
        return "nothing"
    if isinstance(value, str):
        return repr(value) if _WORD.fullmatch(value) else f"text of {len(value)} characters"
    kinds: Iterable[tuple[type | tuple[type, ...], str]] = (
        (bool, "true or false"),
        ((int, float), "a number"),
        (list, "a list"),
        (dict, "an object"),
    )
    return next((name for kind, name in kinds if isinstance(value, kind)), "null")


def _removable(error: ErrorDetails, value: Any, left_out: set[_Where]) -> _Where:
    """
    Return the place to leave out: the value itself, and what holds it where it is needed there.
    """
    where = tuple(error["loc"])
    if error["type"] == "missing" or where in left_out:
        where = where[:-1]
    while where and _at(value, where) is _GONE:
        where = where[:-1]
    return where


def _at(value: Any, where: _Where) -> Any:
    for part in where:
        try:
            value = value[part]
        except (KeyError, IndexError, TypeError):
            return _GONE
    return value


def _without(value: Any, wheres: set[_Where]) -> Any:
    """Return the value without what stands at these places. The value itself stays as it is."""
    here = {where[0]: set[_Where]() for where in wheres}
    for first, *rest in wheres:
        here[first].add(tuple(rest))

    def kept(part: int | str, item: Any) -> Any:
        if part not in here:
            return item
        return _GONE if () in here[part] else _without(item, here[part])

    if isinstance(value, list):
        items = [kept(index, item) for index, item in enumerate(value)]
        return [item for item in items if item is not _GONE]
    pairs = {name: kept(name, item) for name, item in value.items()}
    return {name: item for name, item in pairs.items() if item is not _GONE}
