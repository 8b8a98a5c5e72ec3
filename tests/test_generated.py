"""What is generated is up to date, and says what the code does."""

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from consumer.core.command import command_event
from consumer.core.completion import completion_of_answer, parse_webhook, reconciled_event
from consumer.core.event import EventType
from consumer.core.fact import FactName, Witness, fact_event, new_fact
from consumer.core.lifecycle import REQUEST_TABLE, SUBMISSION_TABLE
from consumer.core.result import Correlation, result_event, result_of
from consumer.core.text import dump_json
from consumer.errors import UndecodableEvent
from docs import asyncapi
from tests.core.strategies import NOW, REQUEST_ID, json_objects, json_values

ROOT = Path(__file__).resolve().parent.parent


def _loaded():
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


generate = _loaded()
COMPLETION = completion_of_answer(REQUEST_ID, 200, b'{"images": [{"url": "https://a/1"}]}', "")
REFUSED = completion_of_answer(REQUEST_ID, 422, b"<html>", "text/html")


def schema(name: str) -> dict:
    return json.loads((ROOT / "schemas" / f"{name}.schema.json").read_text())


def test_generated_files_are_up_to_date():
    """Each generated file is what `python docs/generate.py` writes."""
    assert [str(path.relative_to(ROOT)) for path in generate.outdated()] == []


def test_schemas_folder_holds_nothing_stale():
    """Each JSON Schema in the folder is one that is generated."""
    present = set((ROOT / "schemas").glob("*.schema.json"))

    assert present == {path for path in generate.outputs() if path.suffix == ".json"}


def test_check_writes_nothing_and_tells():
    """With `--check` an up-to-date tree exits 0, in silence."""
    script = str(ROOT / "docs" / "generate.py")

    done = subprocess.run([sys.executable, script, "--check"], capture_output=True, check=False)

    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_check_names_what_is_out_of_date(tmp_path, capsys):
    """With `--check` a missing file exits 1 by name; without, it is written; then all is well."""
    runs = (["--check"], [], ["--check"])

    checked, written, again = (generate.main(arguments, tmp_path) for arguments in runs)

    assert (checked, written, again) == (1, 0, 0)
    assert capsys.readouterr().out.splitlines() == [
        f"{verb}: {path.relative_to(tmp_path)}"
        for verb in ("out of date", "written")
        for path in generate.outputs(tmp_path)
    ]


@pytest.mark.parametrize(
    "name, data",
    [
        (
            "fact.v1",
            fact_event(
                new_fact(FactName.QUEUED, Witness.STATUS, NOW, request_id=REQUEST_ID), "s"
            ).data,
        ),
        ("completion.reconciled.v1", reconciled_event(COMPLETION, source="s", at=NOW).data),
        ("completion.reconciled.v1", reconciled_event(REFUSED, source="s", at=NOW).data),
        (
            "result.v1",
            result_event(
                result_of(COMPLETION, Correlation(), witness="result", ended_at=NOW),
                source="s",
                at=NOW,
            ).data,
        ),
        (
            "command.v1",
            command_event(
                {"command": "submit", "command_id": "c", "endpoint": "a/b", "input": {}},
                source="s",
                at=NOW,
            ).data,
        ),
        ("command.v1", b'{"command": "cancel", "command_id": "c", "subject": "sub_1"}'),
    ],
)
def test_what_is_published_is_what_the_schema_says(name, data):
    """The data of each event is valid by its schema, which names the type it is of."""
    held = schema(name)
    Draft202012Validator.check_schema(held)

    assert [str(error) for error in Draft202012Validator(held).iter_errors(json.loads(data))] == []
    assert held["$id"] == f"fal-consumer.{name}"


@pytest.mark.parametrize(
    "name, data",
    [
        ("fact.v1", {"fact": "guessed", "witness": "status", "at": "x"}),
        ("completion.reconciled.v1", {"request_id": REQUEST_ID, "outcome": "lost"}),
        ("result.v1", {"outcome": "exploded", "witness": "w", "ended_at": "x"}),
        ("command.v1", {"command": "drop", "command_id": "c"}),
        ("command.v1", {"command": "cancel", "command_id": "c", "subject": "s", "more": 1}),
    ],
)
def test_schemas_refuse_what_the_code_refuses(name, data):
    """A schema is no formality: what is no such event is refused."""
    assert not Draft202012Validator(schema(name)).is_valid(data)


