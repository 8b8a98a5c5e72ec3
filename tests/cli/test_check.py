"""`check`: settings, findings, and exit codes."""

import json


def test_programs_get_settings_and_findings(folder):
    """Each setting and each finding is a JSON line; warnings alone exit 0."""
    shown = folder.run("check", "--offline", "--json")

    rows = [json.loads(line) for line in shown.stdout.splitlines()]
    assert 0 == shown.returncode, shown.stderr
    verdicts = {row["name"]: row["verdict"] for row in rows if row["kind"] == "check"}
    assert ("ok", "warning") == (verdicts["data folder"], verdicts["accounts"])
    values = {row["name"]: row["value"] for row in rows if row["kind"] == "setting"}
    assert str(folder.path) == values["FAL_CONSUMER_DATA_DIR"]


def test_looking_makes_nothing(folder):
    """A folder that is not there yet is no failure, and is not there afterwards either."""
    shown = folder.run("check", "--offline")

    assert 0 == shown.returncode, shown.stderr
    assert "not there yet: `serve` makes it" in shown.stdout
    assert not folder.path.exists()


def test_a_worker_on_kafka_is_warned_when_nothing_may_be_submitted(folder, tmp_path):
    """Without FAL_CONSUMER_SUBMIT_ENDPOINTS the role `work` gets a warning that names it."""
    secrets = tmp_path / "tokens"
    secrets.write_text("0" * 64 + "\n")
    folder.environ |= {
        "FAL_CONSUMER_LOG_URL": "kafka://127.0.0.1:1",
        "FAL_CONSUMER_TOKEN_SECRETS_FILE": str(secrets),
    }

    shown = folder.run("check", "--offline", "--role", "work")

    assert 0 == shown.returncode, shown.stderr
    assert "set FAL_CONSUMER_SUBMIT_ENDPOINTS" in shown.stdout
    assert "not there yet: `work` makes it" in shown.stdout


def test_a_folder_that_cannot_be_made_exits_1(folder):
    """Where the way to the folder is barred by a file, the table says so."""
    folder.path.write_text("a file")
    folder.environ["FAL_CONSUMER_DATA_DIR"] = str(folder.path / "data")

    shown = folder.run("check", "--offline")

    assert 1 == shown.returncode
    assert "cannot be made in" in shown.stdout


def test_secrets_are_never_shown(folder):
    """A key is shown as ***, in the table as in JSON."""
    folder.environ["FAL_KEY"] = "key-id:very-secret"

    shown = folder.run("check", "--offline")

    assert "***" in shown.stdout
    assert "very-secret" not in shown.stdout + shown.stderr


def test_what_is_unreachable_exits_1(folder):
    """With keys that cannot be had it exits 1 and the table says what failed."""
    folder.environ["FAL_CONSUMER_JWKS_URL"] = "http://127.0.0.1:1/jwks.json"

    shown = folder.run("check")

    assert 1 == shown.returncode
    assert ["keys", "failed"] in [line.split()[:2] for line in shown.stdout.splitlines()]


def test_wrong_settings_exit_2_with_every_mistake(folder):
    """Every mistake is one sentence on standard error; standard output stays empty."""
    folder.environ |= {"FAL_CONSUMER_LOG_URL": "redis:", "FAL_CONSUMER_MAX_BODY_BYTES": "lots"}

    shown = folder.run("check", "--offline")

    assert (2, "") == (shown.returncode, shown.stdout)
    assert 2 == len(shown.stderr.splitlines())
