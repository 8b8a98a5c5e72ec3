"""`status` and `stream`: where a request stands at fal, asked without a service."""

import io
import json
import re

import pytest
from rich.console import Console

from consumer.cli.direct import Located
from consumer.cli.status import Ticker
from consumer.core.fact import FactName, Witness, fact_event, new_fact
from consumer.fal import LogLine, Status
from tests.cli.asking_fal import ENDPOINT, UNKNOWN_ID, ended, line, submitted
from tests.cli.conftest import NOW

HOSTILE = [
    ["../..", UNKNOWN_ID],
    ["fal-ai/../flux", UNKNOWN_ID],
    ["https://evil.example/x", UNKNOWN_ID],
    ["fal-ai/flux@evil.example", UNKNOWN_ID],
    ["fal-ai/flux\n", UNKNOWN_ID],
    ["", UNKNOWN_ID],
    [ENDPOINT, "../.."],
    [ENDPOINT, f"{UNKNOWN_ID}/cancel"],
    [ENDPOINT, "019f6af7-3088-7f03-b97d-84fec4a3ce1\x1b"],
    [ENDPOINT, ""],
    [""],
    [ENDPOINT],
    [ENDPOINT, UNKNOWN_ID, "more"],
    [],
]


@pytest.mark.slow
def test_a_person_reads_a_row(lone_fal):
    """The table has the request, its state and its place in the queue."""
    request_id = submitted(lone_fal, '{"simulate": "stuck"}')

    shown = lone_fal.run("status", ENDPOINT, request_id)

    assert 0 == shown.returncode, shown.stderr
    heading, row = shown.stdout.splitlines()
    assert ["REQUEST", "STATUS", "ENDPOINT", "AHEAD", "RAN", "ERROR"] == heading.split()
    assert [request_id, "IN_QUEUE", ENDPOINT] == row.split()[:3]
    lone_fal.run("cancel", "--direct", ENDPOINT, request_id)


@pytest.mark.slow
def test_a_program_reads_the_whole_answer(lone_fal):
    """With --json every field of fal's answer is there, logs too where they were asked for."""
    request_id = ended(lone_fal)

    found = line(lone_fal.run("status", ENDPOINT, request_id, "--logs", "--json"))

    assert (request_id, ENDPOINT, "COMPLETED") == (
        found["request_id"],
        found["endpoint"],
        found["status"],
    )
    assert found["logs"]
    assert found["metrics"]["inference_time"] >= 0


@pytest.mark.slow
def test_logs_are_lines_below_the_row(lone_fal):
    """With --logs each line of the run stands on its own."""
    shown = lone_fal.run("status", ENDPOINT, ended(lone_fal), "--logs")

    assert "  | Loading the model" in shown.stdout.splitlines()


@pytest.mark.slow
@pytest.mark.parametrize("verb", ["status", "stream"])
def test_an_unknown_request_exits_1(lone_fal, verb):
    """NOT_FOUND is an answer, and no success."""
    shown = lone_fal.run(verb, ENDPOINT, UNKNOWN_ID, "--json")

    assert (1, "NOT_FOUND") == (shown.returncode, line(shown)["status"])


@pytest.mark.slow
def test_each_state_is_told_once_to_its_end(lone_fal):
    """The stream's lines are distinct states, the last one COMPLETED."""
    shown = lone_fal.run("stream", ENDPOINT, submitted(lone_fal), "--json", "--no-logs")

    found = [json.loads(text) for text in shown.stdout.splitlines()]
    states = [(one["status"], one["queue_position"]) for one in found]
    assert 0 == shown.returncode
    assert "COMPLETED" == states[-1][0]
    assert len(set(states)) == len(states)


@pytest.mark.slow
def test_people_read_states_and_logs_and_what_to_do_next(lone_fal):
    """Each state is a line with its time, each log line one below; then comes the next command."""
    request_id = submitted(lone_fal)

    shown = lone_fal.run("stream", ENDPOINT, request_id)

    lines = shown.stdout.splitlines()
    assert re.fullmatch(r"\d\d:\d\d:\d\d  COMPLETED  ran \d+\.\ds", lines[-1])
    assert "  | Finished" in lines
    assert f"its result: fal-consumer result {ENDPOINT} {request_id}" in shown.stderr


