r"""
Bytes from outside into values, and values into text that every store takes.

fal's encoder emits NUL and lone surrogates as `\u` escapes; PostgreSQL refuses both in
text, UTF-8 refuses the second. One function parses bodies, one escapes text, one writes
JSON, so that no other place has to know.
"""

import json
import re
from typing import Any, NoReturn

from pydantic_core import from_json

_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


class _NotFiniteError(ValueError):
    pass


def parse_json(body: bytes) -> Any:
    """
    Return the value of a JSON document.

    pydantic's parser first; where that refuses (lone surrogates, depth), the standard
    library's. NaN and Infinity are not JSON and are refused.
    Raises ValueError when both refuse, and nothing else.
    """
    try:
        return from_json(body, allow_inf_nan=False, cache_strings="none")
    except ValueError:
        pass
    try:
        return json.loads(body, parse_constant=_refuse_constant)
    except RecursionError as exc:
        raise ValueError("nested too deeply") from exc


def dump_json(value: Any) -> bytes:
    r"""
    Return `value` as compact ASCII JSON, everything else escaped as `\u`.

    Raises ValueError when it holds NaN or Infinity or is nested too deeply, and nothing
    else for values that `parse_json` returned.
    """
    try:
        return json.dumps(value, separators=(",", ":"), allow_nan=False).encode("ascii")
    except RecursionError as exc:
        raise ValueError("nested too deeply") from exc


def storable(text: str) -> str:
    r"""
    Return `text` with NUL and lone surrogates written as `\u` escapes, for any database.

    A backslash that would read as such an escape is left alone: the result is for people
    and for search, the exact bytes rest in the evidence.
    """
    return _UNSTORABLE.sub(lambda found: f"\\u{ord(found.group()):04x}", text)


def storable_json(value: Any) -> str:
    r"""
    Return `value` as JSON text without any escape of NUL or of a lone surrogate in it.

    PostgreSQL's `jsonb` refuses those escapes too; they stand in the text as `\\u0000`.
    """
    try:
        return dump_json(_storable_value(value)).decode("ascii")
    except RecursionError as exc:
        raise ValueError("nested too deeply") from exc


def printable(text: str) -> str:
    """
    Return foreign text with control characters escaped, safe for a terminal and for one line of a
    log.
    """
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode("ascii")
        for char in text
    )


def _storable_value(value: Any) -> Any:
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, dict):
        return {storable(str(key)): _storable_value(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_storable_value(item) for item in value]
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise _NotFiniteError(name)