def test_schema_of_reconciled_completions_names_every_field():
    """The one schema that is written by hand names exactly the fields that are published."""
    published = json.loads(reconciled_event(COMPLETION, source="s", at=NOW).data)

    assert list(schema("completion.reconciled.v1")["properties"]) == list(published)


def test_every_fact_is_explained():
    """Each fact is in one of the two tables or among those that raise no state."""
    raising = {*REQUEST_TABLE, *SUBMISSION_TABLE}

    assert set(FactName) - raising == set(generate._NEEDS)
    assert not raising & set(generate._NEEDS)


@given(
    json_objects,
    st.fixed_dictionaries(
        {},
        optional={
            "status": st.sampled_from(["OK", "ERROR", "DONE", None]),
            "payload": json_values,
            "error": json_values,
            "request_id": st.one_of(st.just(REQUEST_ID), st.none()),
        },
    ),
)
def test_schema_of_webhooks_holds_what_is_accepted_and_nothing_else(rest, fields):
    """A body is valid by its schema exactly when it is accepted as that of its request."""
    body = {"request_id": REQUEST_ID, "status": "OK"} | rest | fields
    try:
        parse_webhook(dump_json(body), REQUEST_ID)
        is_accepted = True
    except UndecodableEvent:
        is_accepted = False

    assert is_accepted == Draft202012Validator(schema("completion.webhook.v1")).is_valid(body)


# ---------------------------------------------------------------- the AsyncAPI document


def refs(value) -> list[str]:
    """Return every `$ref` in a document."""
    if isinstance(value, dict):
        return [value["$ref"]] if "$ref" in value else refs(list(value.values()))
    return [ref for item in value for ref in refs(item)] if isinstance(value, list) else []


def test_asyncapi_names_what_exists():
    """Each reference of the AsyncAPI document leads to a part of it or to a schema's file."""
    document = asyncapi.document()

    for ref in refs(document):
        if ref.startswith("./"):
            assert (ROOT / "schemas" / ref).is_file()
            continue
        place = document
        for step in ref.removeprefix("#/").split("/"):
            place = place[step]
        assert place


def test_asyncapi_has_a_schema_for_each_type():
    """The message of each event type names the schema of its value, and the type itself."""
    messages = asyncapi.document()["components"]["messages"]

    assert [(kind.value, f"./{asyncapi.short_name(kind)}.schema.json") for kind in EventType] == [
        (one["headers"]["properties"]["ce_type"]["const"], one["payload"]["$ref"])
        for name, one in messages.items()
        if name != "dead-letter"
    ]


def read_yaml(lines: list[str]):
    """Return the value of block YAML as `yaml_lines` writes it: two spaces a level."""
    found: list[tuple[str, list[str]]] = []
    for line in lines:
        if line.startswith(" "):
            found[-1][1].append(line[2:])
        else:
            found.append((line, []))
    if found[0][0].startswith("-"):
        return [
            read_yaml(inner) if inner else scalar(line.removeprefix("- ")) for line, inner in found
        ]
    pairs = [(re.fullmatch(r'("(?:[^"\\]|\\.)*"|[^:"]+):(?: (.+))?', line), i) for line, i in found]
    return {scalar(pair[1]): read_yaml(i) if i else scalar(pair[2]) for pair, i in pairs}


def scalar(text: str):
    try:
        return json.loads(text)
    except ValueError:
        assert re.fullmatch(r"[A-Za-z$][^:#,{}\[\]&*!|>\"%@`]*", text.replace("`", ""))
        return text


def test_yaml_says_what_the_document_says():
    """The YAML, read again, is the document."""
    lines = asyncapi.asyncapi_yaml().splitlines()

    assert asyncapi.document() == read_yaml([line for line in lines if not line.startswith("#")])


@given(st.recursive(json_values, lambda inner: st.lists(inner, min_size=1), max_leaves=3))
def test_texts_are_quoted_where_yaml_would_take_them_for_something_else(value):
    """Any mapping survives: words like `yes`, numbers, colons and line ends are quoted."""
    document = {"a": value, "yes": "no", "1": "null", "b: c": "# d", "e": " f "}

    assert document == read_yaml(list(asyncapi.yaml_lines(document)))
