"""`ledger`: the schema brought up to date, on both databases, and told without secrets."""

import json

import pytest

from consumer.core.event import encode
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


def test_a_copy_needs_somewhere_to_go(folder):
    """Without a PostgreSQL it exits 2 and names the setting; without a file, that."""
    shown = folder.run("ledger", "copy")
    folder.environ["FAL_CONSUMER_LEDGER_URL"] = "postgresql://me@127.0.0.1:1/fal"
    nowhere = folder.run("ledger", "copy")

    assert (2, 2) == (shown.returncode, nowhere.returncode)
    assert "FAL_CONSUMER_LEDGER_URL: sqlite:; expected postgresql://" in shown.stderr
    assert "ledger.sqlite is not there: name the ledger's file with --from" in nowhere.stderr


def test_a_ledger_is_copied_and_read_there(on_postgres):
    """What the file said is said by the database; the copy says how much it was."""
    on_postgres.run("ledger", "migrate")
    on_postgres.record(on_postgres.submitted(1), *on_postgres.lost(2))

    shown = on_postgres.run("ledger", "copy", "--json")

    assert 0 == shown.returncode, shown.stderr
    assert (2, 1) == tuple(json.loads(shown.stdout)["rows"][name] for name in ("facts", "results"))
    listed = on_postgres.run("requests", "--json")
    assert 2 == len(listed.stdout.splitlines())


def test_a_rebuild_from_the_folders_log(folder):
    """The ledger says what the log says, and no more; it tells how much that was."""
    folder.record(folder.submitted(1))
    folder.append(*map(encode, (folder.submitted(2), *folder.lost(3))))

    shown = folder.run("ledger", "rebuild", "--json")

    assert 0 == shown.returncode, shown.stderr
    assert 3 == json.loads(shown.stdout)["records"]
    listed = folder.run("requests", "--json")
    ids = {json.loads(line)["request_id"] for line in listed.stdout.splitlines()}
    assert {folder.request_id(2), folder.request_id(3)} == ids


def test_a_restored_ledger_says_when_it_was_stamped(folder):
    """Exit 0 with an instant; without a ledger, 2 and what is missing."""
    missing = folder.run("ledger", "restored")
    folder.record(folder.submitted(1))
    shown = folder.run("ledger", "restored", "--json")

    assert (2, 0) == (missing.returncode, shown.returncode)
    assert "holds no ledger" in missing.stderr
    assert json.loads(shown.stdout)["stamped_at"].endswith("Z")
