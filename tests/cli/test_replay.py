"""`replay`: a span of a topic, put back on it with a reason."""

import json
from base64 import b64decode

import click
import pytest
from click.exceptions import Exit

from consumer.cli.replay import new_replay, tell
from consumer.cli.replay import replay as command
from consumer.replaying import Tally
from tests.cli.letters import copies, lines, records

WHY = ("--reason", "read  again\tby the new version")
EVERYTHING = ("--from", "2026-01-01T00:00:00Z")


@pytest.fixture
def filled(folder):
    """Return a folder with four results of three requests."""
    folder.append_results(1, 2, 1, 3)
    return folder


def replay(folder, *arguments):
    """Run `replay` on the results, for programs."""
    return folder.run("replay", "--topic", "fal.results", *WHY, "--json", *arguments)


def keys(folder) -> list[str]:
    """Return the keys of what was put back, in order."""
    return [one["key"] for one in copies(folder, "fal.results")]


def test_a_span_is_put_back(filled):
    """Each record of the span stands there once more, marked, its value the same."""
    shown = replay(filled, *EVERYTHING)

    (told,) = lines(shown)
    assert (0, 4, 0, []) == (
        shown.returncode,
        told["records"],
        told["were_replays"],
        told["refused"],
    )
    originals = records(filled, "fal.results")[:4]
    back = copies(filled, "fal.results")
    assert [(one["key"], one["value_base64"]) for one in originals] == [
        (one["key"], one["value_base64"]) for one in back
    ]
    marks = back[0]["headers"]
    place = f"results/{originals[0]['partition']}/0"
    assert (told["replay"], "read again by the new version", place) == (
        marks["ce_falreplay"],
        marks["ce_falreplayreason"],
        marks["ce_falreplayof"],
    )
    assert originals[0]["headers"].items() <= marks.items()


def test_the_reason_is_recorded(filled):
    """What was asked for, why, and what was done are facts on fal.lifecycle."""
    replay(filled, *EVERYTHING, "--key", filled.request_id(1), "--handler", "record")

    facts = [json.loads(b64decode(one["value_base64"])) for one in records(filled, "lifecycle")]
    asked, done = (fact["detail"] for fact in facts)
    assert "read again by the new version" == asked["reason"] == done["reason"]
    assert ("results", filled.request_id(1), "record", 2) == (
        asked["topic"],
        asked["key"],
        asked["handler"],
        done["records"],
    )
    assert {"record"} == {
        one["headers"]["ce_falreplayhandler"] for one in copies(filled, "fal.results")
    }


@pytest.mark.parametrize(
    "arguments, count",
    [
        (["--from", "2026-11-23T12:00:00Z"], 4),
        (["--from", "2026-11-23T13:00:00+01:00", "--to", "2026-11-23T12:00:00.000001Z"], 4),
        (["--from", "2026-11-23T12:00:01Z"], 0),
        ([*EVERYTHING, "--to", "2026-11-23T12:00:00Z"], 0),
        (["--from", "{place}/1"], 3),
        (["--from", "{place}/1", "--to", "{place}/2"], 1),
        (["--from", "{place}/9"], 0),
        ([*EVERYTHING, "--to", "{place}/1"], 1),
        (["--from", "99/0"], 0),
    ],
)
def test_a_span_is_named_by_time_or_offset(filled, arguments, count):
    """--from and --to are times of the log or partition/offset; the end is not included."""
    place = records(filled, "fal.results")[0]["partition"]

    shown = replay(filled, *(text.format(place=place) for text in arguments))

    assert (0, count) == (shown.returncode, lines(shown)[0]["records"])
    assert count == len(keys(filled))


def test_one_key_needs_no_beginning(filled):
    """With --key alone all that the log holds of a request is put back."""
    replay(filled, "--key", filled.request_id(1))

    assert [filled.request_id(1)] * 2 == keys(filled)


