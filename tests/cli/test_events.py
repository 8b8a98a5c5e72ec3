"""`events`: lines, groups, and how it ends."""

import json
import signal
from base64 import b64decode

import pytest

from consumer.core.event import NewRecord, Topic, encode

KEYS = ["topic", "partition", "offset", "key", "headers", "value_base64"]


def offsets_of(text: str) -> list[str]:
    return [json.loads(line)["key"] for line in text.splitlines()]


def test_a_line_holds_the_whole_record(folder):
    """Each line has the six documented fields, the value byte for byte."""
    record = encode(folder.lost(1)[1])
    folder.append(record)

    shown = folder.run("events", "--topic", "fal.results", "--json")

    assert (shown.returncode, shown.stderr) == (0, "")
    line = json.loads(shown.stdout)
    assert list(line) == KEYS
    assert ("fal.results", 0, record.key) == (line["topic"], line["offset"], line["key"])
    assert {name: value.decode() for name, value in record.headers} == line["headers"]
    assert record.value == b64decode(line["value_base64"])


def test_what_nobody_can_decode_is_shown_all_the_same(folder):
    """Headers that are not UTF-8 and a value of any bytes do not stop the reading."""
    folder.append(NewRecord(Topic.RESULTS, "key", b"\xff\x00", (("odd", b"\xff\xfe"),)))

    shown = folder.run("events", "--topic", "results", "--json")

    line = json.loads(shown.stdout)
    assert ({"odd": "\ufffd\ufffd"}, "/wA=") == (line["headers"], line["value_base64"])


def test_people_get_a_line_without_control_characters(folder):
    """Without --json a record is one readable line, its foreign text escaped."""
    folder.append(NewRecord(Topic.RESULTS, "\x1b[31mred\n", b"", ()))

    shown = folder.run("events", "--topic", "fal.results")

    assert shown.stdout.count("\n") == 1
    assert "\\x1b[31mred\\n" in shown.stdout


def test_one_key_can_be_asked_for(folder):
    """--key shows the records of one request only."""
    folder.append_results(1, 2, 1)

    shown = folder.run("events", "--topic", "fal.results", "--key", folder.request_id(1), "--json")

    assert [folder.request_id(1)] * 2 == offsets_of(shown.stdout)


def test_a_group_goes_on_after_its_last_line(folder):
    """With --group the second run shows what is new, and nothing twice."""
    arguments = ("events", "--topic", "fal.results", "--group", "billing", "--json")
    folder.append_results(1, 2)
    first = folder.run(*arguments)
    folder.append_results(3)

    second, third = folder.run(*arguments), folder.run(*arguments)

    assert {folder.request_id(1), folder.request_id(2)} == set(offsets_of(first.stdout))
    assert [folder.request_id(3)] == offsets_of(second.stdout)
    assert (0, "") == (third.returncode, third.stdout)


@pytest.mark.parametrize("grouped", [[], ["--group", "billing"]])
def test_a_closed_pipe_ends_it_quietly(folder, start, grouped):
    """When its reader goes, it exits 0 without a word, even with nothing left to write."""
    folder.append_results(1, 2, 3)
    arguments = ["events", "--topic", "fal.results", "--follow", "--json", *grouped]
    process = start(folder.environ, arguments)

    process.child.stdout.readline()
    process.child.stdout.close()

    assert (0, []) == (process.child.wait(60), process.said)


@pytest.mark.parametrize(
    "grouped, number", [([], signal.SIGINT), (["--group", "billing"], signal.SIGTERM)]
)
def test_following_shows_what_comes_until_a_signal(folder, start, grouped, number):
    """--follow waits for new records, and ends with 0 at a signal."""
    folder.append_results(1)
    arguments = ["events", "--topic", "fal.results", "--follow", "--json", *grouped]
    process = start(folder.environ, arguments)
    first = process.child.stdout.readline()

    folder.append_results(2)
    second = process.child.stdout.readline()
    process.child.send_signal(number)

    assert [folder.request_id(1), folder.request_id(2)] == offsets_of(first + second)
    assert (0, []) == (process.child.wait(60), process.said)


def test_a_killed_group_loses_nothing(folder, start):
    """After a kill the next run shows at least everything that was not written."""
    folder.append_results(*range(1, 6))
    arguments = ["events", "--topic", "fal.results", "--group", "billing", "--json"]
    process = start(folder.environ, [*arguments, "--follow"])
    seen = process.child.stdout.readline()
    process.child.kill()
    seen += process.child.stdout.read()

    again = folder.run(*arguments)

    everything = {folder.request_id(number) for number in range(1, 6)}
    assert everything == {*offsets_of(seen), *offsets_of(again.stdout)}


@pytest.mark.parametrize(
    "arguments, code, said",
    [
        (["--topic", "fal.outcomes"], 2, "expected one of fal.completions, fal.results"),
        (["--topic", "fal.results", "--group", "record"], 2, "the service's own"),
        (["--topic", "fal.results", "--group", "a/b"], 2, "is no name"),
        (["--topic", "fal.results", "--group", "a", "--key", "k"], 2, "--key or --group"),
        (["--topic", "fal.results"], 1, "holds no log: has `serve` run there?"),
    ],
)
def test_what_cannot_be_read_is_refused(folder, arguments, code, said):
    """A wrong topic or group exits 2, a folder without a log exits 1; each with its reason."""
    shown = folder.run("events", *arguments)

    assert (code, "") == (shown.returncode, shown.stdout)
    assert said in shown.stderr
