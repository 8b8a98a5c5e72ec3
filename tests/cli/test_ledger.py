"""`ledger`: the schema brought up to date, on both databases, and told without secrets."""

import json

import pytest

from consumer.ledger.migration import known_revision

SECRET = "hunter2-hunter2"


@pytest.fixture
def on_postgres(folder, database):
    """Return the folder, set up for an empty database of its own."""
    folder.environ["FAL_CONSUMER_LEDGER_URL"] = database.replace("postgres@", f"postgres:{SECRET}@")
    return folder


def test_a_database_is_migrated_once(on_postgres):
    """The first time it is made, the second time there is nothing to do; no password is shown."""
    first, second, third = (
        on_postgres.run("ledger", "migrate", *more) for more in ([], [], ["--json"])
    )

    assert [0, 0, 0] == [shown.returncode for shown in (first, second, third)]
    assert f"made (schema {known_revision()})" in first.stdout
    assert "is up to date" in second.stdout
    assert (False, known_revision()) == (
        json.loads(third.stdout)["is_changed"],
        json.loads(third.stdout)["schema"],
    )
    assert SECRET not in first.stdout + second.stdout + third.stdout + first.stderr


def test_a_file_is_migrated_as_well(folder):
    """On SQLite it makes the folder and its ledger."""
    shown = folder.run("ledger", "migrate")

    assert 0 == shown.returncode, shown.stderr
    assert f"{folder.path / 'ledger.sqlite'}: made" in shown.stdout


@pytest.mark.parametrize("verb", [["serve"], ["requests"], ["timeline", "x"]])
def test_nothing_works_on_a_database_that_was_not_migrated(on_postgres, verb):
    """It exits 2 and names the command; nothing is made on the way."""
    on_postgres.environ["FAL_CONSUMER_CONSOLE_LISTEN"] = "none"
    shown = on_postgres.run_apart(*verb) if verb == ["serve"] else on_postgres.run(*verb)

    assert 2 == shown.returncode, shown.stderr
    assert "holds no ledger: run `fal-consumer ledger migrate`" in shown.stderr
    assert SECRET not in shown.stderr


def test_check_tells_of_the_database(on_postgres):
    """Not migrated it fails and names the command; migrated, it warns of what is not safe."""
    before = on_postgres.run("check", "--json")
    on_postgres.run("ledger", "migrate")
    after = on_postgres.run("check", "--json")

    assert ("failed", True) == _ledger_row(before)
    verdict, names_command = _ledger_row(after)
    assert (verdict in ("ok", "warning"), False) == (True, names_command)
    assert SECRET not in before.stdout + after.stdout


def test_check_offline_asks_no_database(folder):
    """A database that is not there is nothing that `--offline` would see."""
    folder.environ["FAL_CONSUMER_LEDGER_URL"] = "postgresql://me@127.0.0.1:1/fal"

    assert 0 == folder.run("check", "--offline").returncode
    shown = folder.run("check", "--json")
    assert 1 == shown.returncode
    assert "failed" == _ledger_row(shown)[0]


def test_a_database_that_is_away_is_said_in_a_sentence(folder):
    """Exit 1, without a traceback."""
    folder.environ["FAL_CONSUMER_LEDGER_URL"] = f"postgresql://me:{SECRET}@127.0.0.1:1/fal"

    shown = folder.run_apart("requests")

    assert 1 == shown.returncode
    assert "the ledger does not answer (ConnectionRefusedError)" in shown.stderr
    assert SECRET not in shown.stderr
    assert "Traceback" not in shown.stderr


def _ledger_row(shown):
    rows = [json.loads(line) for line in shown.stdout.splitlines()]
    (row,) = [row for row in rows if row["kind"] == "check" and row["name"] == "ledger"]
    return row["verdict"], "fal-consumer ledger migrate" in row["text"]
