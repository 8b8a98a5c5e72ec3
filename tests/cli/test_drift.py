"""`drift`: what of fal's answers was not understood, from the log."""

import pytest

from consumer.core.drift import drift_letter
from consumer.errors import SchemaDrift
from tests.cli.asking_fal import ENDPOINT
from tests.cli.conftest import NOW
from tests.cli.letters import letter, lines


@pytest.fixture
def drifted(folder):
    """Return a folder that holds two drifted answers, and a dead letter of another kind."""
    drifts = [
        SchemaDrift("status", "status", b'{"status":"PAUSED"}', expected="a word", came="a text"),
        SchemaDrift("result", "units\x1b[2J", b"{}", expected="a number", came="[red]null[/red]"),
    ]
    folder.append(
        letter(1),
        *(
            drift_letter(drift, request_id=folder.request_id(n), endpoint=ENDPOINT, at=NOW)
            for n, drift in enumerate(drifts)
        ),
    )
    return folder


def test_a_person_reads_what_was_expected_and_what_came(drifted):
    """Each drift is a row; foreign text is escaped, other dead letters are left out."""
    shown = drifted.run("drift")

    heading, *rows = shown.stdout.splitlines()
    assert 0 == shown.returncode, shown.stderr
    assert "ID OPERATION FIELD EXPECTED CAME ENDPOINT REQUEST AGE" == " ".join(heading.split())
    assert 2 == len(rows)
    assert ["status", "status", "a", "word", "a", "text", ENDPOINT] == rows[0].split()[1:8]
    assert "\x1b" not in shown.stdout
    assert "[red]null[/red]" in rows[1]


def test_a_program_reads_rows_that_lead_to_the_whole(drifted):
    """With --json each has the id under which `dead-letters show` has the body."""
    found = lines(drifted.run("drift", "--json", "--operation", "status"))

    assert [("status", "a word", "a text", ENDPOINT, drifted.request_id(0))] == [
        (one["where"], one["expected"], one["came"], one["endpoint"], one["request_id"])
        for one in found
    ]
    body = drifted.run("dead-letters", "show", found[0]["id"], "--body")
    assert '{"status":"PAUSED"}' in body.stdout


def test_the_newest_are_shown(drifted):
    """--limit leaves the older ones out, and says so."""
    shown = drifted.run("drift", "--limit", "1")

    assert 2 == len(shown.stdout.splitlines())
    assert "the newest 1 of 2 (--limit)" in shown.stderr


def test_no_drift_is_good_news(folder):
    """An empty answer exits 0 and says what it means."""
    folder.append(letter(1))

    shown = folder.run("drift")

    assert (0, "") == (shown.returncode, shown.stdout)
    assert "no answer of fal differed" in shown.stderr