def test_replays_are_not_replayed(filled):
    """A second replay of the span leaves out what the first one put there, unless --again."""
    replay(filled, *EVERYTHING)

    second, third = replay(filled, *EVERYTHING), replay(filled, *EVERYTHING, "--again")

    assert [(4, 4), (12, 0)] == [
        (told["records"], told["were_replays"]) for told in (lines(s)[0] for s in (second, third))
    ]
    assert "4 left out" in second.stderr


def test_a_dry_run_only_counts(filled):
    """--dry-run says how many there would be, and puts nothing anywhere."""
    shown = filled.run("replay", "--topic", "results", *WHY, *EVERYTHING, "--dry-run")

    assert (0, "4 would be put back\n") == (shown.returncode, shown.stdout)
    assert [] == keys(filled) + records(filled, "fal.lifecycle")


def test_people_get_a_sentence(filled):
    """Without --json it says how many, under which id and why; and that nobody runs."""
    shown = filled.run("replay", "--topic", "fal.results", *WHY, *EVERYTHING)

    first, second = shown.stdout.splitlines()
    assert "4 put back" == first
    assert second.endswith(": read again by the new version")
    assert "no `serve` runs" in shown.stderr


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["--topic", "fal.dead-letters", *EVERYTHING], "fal-consumer dead-letters replay"),
        (["--topic", "fal.outcomes", *EVERYTHING], "expected one of"),
        (["--topic", "fal.results"], "give --from, or --key"),
        (["--topic", "fal.results", "--to", "2026-01-01T00:00:00Z"], "give --from, or --key"),
        (["--topic", "fal.results", "--from", "yesterday"], "expected a time like"),
        (["--topic", "fal.results", "--from", "2026-01-01T00:00:00"], "expected a time like"),
        (["--topic", "fal.results", "--from", "1/x"], "expected a time like"),
        (["--topic", "fal.results", "--from", "1/5", "--to", "1/5"], "must come before"),
        (["--topic", "fal.results", "--from", "1/5", "--to", "2/9"], "two partitions"),
        (
            ["--topic", "fal.results", *EVERYTHING, "--to", "2025-01-01T00:00:00Z"],
            "must come before",
        ),
        (["--topic", "fal.results", *EVERYTHING, "--handler", "fetch"], "is read by record"),
        (["--topic", "fal.results", *EVERYTHING, "--rate", "0"], "--rate"),
    ],
)
def test_what_makes_no_sense_is_refused(filled, arguments, said):
    """A wrong topic, span, handler or rate exits 2 with its reason; nothing is put back."""
    shown = filled.run("replay", *WHY, *arguments)

    assert (2, "") == (shown.returncode, shown.stdout)
    assert said in " ".join(shown.stderr.split())
    assert [] == keys(filled)


def test_a_replay_needs_a_reason(filled):
    """Without --reason, or with an empty one, it exits 2."""
    without = filled.run("replay", "--topic", "fal.results", *EVERYTHING)
    empty = filled.run("replay", "--topic", "fal.results", *EVERYTHING, "--reason", "")

    assert (2, 2) == (without.returncode, empty.returncode)
    assert "--reason" in without.stderr
    assert "1 to 200 printable characters" in empty.stderr


def test_a_cut_says_how_far_it_came(filled):
    """A log that takes nothing ends it with 1 and its reason; what was put back is said."""
    filled.environ["FAL_CONSUMER_LOG_RESERVE_BYTES"] = str(1 << 40)

    shown = replay(filled, *EVERYTHING)

    assert (1, "") == (shown.returncode, shown.stdout)
    assert "cut after 0 put back" in shown.stderr
    assert "free space is below the reserve" in shown.stderr
    assert [] == keys(filled)


def test_not_every_refusal_is_named(capsys):
    """Of many refused records the first are named, and the rest are counted."""
    context = click.Context(command)
    tally = Tally(refused=[f"results/0/{number}: too large" for number in range(25)])

    with context, pytest.raises(Exit) as ended:
        tell(tally, new_replay("why"), is_dry=False, as_json=False)

    said = capsys.readouterr().err
    assert 1 == ended.value.exit_code
    assert (20, True) == (said.count("not put back"), "and 5 more" in said)
