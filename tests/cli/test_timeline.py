"""`timeline`: one request's life, for people and for programs."""

import json

import pytest

from consumer.core.command import submission_id_of
from consumer.core.fact import FactName, Witness, fact_event, new_fact


def test_programs_get_facts_and_the_result_as_json_lines(folder):
    """Each line has its kind; facts come in the order in which they happened."""
    folder.record(*folder.lost(1), folder.submitted(1))

    shown = folder.run("timeline", folder.request_id(1), "--json")

    assert (0, "") == (shown.returncode, shown.stderr)
    lines = [json.loads(line) for line in shown.stdout.splitlines()]
    assert ["request", "submission", "fact", "fact", "result"] == [line["kind"] for line in lines]
    assert ["submitted", "lost"] == [line["fact"] for line in lines if "fact" in line]
    assert "lost" == lines[-1]["outcome"]


@pytest.mark.parametrize("name", ["request", "submission", "command"])
def test_any_of_its_ids_finds_it(folder, name):
    """The request id, the submission id and the submitter's own id lead to the same life."""
    folder.record(folder.submitted(1))
    ids = {
        "request": folder.request_id(1).upper(),
        "submission": submission_id_of("job-1"),
        "command": "job-1",
    }

    shown = folder.run("timeline", ids[name])

    assert 0 == shown.returncode
    assert folder.request_id(1) in shown.stdout


def test_people_read_a_table_of_facts_and_the_end(folder):
    """The page names the state, each fact with its witness and its distance, and the result."""
    folder.record(folder.submitted(1), *folder.lost(1))

    shown = folder.run("timeline", folder.request_id(1))

    assert f"request {folder.request_id(1)}  lost  fal-ai/flux/dev" in shown.stdout
    rows = [line.split() for line in shown.stdout.splitlines() if line.startswith("2026-")]
    assert [["+0.0s", "submitted", "submit"], ["+2m", "lost", "sweep"]] == [
        row[2:5] for row in rows
    ]
    assert "result: lost, told by sweep, revision 1" in shown.stdout


def test_foreign_text_cannot_touch_the_terminal(folder):
    """What fal or a stranger wrote is shown with its control characters escaped, markup off."""
    number = folder.request_id(1)
    fact = new_fact(
        FactName.CANCEL_REFUSED,
        Witness.CANCEL,
        folder.lost(1)[0].time,
        request_id=number,
        detail={"reason": "\x1b[2J[red]boo[/red]\x07"},
    )
    folder.record(fact_event(fact, "https://queue.example"))

    shown = folder.run("timeline", number)

    assert "\x1b" not in shown.stdout
    assert "\\x1b[2J[red]boo[/red]\\x07" in shown.stdout


@pytest.mark.parametrize("unknown", [None, "nobody", ""])
def test_an_unknown_id_exits_1_with_a_hint(folder, unknown):
    """A request that nobody heard of is no success, and the hint says where else to look."""
    submitted = folder.submitted(1)
    intended = new_fact(
        FactName.INTENDED, Witness.COMMAND, submitted.time, submission_id=submission_id_of("job-1")
    )
    folder.record(fact_event(intended, "https://queue.example"), submitted)

    shown = folder.run("timeline", folder.request_id(2) if unknown is None else unknown)

    assert (1, "") == (shown.returncode, shown.stdout)
    assert "no such request" in shown.stderr
    assert "fal-consumer track" in shown.stderr
