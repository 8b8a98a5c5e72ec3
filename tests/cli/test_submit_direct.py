"""`submit --direct` and `cancel --direct`: fal is asked at once, and nothing is recorded."""

import json
from urllib.request import urlopen

import pytest

from consumer.cli.submit_options import options_of
from consumer.core.command import Submit, command_event, parse_command
from tests.cli.asking_fal import ENDPOINT, UNKNOWN_ID, ended, line, submitted
from tests.cli.conftest import NOW

slow = pytest.mark.slow  # a simulator of its own

INPUT = '{"prompt": "a cat"}'
EVERY_OPTION = [
    "--priority=low",
    "--max-queue=50",
    "--runner-hint=mine",
    "--no-fallback",
    "--retries=timeout=2",
    "--retries=server_error=0",
    "--no-store",
    "--files-expire=never",
    "--files-acl=forbid",
    "--files-rule=github|1=allow",
    "--tag=customer=17",
    "--start-within=2m",
]


@slow
def test_it_prints_the_request_id_and_records_nothing(lone_fal):
    """The request exists at fal, no data folder is made, and both are said."""
    shown = lone_fal.run("submit", ENDPOINT, "--direct", "--input", "-", stdin=INPUT)

    assert 0 == shown.returncode, shown.stderr
    assert 36 == len(shown.stdout.strip())
    assert "nothing is recorded" in shown.stderr
    assert 0 == lone_fal.run("status", ENDPOINT, shown.stdout.strip()).returncode
    assert not lone_fal.path.exists()


@slow
def test_it_waits_for_the_result(lone_fal):
    """With --wait the result is printed as `result` prints it."""
    arguments = ("submit", ENDPOINT, "--direct", "--input", "-", "--wait")

    told = line(lone_fal.run(*arguments, "--json", stdin=INPUT))
    failed = lone_fal.run(*arguments, stdin='{"simulate": "error_422"}')

    assert ("succeeded", ENDPOINT) == (told["outcome"], told["endpoint"])
    assert 1 == failed.returncode
    assert failed.stdout.startswith("model_failed  ")


AS_HEADERS = {
    "x-fal-queue-priority": "low",
    "x-fal-runner-hint": "mine",
    "x-app-fal-disable-fallback": "true",
    "x-fal-retry-config": {"timeout": {"retries": 2}, "server_error": {"retries": 0}},
    "x-fal-store-io": "0",
    "x-fal-object-lifecycle-preference": {
        "expiration_duration_seconds": None,
        "initial_acl": {
            "default": "forbid",
            "rules": [{"user": "github|1", "decision": "allow"}],
        },
    },
    "x-fal-tags": "customer=17",
}


def headers_at_fal(folder, request_id):
    """Return the headers that fal got with a submit, JSON read, the deadline apart."""
    with urlopen(f"{folder.environ['FAL_CONSUMER_QUEUE_URL']}/_simulator/books") as answer:
        rows = json.load(answer)["requests"]
    row = rows[request_id]
    told = {
        name: json.loads(text) if text.startswith("{") else text
        for name, text in row["headers"].items()
    }
    return float(told.pop("x-fal-request-start-timeout")), told


@slow
def test_every_option_reaches_fal(lone_fal):
    """Directly, each option is the header that fal documents for it."""
    arguments = ("submit", ENDPOINT, "--direct", "--input", "-", "--json", *EVERY_OPTION)

    found = line(lone_fal.run(*arguments, stdin=INPUT))

    assert ("submitted", ENDPOINT) == (found["outcome"], found["endpoint"])
    assert (120.0, AS_HEADERS) == headers_at_fal(lone_fal, found["request_id"])


@slow
def test_every_option_reaches_fal_through_a_service(town):
    """Through a service they travel in the command, and arrive all the same."""
    shown = town.run("submit", ENDPOINT, "--input", "-", *EVERY_OPTION, stdin=INPUT)

    assert 0 == shown.returncode, shown.stderr
    start_timeout_s, headers = headers_at_fal(town, shown.stdout.strip())
    assert 100 < start_timeout_s <= 120
    assert AS_HEADERS == headers


@slow
def test_one_retry_and_a_lifetime_alone(lone_fal):
    """What was not asked for is not sent: no retry, and files that live for a day."""
    arguments = ("--no-retry", "--files-expire", "1d", "--store", "--start-within", "1m")

    shown = lone_fal.run("submit", ENDPOINT, "--direct", "--input", "-", *arguments, stdin="{}")

    assert 0 == shown.returncode, shown.stderr
    expected = {
        "x-fal-no-retry": "1",
        "x-fal-store-io": "1",
        "x-fal-object-lifecycle-preference": {"expiration_duration_seconds": 86400},
    }
    assert (60.0, expected) == headers_at_fal(lone_fal, shown.stdout.strip())


@slow
def test_a_longer_queue_than_allowed_is_a_no(lone_fal):
    """A 429 of fal is told as a no, with what to do."""
    stuck = [submitted(lone_fal, '{"simulate": "stuck"}') for _ in range(2)]
    arguments = ("submit", ENDPOINT, "--direct", "--input", "-", "--max-queue", "0")

    shown = lone_fal.run(*arguments, stdin=INPUT)

    assert (1, "") == (shown.returncode, shown.stdout)
    assert "HTTP 429" in shown.stderr
    for request_id in stuck:
        lone_fal.run("cancel", "--direct", ENDPOINT, request_id)


