"""`result`: five answers, five words; and its files."""

import io
import json
import socket
from dataclasses import replace

import pytest
from rich.console import Console

from consumer.cli.downloads import Bars
from tests.cli.asking_fal import ENDPOINT, UNKNOWN_ID, ended, line, submitted

pytestmark = pytest.mark.slow  # a simulator of its own

PNG = b"\x89PNG\r\n\x1a\n"


def test_a_person_reads_the_outcome_the_files_and_the_output(lone_fal):
    """The first line says what became of it; files, cost and the output follow."""
    request_id = ended(lone_fal)

    shown = lone_fal.run("result", ENDPOINT, request_id)

    assert 0 == shown.returncode, shown.stderr
    first, *rest = shown.stdout.splitlines()
    assert f"succeeded  {request_id}  {ENDPOINT}" == first
    assert any(one.strip().startswith("http://127.0.0.1") for one in rest)
    assert json.loads(shown.stdout[shown.stdout.index("{") :])["prompt"] == "a cat"


def test_a_program_reads_the_whole_result(lone_fal):
    """With --json the output, its files and its cost are fields of one line."""
    found = line(lone_fal.run("result", ENDPOINT, ended(lone_fal), "--json"))

    assert ("succeeded", 200, ENDPOINT) == (
        found["outcome"],
        found["http_status"],
        found["endpoint"],
    )
    assert [found["output"]["images"][0]["url"]] == found["media"]
    assert float(found["billable_units"]) > 0


@pytest.mark.parametrize(
    "scenario, outcome, code",
    [("error_422", "model_failed", 1), ("error_infrastructure", "infrastructure_failed", 1)],
)
def test_failures_are_told_apart(lone_fal, scenario, outcome, code):
    """A failure of the model and one of the platform have their own words, and exit 1."""
    request_id = ended(lone_fal, json.dumps({"simulate": scenario}))

    shown = lone_fal.run("result", ENDPOINT, request_id)
    told = lone_fal.run("result", ENDPOINT, request_id, "--json")

    assert (code, code) == (shown.returncode, told.returncode)
    assert shown.stdout.startswith(f"{outcome}  {request_id}")
    assert outcome == line(told)["outcome"]


def test_why_a_model_refused_is_a_table_of_fields(lone_fal):
    """The detail of a 422 names the field, the problem and its type."""
    shown = lone_fal.run("result", ENDPOINT, ended(lone_fal, '{"simulate": "error_422"}'))

    heading = next(one for one in shown.stdout.splitlines() if one.startswith("FIELD"))
    assert ["FIELD", "PROBLEM", "TYPE"] == heading.split()
    assert "body.image_url" in shown.stdout


def test_what_is_not_ready_exits_3_and_says_how_to_wait(lone_fal):
    """Not yet is neither success nor failure."""
    request_id = submitted(lone_fal, '{"simulate": "stuck"}')

    shown = lone_fal.run("result", ENDPOINT, request_id)

    assert (3, f"not_ready  {request_id}  {ENDPOINT}\n") == (shown.returncode, shown.stdout)
    assert f"fal-consumer stream {ENDPOINT} {request_id}" in shown.stderr
    lone_fal.run("cancel", "--direct", ENDPOINT, request_id)


def test_an_unknown_request_is_a_sentence(lone_fal):
    """A 404 of fal says what may be wrong."""
    shown = lone_fal.run("result", ENDPOINT, UNKNOWN_ID)

    assert (1, "") == (shown.returncode, shown.stdout)
    assert "fal knows no such request (HTTP 404)" in shown.stderr


def test_an_output_that_is_no_json_is_kept_whole(lone_fal):
    """Bytes are named by their type, and are there as base64 for programs."""
    request_id = ended(lone_fal, '{"simulate": "payload_null"}')

    shown = lone_fal.run("result", ENDPOINT, request_id)
    found = line(lone_fal.run("result", ENDPOINT, request_id, "--json"))

    assert "output: image/png, no JSON" in shown.stdout
    assert (None, "image/png") == (found["output"], found["content_type"])
    assert found["output_base64"].startswith("iVBOR")


