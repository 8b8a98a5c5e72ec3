"""`submit`: through a running `serve`, against a simulated fal."""

import json
import signal

import pytest

pytestmark = pytest.mark.slow  # processes of its own

INPUT = '{"prompt": "a cat"}'
ENDPOINT = "fal-ai/flux/dev"


def test_it_prints_the_request_id_alone(town):
    """Standard output is the request id, ready for a variable of a shell."""
    shown = town.run("submit", ENDPOINT, "--input", "-", stdin=INPUT)

    assert 0 == shown.returncode, shown.stderr
    assert 36 == len(shown.stdout.strip())
    timeline = town.run("timeline", shown.stdout.strip(), "--json")
    assert 0 == timeline.returncode


def test_it_waits_for_the_result(town, tmp_path):
    """With --wait --json standard output is the result event, tags and all."""
    (tmp_path / "input.json").write_text(INPUT)
    arguments = ("--input", str(tmp_path / "input.json"), "--tag", "customer=17")

    shown = town.run("submit", ENDPOINT, *arguments, "--wait", "--json")

    assert 0 == shown.returncode, shown.stderr
    result = json.loads(shown.stdout)
    assert ("succeeded", ENDPOINT, {"customer": "17"}) == (
        result["outcome"],
        result["endpoint"],
        result["tags"],
    )
    assert result["media"][0]["url"].startswith("https://")


def test_people_read_the_end_and_where_the_files_are(town):
    """With --wait the outcome, the media and the cost are shown, each on a line."""
    shown = town.run("submit", ENDPOINT, "--input", "-", "--wait", stdin=INPUT)

    assert 0 == shown.returncode, shown.stderr
    first, *rest = shown.stdout.splitlines()
    assert first.startswith("succeeded ")
    assert any(line.strip().startswith("https://") for line in rest)


def test_a_failed_job_exits_1_when_waited_for(town):
    """Any end but success exits 1, and says why."""
    simulated = '{"simulate": "error_422"}'

    shown = town.run("submit", ENDPOINT, "--input", "-", "--wait", stdin=simulated)

    assert 1 == shown.returncode
    assert shown.stdout.startswith("failed ")


def test_the_same_id_is_the_same_job(town):
    """A repeated --id gives the same request again; with another input it is refused."""
    arguments = ("submit", ENDPOINT, "--input", "-", "--id", "order-17", "--json")

    first = town.run(*arguments, stdin=INPUT)
    again = town.run(*arguments, stdin=INPUT)
    other = town.run(*arguments, stdin='{"prompt": "a dog"}')

    assert (0, first.stdout) == (first.returncode, again.stdout)
    assert (1, "") == (other.returncode, other.stdout)
    assert "used with another input" in other.stderr


def test_ctrl_c_leaves_the_job_alone(town, start, tmp_path):
    """An interrupted wait exits 130 and says how to look; the job goes on."""
    (tmp_path / "input.json").write_text('{"simulate": "stuck"}')
    arguments = ["submit", ENDPOINT, "--input", str(tmp_path / "input.json"), "--wait"]
    process = start(town.environ, arguments)
    process.wait_for("01")  # its request id and where it stands

    process.child.send_signal(signal.SIGINT)

    assert 130 == process.child.wait(60)
    process.wait_for("the job goes on without you; look at it with: fal-consumer timeline ")


def test_without_a_serve_it_says_so(folder):
    """Nothing is put on the log of a folder that nobody serves."""
    shown = folder.run("submit", ENDPOINT, "--input", "-", stdin=INPUT)

    assert (1, "") == (shown.returncode, shown.stdout)
    assert "no `fal-consumer serve` runs on" in shown.stderr
    assert not folder.path.exists()


@pytest.mark.parametrize(
    "arguments, stdin, said",
    [
        ([ENDPOINT], "nonsense", "--input: not JSON"),
        ([ENDPOINT], "[1]", "expected a JSON object, got list"),
        (["flux"], INPUT, "Error: ENDPOINT: expected owner/app"),
        ([ENDPOINT, "--tag", "=1"], INPUT, "NAME=VALUE"),
        ([ENDPOINT, "--start-within", "soon"], INPUT, "a span from 1 second"),
        ([ENDPOINT, "--id", "two words"], INPUT, "--id: expected 1 to 200"),
        ([ENDPOINT, "--id", ""], INPUT, "--id: expected 1 to 200"),
    ],
)
def test_what_cannot_be_a_job_is_a_usage_error(folder, arguments, stdin, said):
    """A wrong endpoint, input, tag, span or id exits 2 before anything is asked."""
    shown = folder.run("submit", *arguments, "--input", "-", stdin=stdin)

    assert (2, "") == (shown.returncode, shown.stdout)
    assert said in shown.stderr


def test_a_file_that_is_not_there_is_a_usage_error(folder):
    """An input file that cannot be read exits 2 with its name."""
    shown = folder.run("submit", ENDPOINT, "--input", str(folder.path / "nothing.json"))

    assert 2 == shown.returncode
    assert "cannot be read" in shown.stderr
