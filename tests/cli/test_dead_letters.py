"""`dead-letters`: listed, shown without secrets, put back with a reason."""

import json
from base64 import b64decode

import pytest

from consumer.cli import main
from consumer.core.event import NewRecord, Topic
from tests.cli.letters import REQUEST_ID, TOKEN, copies, letter, lines, records

WHY = ("--why", "the key is set now")


@pytest.fixture
def letters(folder):
    """Return a folder with three dead letters, two of one reason."""
    folder.append(letter(1), letter(2, "no_fal_key"), letter(3, offset=7))
    return folder


# ---------------------------------------------------------------- list


def test_people_get_a_table(letters):
    """Each letter is a row with its id, reason, origin, key, size, handler and tries."""
    shown = letters.run("dead-letters", "list")

    assert 0 == shown.returncode
    heading, first, *_ = (line.split() for line in shown.stdout.splitlines())
    assert heading[:5] == ["ID", "REASON", "ORIGIN", "KEY", "BYTES"]
    assert first[0].endswith("/0")
    assert ["no_result", "commands/1/0", REQUEST_ID] == first[1:4]
    assert first[5:7] == ["commands", "2"]
    assert TOKEN not in shown.stdout


def test_programs_get_lines(letters):
    """With --json each letter is a line with all that it says of itself."""
    shown = letters.run("dead-letters", "list", "--json")

    told = lines(shown)
    assert ["c1", "c2", "c3"] == [one["event_id"] for one in told]
    assert {
        "reason": "no_fal_key",
        "problem": "fal answered not_found",
        "handler": "commands",
        "attempts": 2,
        "key": REQUEST_ID,
        "replayed_at": None,
        "replay": None,
        "omitted_bytes": None,
    }.items() <= told[1].items()


@pytest.mark.parametrize(
    "arguments, found",
    [
        (["--reason", "no_fal_key"], ["c2"]),
        (["--reason", "no_fal_key", "--reason", "no_result"], ["c1", "c2", "c3"]),
        (["--handler", "fetch"], []),
        (["--key", REQUEST_ID, "--limit", "1"], ["c3"]),
        (["--key", "nobody"], []),
        (["--limit", "2"], ["c2", "c3"]),
    ],
)
def test_letters_can_be_chosen(letters, arguments, found):
    """By reason, handler and key; --limit keeps the newest."""
    shown = letters.run("dead-letters", "list", "--json", *arguments)

    assert found == [one["event_id"] for one in lines(shown)]


def test_nothing_and_more_are_said(letters):
    """Where there is none it says so; where there are more than shown too."""
    none = letters.run("dead-letters", "list", "--reason", "nothing")
    more = letters.run("dead-letters", "list", "--limit", "2")

    assert (0, "", "no such dead letters\n") == (none.returncode, none.stdout, none.stderr)
    assert "the newest 2 of 3" in more.stderr


# ---------------------------------------------------------------- show


def test_one_letter_is_shown_without_its_secrets(letters):
    """Its headers are shown, the token masked, and no body unless asked for."""
    name = lines(letters.run("dead-letters", "list", "--json"))[1]["id"]

    shown = letters.run("dead-letters", "show", f"fal.dead-letters/{name}")
    whole = letters.run("dead-letters", "show", name, "--body")

    assert (0, 0) == (shown.returncode, whole.returncode)
    assert "dlreason: no_fal_key" in shown.stdout
    assert "ce_faltoken: ***" in shown.stdout
    assert "refetch" not in shown.stdout
    assert '"command":"refetch"' in whole.stdout
    assert TOKEN not in shown.stdout + whole.stdout


def test_a_letter_is_shown_to_programs(letters):
    """With --json its headers are an object; the body comes as base64, when asked for."""
    (without,) = lines(letters.run("dead-letters", "show", "c2", "--json"))
    (whole,) = lines(letters.run("dead-letters", "show", "c2", "--json", "--body"))

    assert ("***", "c2") == (without["headers"]["ce_faltoken"], without["headers"]["ce_id"])
    assert "value_base64" not in without
    assert "c2" == json.loads(b64decode(whole["value_base64"]))["command_id"]


