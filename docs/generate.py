"""
Writes what is generated: `docs/lifecycle.md`, the JSON Schemas and the AsyncAPI document in
`schemas/`.

Run `python docs/generate.py` after changing the tables in `consumer/core/lifecycle.py` or a
type that others read. With `--check` nothing is written: exit code 1 and the names of the
files that are out of date. A test does the same.
"""

import argparse
import itertools
import json
import sys
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from consumer.core.command import COMMAND
from consumer.core.event import EventType
from consumer.core.fact import FactBody, FactName, Witness, new_fact
from consumer.core.lifecycle import (
    AUTHORITY,
    REQUEST_TABLE,
    SUBMISSION_TABLE,
    join_all,
    join_submission,
)
from consumer.core.result import OutputMissing, Result
from consumer.core.standing import (
    ENDS,
    RANK,
    SUBMISSION_ENDS,
    SUBMISSION_RANK,
    State,
    SubmissionState,
)
from docs.asyncapi import asyncapi_yaml, short_name

ROOT = Path(__file__).resolve().parent.parent
_DIALECT = "https://json-schema.org/draft/2020-12/schema"  # what pydantic writes
_AT = datetime(2026, 1, 1, tzinfo=UTC)

_NEEDS = {
    FactName.NOT_FOUND: "counts towards `lost`: twice, five minutes apart",
    FactName.LISTED: "fal lists it for our key: ours; where it has ended, a check is due at once",
    FactName.UNREADABLE: "a verified body that nobody can read: a check is due at once",
    FactName.CANCEL_REFUSED: "fal answered the cancel; none is asked again",
    FactName.CANCEL_REMEMBERED: "a cancel of a submission whose request id is not known yet",
    FactName.CANCEL_WANTED: "a policy wants it cancelled: the sweep asks its status, then fal",
    FactName.GROUP_CANCELLED: "about no request: everything in the group is unwanted, for good",
    FactName.CONFLICTED: "two different ends were told; the higher stands",
    FactName.TOKEN_MISMATCHED: "a token names what already belongs elsewhere",
    FactName.KEY_SET_FETCHED: "about no request: a key set of fal, whole",
    FactName.REPLAY_ASKED: "about no request: which records an operator puts back, and why",
    FactName.REPLAYED: "about no request: how many records a replay put back, which dead letters",
}
"""What the facts are for that raise no state."""


def outputs(root: Path = ROOT) -> dict[Path, str]:
    """Return the text of every generated file by its path."""
    schemas = {
        EventType.COMMAND: command_schema(),
        EventType.RECONCILED_COMPLETION: reconciled_schema(),
        EventType.WEBHOOK_COMPLETION: webhook_schema(),
        EventType.FACT: schema_of(FactBody, EventType.FACT),
        EventType.RESULT: schema_of(Result, EventType.RESULT),
    }
    texts = {
        root / "schemas" / f"{short_name(kind)}.schema.json": json.dumps(schema, indent=2) + "\n"
        for kind, schema in schemas.items()
    }
    return {
        **texts,
        root / "schemas" / "asyncapi.yaml": asyncapi_yaml(),
        root / "docs" / "lifecycle.md": lifecycle_page(),
    }


def outdated(root: Path = ROOT) -> list[Path]:
    """Return the generated files that are missing or differ from what would be written."""
    return [
        path
        for path, text in outputs(root).items()
        if not path.is_file() or path.read_text(encoding="utf-8") != text
    ]


# ---------------------------------------------------------------- schemas


def schema_of(model: type[FactBody | Result], event_type: EventType) -> dict[str, Any]:
    """Return the JSON Schema of an event's data, as its readers may rely on it."""
    schema = model.model_json_schema(mode="serialization")
    return _head(event_type) | schema | {"title": event_type.value}


def command_schema() -> dict[str, Any]:
    """Return the JSON Schema of a command's data, as its senders must write it."""
    schema = COMMAND.json_schema(mode="validation")
    schema.pop("discriminator")  # a keyword of OpenAPI, which AsyncAPI spells otherwise
    return _head(EventType.COMMAND) | schema | {"title": EventType.COMMAND.value}