@slow
def test_a_cancel_tells_what_fal_said(lone_fal):
    """Removed from the queue, ended before, or unknown: each its word and its exit code."""
    queued = submitted(lone_fal, '{"simulate": "stuck"}')

    shown = [
        lone_fal.run("cancel", "--direct", ENDPOINT, request_id, "--json")
        for request_id in (queued, ended(lone_fal), UNKNOWN_ID)
    ]

    assert ["removed", "ended", "unknown"] == [line(one)["outcome"] for one in shown]
    assert [0, 1, 1] == [one.returncode for one in shown]
    assert all("nothing is recorded" in one.stderr for one in shown)


@slow
def test_a_direct_cancel_takes_the_endpoint_from_the_ledger(town):
    """Where the ledger knows the request, its id alone will do."""
    stuck = town.run("submit", ENDPOINT, "--input", "-", stdin='{"simulate": "stuck"}')

    shown = town.run("cancel", "--direct", stuck.stdout.strip(), "--json")

    assert (0, "removed") == (shown.returncode, line(shown)["outcome"])


@pytest.mark.parametrize(
    "arguments, code, said",
    [
        (["submit", "../..", "--direct"], 2, "ENDPOINT: expected owner/app"),
        (["submit", ENDPOINT, "--direct", "--id", "x"], 2, "--id: with --direct"),
        (["submit", ENDPOINT, "--direct", "--finish-within", "1h"], 2, "--finish-within: with"),
        (["submit", ENDPOINT, "--direct", "--tag", "Upper=1"], 1, "fal takes no such tags"),
        (["submit", ENDPOINT, "--direct", "--runner-hint", "ä"], 2, "--runner-hint: expected"),
        (["submit", ENDPOINT, "--no-retry", "--retries", "timeout=1"], 2, "give one"),
        (["submit", ENDPOINT, "--retries", "bad=1"], 2, "expected CAUSE="),
        (["submit", ENDPOINT, "--retries", "timeout=²"], 2, "expected CAUSE="),
        (["submit", ENDPOINT, "--files-expire", "soon"], 2, "expected never, or a span"),
        (["submit", ENDPOINT, "--files-rule", "x=allow"], 2, "give --files-acl too"),
        (["submit", ENDPOINT, "--files-rule", "x=maybe"], 2, "expected USER=allow"),
        (["submit", ENDPOINT, "--max-queue", "-1"], 2, "--max-queue"),
    ],
)
def test_what_cannot_be_submitted_causes_no_call(unasked, arguments, code, said):
    """Wrong arguments are told by name, and nobody is asked."""
    shown = unasked.run(*arguments, "--input", "-", stdin="{}")

    assert (code, "") == (shown.returncode, shown.stdout)
    assert said in shown.stderr


def test_the_list_of_endpoints_counts_for_this_door_too(unasked):
    """An endpoint that may not be submitted is refused before a call."""
    unasked.environ["FAL_CONSUMER_SUBMIT_ENDPOINTS"] = "fal-ai/other"

    shown = unasked.run("submit", ENDPOINT, "--direct", "--input", "-", stdin="{}")

    assert (1, "") == (shown.returncode, shown.stdout)
    assert "FAL_CONSUMER_SUBMIT_ENDPOINTS" in shown.stderr


def test_a_cancel_through_a_service_takes_no_endpoint(unasked):
    """A service knows the endpoint; naming another one would say two things."""
    shown = unasked.run("cancel", ENDPOINT, UNKNOWN_ID)

    assert (2, "") == (shown.returncode, shown.stdout)
    assert "--direct" in shown.stderr


NOTHING_GIVEN = {
    "priority": None,
    "runner_hint": None,
    "no_retry": False,
    "retries": None,
    "stores_io": None,
    "no_fallback": False,
    "max_queue": None,
    "files_expire": None,
    "files_acl": None,
    "files_rules": [],
}


@pytest.mark.parametrize(
    "given, expected",
    [
        ({}, None),
        ({"files_expire": "never"}, {"expiration_duration_seconds": None}),
        ({"files_expire": 3600}, {"expiration_duration_seconds": 3600}),
        ({"files_acl": "hide"}, {"initial_acl": {"default": "hide", "rules": ()}}),
    ],
)
def test_only_what_was_asked_of_files_travels(given, expected):
    """To fal, no lifetime and a lifetime without an end differ: the command keeps them apart."""
    fields = {
        "command": "submit",
        "command_id": "c",
        "endpoint": ENDPOINT,
        "input": {},
        "options": options_of({**NOTHING_GIVEN, **given}),
    }

    job = parse_command(command_event(fields, source="tests", at=NOW).data)

    assert isinstance(job, Submit)
    lifecycle = job.options.object_lifecycle
    told = lifecycle.model_dump(exclude_unset=True) if lifecycle else None
    assert expected == told