def test_foreign_text_is_escaped(folder):
    """Control characters of a letter never reach the terminal."""
    odd = (("dlreason", b"\x1b[31mred"), ("dlorigin", b"receiver"), ("odd", b"\xff\x07"))
    folder.append(NewRecord(Topic.DEAD_LETTERS, "\x1b]0;k", b"\x1b[2J\xff", odd))
    name = lines(folder.run("dead-letters", "list", "--json"))[0]["id"]

    shown = folder.run("dead-letters", "list")
    whole = folder.run("dead-letters", "show", name, "--body")

    for text in (shown.stdout, whole.stdout):
        assert not {"\x1b", "\x07"} & set(text)
    assert "\\x1b[2J\\xff" in whole.stdout


# ---------------------------------------------------------------- replay


def test_a_letter_is_put_back_with_a_reason(letters):
    """One letter goes back to its topic, marked; the reason is a fact, and the list knows."""
    shown = letters.run("dead-letters", "replay", "c2", *WHY)

    assert 0 == shown.returncode, shown.stderr
    assert shown.stdout.startswith("1 put back\nreplay ")
    assert "the key is set now" in shown.stdout
    assert "no `serve` runs" in shown.stderr
    (copy,) = copies(letters, "fal.commands")
    assert ("c2", "commands", "2", "the key is set now") == tuple(
        copy["headers"][name]
        for name in (
            "ce_id",
            "ce_falreplayhandler",
            "ce_falreplayattempts",
            "ce_falreplayreason",
        )
    )
    facts = [json.loads(b64decode(one["value_base64"])) for one in records(letters, "lifecycle")]
    assert [("replay_asked", "operator"), ("replayed", "operator")] == [
        (fact["fact"], fact["witness"]) for fact in facts
    ]
    waiting = lines(letters.run("dead-letters", "list", "--waiting", "--json"))
    assert ["c1", "c3"] == [one["event_id"] for one in waiting]
    assert "ago" in letters.run("dead-letters", "list").stdout


def test_by_reason_what_was_put_back_is_left_out(letters):
    """The second --reason finds nothing new; --again, or naming them, puts them back again."""
    by_reason = ("dead-letters", "replay", "--reason", "no_result", *WHY, "--json")
    told = [
        lines(letters.run(*arguments))[0]["records"]
        for arguments in (
            (*by_reason, "--dry-run"),
            by_reason,
            by_reason,
            (*by_reason, "--again"),
            ("dead-letters", "replay", "c1", "c3", *WHY, "--json"),
        )
    ]

    assert [2, 2, 0, 2, 2] == told
    assert 6 == len(copies(letters, "fal.commands"))


def test_all_are_put_back_at_once(letters):
    """--all takes every letter that waits."""
    (told,) = lines(letters.run("dead-letters", "replay", "--all", *WHY, "--json"))

    assert (3, []) == (told["records"], told["refused"])
    assert ["c1", "c2", "c3"] == sorted(
        one["headers"]["ce_id"] for one in copies(letters, "fal.commands")
    )


def test_what_cannot_be_put_back_exits_1(letters):
    """A letter that tells no topic is named, the others go back, and the exit code is 1."""
    letters.append(NewRecord(Topic.DEAD_LETTERS, "k", b"", (("dlorigin", b"?"),)))

    shown = letters.run("dead-letters", "replay", "--all", *WHY)

    assert 1 == shown.returncode
    assert shown.stdout.startswith("3 put back\n")
    assert "dlorigin: tells no topic" in shown.stderr


@pytest.mark.parametrize(
    "arguments, code, said",
    [
        (["replay", "c1"], 2, "--why"),
        (["replay", *WHY], 2, "give IDs, or --reason, or --all"),
        (["replay", "c1", "--all", *WHY], 2, "give IDs, or --reason, or --all"),
        (["replay", "c1", "--why", " "], 2, "1 to 200 printable characters"),
        (["replay", "c1", "9/9", *WHY], 1, "no such dead letter: 9/9"),
        (["show", "9/9"], 1, "no such dead letter: 9/9"),
    ],
)
def test_what_makes_no_sense_is_refused(letters, arguments, code, said):
    """A replay without reason or letters exits 2, an unknown letter 1; nothing is put back."""
    shown = letters.run("dead-letters", *arguments)

    assert (code, "") == (shown.returncode, shown.stdout)
    assert said in shown.stderr
    assert [] == records(letters, "fal.lifecycle")


@pytest.mark.parametrize("verb", ["list", "show", "replay"])
def test_each_command_explains_itself(runner, verb):
    """The help of each command ends with an example of it."""
    shown = runner.invoke(main, ["dead-letters", verb, "--help"])

    assert f"fal-consumer dead-letters {verb}" in shown.output.partition("Example:\n")[2]