def reconciled_schema() -> dict[str, Any]:
    """
    Return the JSON Schema of a completion that we found by asking fal.

    It has fal's five fields of a webhook and, beside them, what only the answer tells.
    """
    fields = {
        "request_id": _text("fal's id of the request", nullable=False),
        "gateway_request_id": {"type": "null", "description": "not told by fal's answer"},
        "status": {"enum": ["OK", "ERROR"], "description": "as a webhook would say it"},
        "payload": {"description": "the model's output, or its error detail, as JSON"},
        "error": _text("fal's short error text"),
        "outcome": {"enum": ["succeeded", "failed", "cancelled"], "description": "the end"},
        "http_status": {"type": ["integer", "null"], "description": "the model's HTTP status"},
        "error_type": _text("fal's machine type of the error"),
        "has_output": {"type": "boolean", "description": "whether `payload` is the output"},
        "output_base64": _text("the output where it is not JSON"),
        "content_type": _text("the type of `output_base64`"),
        "output_missing": {
            "enum": [*map(str, OutputMissing), None],
            "description": "why there is no output",
        },
        "billable_units": _text("what fal charged, decimal text"),
    }
    return _head(EventType.RECONCILED_COMPLETION) | {
        "title": EventType.RECONCILED_COMPLETION.value,
        "description": "The end of a request, found by asking fal: unsigned.",
        "type": "object",
        "properties": fields,
        "required": list(fields),
        "additionalProperties": True,
    }


def webhook_schema() -> dict[str, Any]:
    """
    Return the JSON Schema of a webhook's body, as much of it as fal is held to.

    Only what makes a body readable is demanded: the rest is fal's, who signed it, and is kept
    whatever it is. Source: fal docs, "Webhooks", and bodies recorded in 2026.
    """
    fields: dict[str, Any] = {
        "request_id": {"type": "string", "description": "fal's id, the record key again"},
        "gateway_request_id": {"description": "fal's id of its last internal try"},
        "status": {"enum": ["OK", "ERROR"], "description": "how the request ended"},
        "payload": {"description": "the model's output or its error detail; may be null"},
        "error": {"description": "fal's short error text, null or absent without one"},
        "payload_error": {"description": "why fal could not give the payload"},
    }
    return _head(EventType.WEBHOOK_COMPLETION) | {
        "title": EventType.WEBHOOK_COMPLETION.value,
        "description": "The body of a webhook exactly as fal signed it.",
        "type": "object",
        "properties": fields,
        "required": ["request_id", "status"],
        "additionalProperties": True,
    }


def _head(event_type: EventType) -> dict[str, Any]:
    return {"$schema": _DIALECT, "$id": event_type.value}


def _text(description: str, *, nullable: bool = True) -> dict[str, Any]:
    kind: Any = ["string", "null"] if nullable else "string"
    return {"type": kind, "description": description}


# ---------------------------------------------------------------- the lifecycle


_TWO_LIVES = """
Two things have a life. A *request* is fal's; a *submission* is ours, and ends as soon as fal gave
it a request id. The state of each is a join of facts: a fact only ever raises a rank, so any order
and any repetition of the same facts ends in the same state. An arrow is the least that a fact
does; from every lower state it leads to the same place.
"""
_ENDS_OF_A_REQUEST = """
Ends stand in one order; two different ones are a recorded conflict, and the higher stands. Within
one end a signed witness stands first. An end of an account that is not ours does not count, unless
the request id came to us over our own key.
"""
_PROVEN_BY_CALLBACK = """
A callback token that counts, whatever the fact's name, proves that its submission was `submitted`.
"""
_BELONGING = """
A request's endpoint and its submission are named by these witnesses; the highest authority wins,
then the earliest, then the least id.
"""


