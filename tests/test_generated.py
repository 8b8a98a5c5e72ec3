"""What is generated is up to date, and says what the code does."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from consumer.core.command import command_event
from consumer.core.completion import completion_of_answer, reconciled_event
from consumer.core.fact import FactName, Witness, fact_event, new_fact
from consumer.core.lifecycle import REQUEST_TABLE, SUBMISSION_TABLE
from consumer.core.result import Correlation, result_event, result_of
from tests.core.strategies import NOW, REQUEST_ID

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
