"""What people and programs see."""

import json
from datetime import timedelta

import pytest

from consumer.cli.terminal import (
    Failed,
    Narrator,
    foreign,
    note,
    print_json,
    print_table,
    short_span,
)


def test_json_is_one_ascii_line(capsys: pytest.CaptureFixture[str]):
    """A JSON line holds no byte that a terminal or a locale could trip over."""
    print_json({"text": "é\n\x1b\ud800"})

    shown = capsys.readouterr().out
    assert shown.isascii()
    assert shown.count("\n") == 1
    assert {"text": "é\n\x1b\ud800"} == json.loads(shown)


def test_foreign_text_is_escaped_and_never_markup(capsys: pytest.CaptureFixture[str]):
    """In a table, too, foreign text keeps its brackets and loses its control characters."""
    print_table(("A", "B"), [("[bold]x[/bold]", "\x1b[2J")])

    shown = capsys.readouterr().out
    assert "[bold]x[/bold]" in shown
    assert "\\x1b[2J" in shown
    assert "\\x07" == foreign("\x07").plain


def test_a_piped_table_cuts_nothing(capsys: pytest.CaptureFixture[str]):
    """Where standard output is no terminal, a row of long cells stays one line."""
    print_table(("A", "B", "C"), [("a" * 40, "b" * 60, "c" * 60)])

    assert f"{'a' * 40}  {'b' * 60}  {'c' * 60}" in capsys.readouterr().out


@pytest.mark.parametrize(
    "span, shown",
    [
        (timedelta(milliseconds=250), "0.2s"),
        (timedelta(seconds=59.94), "59.9s"),
        (timedelta(seconds=60), "1m"),
        (timedelta(minutes=119), "119m"),
        (timedelta(hours=2), "2h"),
        (timedelta(hours=47), "47h"),
        (timedelta(days=2), "2d"),
        (timedelta(seconds=-5), "-5.0s"),
    ],
)
def test_spans_are_short(span: timedelta, shown: str):
    """A span is shown in the largest unit that tells it."""
    assert shown == short_span(span)


def test_progress_goes_to_standard_error_once(capsys: pytest.CaptureFixture[str]):
    """Without a terminal each new standing is one line, steps are left out."""
    with Narrator() as narrator:
        narrator.step("handing it over")
        narrator.say("queued")
        narrator.say("queued")
        narrator.say("running\x1b")
    note("done")

    shown = capsys.readouterr()
    assert ("", "queued\nrunning\\x1b\ndone\n") == (shown.out, shown.err)


def test_a_failure_tells_what_to_do(capsys: pytest.CaptureFixture[str]):
    """The sentence and the hint are two lines on standard error."""
    Failed("no such thing", "look elsewhere").show()

    assert "fal-consumer: no such thing\n  look elsewhere\n" == capsys.readouterr().err