def lifecycle_page() -> str:
    """Return `docs/lifecycle.md`."""
    reasons = [(f"`{name}`", text) for name, text in _NEEDS.items()]
    authorities = [(f"`{witness}`", str(rank)) for witness, rank in AUTHORITY.items()]
    parts = [
        "# Lifecycle",
        "Generated by `docs/generate.py` from the tables in `consumer/core/lifecycle.py`.",
        _TWO_LIVES.strip(),
        "## Request",
        diagram(State, REQUEST_TABLE, ENDS),
        _ENDS_OF_A_REQUEST.strip(),
        order(RANK),
        "What each state becomes by each fact, by a witness that counts:",
        matrix(State, REQUEST_TABLE, _request_after),
        "## Submission",
        diagram(SubmissionState, SUBMISSION_TABLE, SUBMISSION_ENDS),
        order(SUBMISSION_RANK),
        _PROVEN_BY_CALLBACK.strip(),
        matrix(SubmissionState, SUBMISSION_TABLE, _submission_after),
        "## Facts that raise no state",
        table(("fact", "what it is for"), reasons),
        "## Who may say what a request belongs to",
        _BELONGING.strip(),
        table(("witness", "authority"), authorities),
    ]
    return "\n\n".join(parts) + "\n"


def diagram(states: type[StrEnum], facts: dict[Any, Any], ends: frozenset[Any]) -> str:
    """Return a Mermaid state diagram: the live states in a chain, each end from any of them."""
    live = [state for state in states if state not in ends]
    lines = ["stateDiagram-v2", "  direction LR", "  state open {", f"    [*] --> {live[0]}"]
    lines += [
        f"    {before} --> {after}: {_names(facts, after)}"
        for before, after in itertools.pairwise(live)
    ]
    lines += ["  }", "  [*] --> open"]
    finished = [state for state in states if state in ends]
    lines += [f"  open --> {end}: {_names(facts, end)}" for end in finished]
    lines += [
        f"  {lower} --> {higher}: {_names(facts, higher)}"
        for lower, higher in itertools.pairwise(finished)
    ]
    return "\n".join(["```mermaid", *lines, "```"])


def order(ranks: dict[Any, int]) -> str:
    """Return the states by rank, lowest first, as a sentence."""
    return "Ranks: " + " < ".join(f"`{state}`" for state in sorted(ranks, key=ranks.__getitem__))


def matrix(states: type[StrEnum], facts: dict[Any, Any], after: Callable[[Any, Any], str]) -> str:
    """Return a table: for each fact that raises a state, what it makes of every state."""
    rows = [
        (f"`{fact}`", *(_changed(state, after(fact_of(facts, state), fact)) for state in states))
        for fact in facts
    ]
    return table(("fact \\ state", *(f"`{state}`" for state in states)), rows)


def fact_of(facts: dict[Any, Any], state: StrEnum) -> FactName | None:
    """Return a fact that alone leads to `state`, or None for the first state."""
    return next((fact for fact, least in facts.items() if least == state), None)


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Return a Markdown table."""
    cells = list(head)
    lines = [cells, ["---"] * len(cells), *map(list, rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _request_after(first: FactName | None, then: FactName) -> str:
    told = [new_fact(name, Witness.STATUS, _AT, request_id="r") for name in (first, then) if name]
    held = join_all(told)
    assert held is not None
    return held.state.value


def _submission_after(first: FactName | None, then: FactName) -> str:
    held = None
    for name in (first, then):
        if name is not None:
            fact = new_fact(name, Witness.SWEEP, _AT, submission_id="s")
            held = join_submission(held, fact)
    assert held is not None
    return held.state.value


def _changed(state: StrEnum, after: str) -> str:
    return "·" if after == state.value else f"`{after}`"


def _names(facts: dict[Any, Any], state: StrEnum) -> str:
    return ", ".join(fact.value for fact, least in facts.items() if least == state)


# ---------------------------------------------------------------- the command


def main(arguments: list[str], root: Path = ROOT) -> int:
    """Write what is out of date, or with `--check` only name it; return the exit code."""
    parser = argparse.ArgumentParser(description="Write the generated docs and schemas.")
    parser.add_argument("--check", action="store_true", help="write nothing, exit 1 if outdated")
    is_check = parser.parse_args(arguments).check
    late, texts = outdated(root), outputs(root)
    for path in late:
        print(f"{'out of date' if is_check else 'written'}: {path.relative_to(root)}")
        if not is_check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(texts[path], encoding="utf-8")
    return 1 if late and is_check else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