def test_its_files_are_saved_under_names_of_ours(lone_fal, tmp_path):
    """--download makes the folder, saves each file, and says where."""
    request_id = ended(lone_fal)

    shown = lone_fal.run("result", ENDPOINT, request_id, "--download", str(tmp_path / "pics"))

    path = tmp_path / "pics" / f"{request_id}-01.png"
    assert 0 == shown.returncode, shown.stderr
    assert path.read_bytes().startswith(PNG)
    assert str(path) in shown.stdout
    assert [path] == list((tmp_path / "pics").iterdir())


def test_a_second_run_finds_them_there(lone_fal, tmp_path):
    """The same again fetches nothing, and exits 0 as well."""
    request_id = ended(lone_fal)
    arguments = ("result", ENDPOINT, request_id, "--download", str(tmp_path), "--json")

    first, again = lone_fal.run(*arguments), lone_fal.run(*arguments)

    assert [0, 0] == [first.returncode, again.returncode]
    assert ["saved", "already_there"] == [
        line(one)["files"][0]["outcome"] for one in (first, again)
    ]


def test_files_of_other_hosts_are_not_fetched(lone_fal, tmp_path):
    """Without a place of its own this machine is a foreign host: it is said, and exits 1."""
    strict = replace(lone_fal, environ={**lone_fal.environ, "FAL_CONSUMER_MEDIA_HOSTS": ""})

    shown = strict.run("result", ENDPOINT, ended(strict), "--download", str(tmp_path))

    assert 1 == shown.returncode
    assert "its host is none that files may come from (FAL_CONSUMER_MEDIA_HOSTS" in shown.stderr
    assert [] == list(tmp_path.iterdir())


def test_a_file_over_the_limit_is_not_kept(lone_fal, tmp_path):
    """The limit of one file is a setting, and the sentence names it."""
    small = {**lone_fal.environ, "FAL_CONSUMER_MEDIA_MAX_FILE_BYTES": "1KiB"}
    strict = replace(lone_fal, environ=small)

    shown = strict.run("result", ENDPOINT, ended(strict), "--download", str(tmp_path), "--json")

    assert (1, "too_large") == (shown.returncode, line(shown)["files"][0]["reason"])
    assert [] == list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_had_is_a_sentence(lone_fal, tmp_path):
    """A file where the folder should be is told without a traceback."""
    (tmp_path / "taken").write_text("x")
    folder = str(tmp_path / "taken" / "pics")

    shown = lone_fal.run("result", ENDPOINT, ended(lone_fal), "--download", folder)

    assert 1 == shown.returncode
    assert "cannot be written" in shown.stderr


def test_a_fal_that_is_away_is_a_sentence(lone_fal):
    """Nobody at the address: what was asked, and what to look at."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
    away = replace(lone_fal, environ={**lone_fal.environ, "FAL_CONSUMER_QUEUE_URL": url})

    shown = away.run("result", ENDPOINT, UNKNOWN_ID)

    assert (1, "") == (shown.returncode, shown.stdout)
    assert "no connection to fal was made" in shown.stderr
    assert f"can this machine reach {url}" in shown.stderr


def test_a_terminal_gets_a_bar_for_each_file():
    """Each file has a bar with its number; a pipe gets none."""
    shown, piped = io.StringIO(), io.StringIO()
    for out, is_terminal in ((shown, True), (piped, False)):
        console = Console(file=out, width=100, force_terminal=is_terminal)
        with Bars(2, console) as bars:
            bars.move(1, 10, 100)
            bars.move(2, 5, None)
            bars.move(1, 100, 100)

    assert "file 1/2" in shown.getvalue()
    assert "file 2/2" in shown.getvalue()
    assert "" == piped.getvalue().strip()


@pytest.mark.parametrize(
    "scenario", ["nul_prompt", "surrogate_prompt", "deep_nesting", "big_body", "huge_seed"]
)
def test_whatever_a_model_puts_out_can_be_read(lone_fal, scenario):
    """Odd outputs are shown escaped and cut, and are whole for programs."""
    request_id = ended(lone_fal, json.dumps({"simulate": scenario}))

    shown = lone_fal.run("result", ENDPOINT, request_id)
    found = line(lone_fal.run("result", ENDPOINT, request_id, "--json"))

    assert 0 == shown.returncode, shown.stderr
    assert len(shown.stdout) < 200_000
    assert "\0" not in shown.stdout
    assert "succeeded" == found["outcome"]
    assert (found["output"] is None) == (found["output_base64"] is not None)
