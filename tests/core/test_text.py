r"""Bytes into values and values into text: NUL, surrogates, depth and size included."""

import json
import sqlite3

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.core.text import dump_json, parse_json, printable, storable, storable_json
from tests.core.strategies import big_digits, json_objects, json_values, texts


def nested(depth: int) -> list:
    value: list = []
    for _ in range(depth):
        value = [value]
    return value


@given(json_values)
def test_what_is_dumped_is_parsed(value):
    """Any JSON value survives writing and reading, big numbers and surrogates included."""
    assert parse_json(dump_json(value)) == value


@given(json_values)
def test_fals_own_encoding_is_parsed(value):
    """What Python's default encoder writes, as fal's bodies are, is read as the same value."""
    assert parse_json(json.dumps(value, sort_keys=False).encode()) == value


@given(json_values)
def test_dumped_json_is_compact_ascii(value):
    """Written JSON is ASCII without a control character."""
    assert dump_json(value).decode("ascii").isprintable()


@given(st.one_of(st.binary(max_size=40), texts.map(lambda t: t.encode("utf-8", "surrogatepass"))))
def test_any_bytes_are_a_value_or_a_value_error(raw):
    """Any bytes are parsed or raise ValueError, and nothing else."""
    try:
        value = parse_json(raw)
    except ValueError:
        return
    assert parse_json(dump_json(value)) == value


def test_a_number_beyond_a_float_is_read_and_not_written():
    """A number too large for a float is read as infinite, and refused in writing."""
    value = parse_json(b'{"seed": 1e999}')

    assert value == {"seed": float("inf")}
    with pytest.raises(ValueError):
        dump_json(value)


@pytest.mark.parametrize(
    "raw", [b"", b"NaN", b"[Infinity]", b'{"a": -Infinity}', b"{", b"\xff", b"[" * 100_000]
)
def test_what_is_no_json_is_refused(raw):
    """NaN, Infinity, cut, binary and too deeply nested documents raise ValueError."""
    with pytest.raises(ValueError):
        parse_json(raw)


@given(big_digits)
def test_eight_kilobytes_of_digits_are_refused(digits):
    """A number of thousands of digits raises ValueError, and nothing else."""
    with pytest.raises(ValueError):
        parse_json(digits.encode())


@pytest.mark.parametrize(
    "raw, value",
    [
        (b'"\\ud800"', "\ud800"),
        (b'"\\u0000"', "\0"),
        (b'"\\ud83c\\udf4e"', "\U0001f34e"),
        (b"17454220438242315174", 17454220438242315174),
        (b"1.3716533930000878", 1.3716533930000878),
        (b'{"a": 1, "a": 2}', {"a": 2}),
    ],
)
def test_traps_of_real_bodies_are_read(raw, value):
    """Surrogates, NUL, seeds beyond 64 bits and long fractions are read exactly."""
    assert parse_json(raw) == value


@pytest.mark.parametrize("value", [float("nan"), float("inf"), [float("-inf")]])
def test_numbers_that_json_has_not_are_not_written(value):
    """NaN and Infinity are refused in writing."""
    with pytest.raises(ValueError):
        dump_json(value)


def test_depth_is_a_value_error():
    """A value nested too deeply for the writer raises ValueError, as text and as JSON."""
    with pytest.raises(ValueError, match="nested too deeply"):
        dump_json(nested(100_000))
    with pytest.raises(ValueError, match="nested too deeply"):
        storable_json(nested(100_000))


@given(texts)
def test_storable_text_is_utf8_without_nul(text):
    """Storable text encodes as UTF-8, holds no NUL, and is left alone by a second pass."""
    stored = storable(text)

    assert b"\0" not in stored.encode()
    assert storable(stored) == stored


@given(texts.filter(lambda text: "\\" not in text))
def test_storable_text_tells_what_it_was(text):
    """The escapes of storable text are JSON's, so that the text can be told from it."""
    escaped = storable(text)
    readable = json.loads(
        '"' + "".join(c if c == "\\" else json.dumps(c)[1:-1] for c in escaped) + '"'
    )

    assert dump_json(readable) == dump_json(json.loads(json.dumps(text)))


def test_storable_escapes_and_nothing_else():
    r"""NUL and lone surrogates are written as escapes, all other text stays."""
    assert storable("a\0b\ud800c\U0001f34e\n") == "a\\u0000b\\ud800c\U0001f34e\n"


@given(json_values)
def test_storable_json_holds_no_refused_escape(value):
    """Storable JSON is JSON without any escape that `jsonb` refuses."""
    parsed = json.loads(storable_json(value))

    assert "\0" not in repr(parsed)
    assert all(not 0xD800 <= ord(char) <= 0xDFFF for char in _texts_in(parsed))


@given(texts, json_objects)
def test_databases_take_stored_text(text, value):
    """Stored text and JSON come back from a real column as they went in."""
    rows = (storable(text), storable_json(value))
    with sqlite3.connect(":memory:") as database:
        database.execute("CREATE TABLE kept (text TEXT NOT NULL, json TEXT NOT NULL)")
        database.execute("INSERT INTO kept VALUES (?, ?)", rows)
        kept = database.execute("SELECT text, json, json_valid(json) FROM kept").fetchone()
        size = database.execute("SELECT length(text) FROM kept").fetchone()[0]
    database.close()

    assert (*rows, 1) == kept
    assert len(rows[0]) == size


@pytest.mark.parametrize("value", [(1, "\0"), {7: "\ud800"}, {"\0": [None, True, 1.5]}])
def test_storable_json_takes_pythons_own_shapes(value):
    """Tuples are lists and keys are text in storable JSON."""
    assert isinstance(json.loads(storable_json(value)), (list, dict))


@given(texts)
def test_printable_text_is_one_safe_line(text):
    """Printable text has no control character, fits UTF-8, and is left alone by a second pass."""
    shown = printable(text)

    assert shown.isprintable()
    assert printable(shown) == shown
    assert shown.encode().decode() == shown


def test_printable_escapes_what_a_terminal_obeys():
    """Escape sequences, line feeds and right-to-left marks are shown, not obeyed."""
    assert printable("a\x1b[2J\n\u202e\ud800é") == "a\\x1b[2J\\n\\u202e\\ud800é"


def _texts_in(value) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, dict):
        return "".join(_texts_in([*value.keys(), *value.values()]))
    return "".join(map(_texts_in, value)) if isinstance(value, list) else ""