@pytest.mark.slow
def test_the_id_is_enough_where_the_ledger_knows_it(town):
    """Request id, submission id and the id of the command all lead to the request at fal."""
    arguments = ("submit", ENDPOINT, "--input", "-", "--id", "job-status", "--json")
    sent = line(town.run(*arguments, stdin='{"prompt": "x"}'))

    shown = [
        line(town.run("status", name, "--json"))
        for name in (sent["request_id"], sent["submission_id"], "job-status")
    ]

    assert [sent["request_id"]] * 3 == [one["request_id"] for one in shown]
    assert {ENDPOINT} == {one["endpoint"] for one in shown}


def test_what_the_ledger_does_not_know_wants_its_endpoint(unasked):
    """Without an endpoint from anywhere nothing is asked, and the sentence says what to give."""
    without_ledger = unasked.run("status", UNKNOWN_ID)
    unasked.record(unasked.submitted(1))
    unknown = unasked.run("result", UNKNOWN_ID)

    assert (1, 1) == (without_ledger.returncode, unknown.returncode)
    assert "there is no ledger in" in without_ledger.stderr
    assert "name its endpoint too: fal-consumer status OWNER/APP ID" in without_ledger.stderr
    assert f"the ledger here knows no such request: {UNKNOWN_ID}" in unknown.stderr


def test_a_request_whose_endpoint_nobody_named_wants_it(unasked):
    """The ledger may know a request without its endpoint."""
    unasked.record(unasked.lost(3)[0])

    shown = unasked.run("status", unasked.request_id(3))

    assert 1 == shown.returncode
    assert "but not its endpoint" in shown.stderr


@pytest.mark.parametrize("names", HOSTILE)
@pytest.mark.parametrize("verb", ["status", "stream", "result", "cancel"])
def test_hostile_ids_cause_no_call(unasked, verb, names):
    """What is no endpoint or no request id is a usage error, and nobody is asked."""
    shown = unasked.run(verb, "--", *names)

    assert (2, "") == (shown.returncode, shown.stdout)


@pytest.mark.parametrize("verb", ["status", "stream", "result"])
@pytest.mark.parametrize("name", ["../..", "x\x1b[31m", "\udcff", "a b", "http://evil.example/"])
def test_a_hostile_name_is_only_looked_up(unasked, verb, name):
    """A name alone is looked for in the ledger, and is shown escaped."""
    unasked.record(unasked.submitted(1))

    shown = unasked.run(verb, "--", name)

    assert (1, "") == (shown.returncode, shown.stdout)
    assert "knows no such request" in shown.stderr
    assert "\x1b" not in shown.stderr


def test_a_hostile_id_of_the_ledger_causes_no_call(unasked):
    """A webhook may name any id; one that is no UUID is never asked for."""
    told = fact_event(
        new_fact(
            FactName.SUBMITTED,
            Witness.SUBMIT,
            NOW,
            request_id="../../keys",
            detail={"endpoint": ENDPOINT},
        ),
        "https://queue.example",
    )
    unasked.record(told)

    shown = unasked.run("status", "--", "../../keys")

    assert (1, "") == (shown.returncode, shown.stdout)
    assert "that id is no UUID" in shown.stderr


def test_a_ticker_tells_each_state_once_and_escapes_what_others_wrote():
    """Lines of a log are foreign text: no markup, no control characters reach the terminal."""
    out = io.StringIO()
    evil = LogLine(message="[red]x[/red]\x1b[2J", level="ERROR")
    first = Status.model_validate({"status": "IN_QUEUE", "queue_position": 3})
    with Ticker(
        Located(ENDPOINT, UNKNOWN_ID), is_silent=False, out=Console(file=out, width=200)
    ) as ticker:
        for status in (first, first, first.model_copy(update={"logs": [evil]})):
            ticker.tell(status)

    lines = out.getvalue().splitlines()
    assert 2 == len(lines)
    assert lines[0].endswith("IN_QUEUE  3 ahead of it")
    assert "  | ERROR: [red]x[/red]\\x1b[2J" == lines[1]


def test_a_ticker_on_a_terminal_shows_where_it_stands():
    """A terminal gets a line that follows the state, below the lines that stay."""
    out = io.StringIO()
    terminal = Console(file=out, width=80, force_terminal=True)
    with Ticker(Located(ENDPOINT, UNKNOWN_ID), is_silent=False, out=terminal) as ticker:
        ticker.tell(Status.model_validate({"status": "IN_PROGRESS"}))

    assert "asking for" in out.getvalue()
    assert "IN_PROGRESS" in out.getvalue()
