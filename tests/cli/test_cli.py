"""The group: its help, its verbs, and how errors end."""

import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from consumer.cli import SECTIONS, Verbs, main
from consumer.errors import BadToken, ConfigError, LogUnavailable

VERBS = [verb for section in SECTIONS.values() for verb in section]


def test_the_help_lists_every_verb_under_its_section(runner: CliRunner):
    """The help of the group shows each verb once, under a heading, with one sentence."""
    shown = runner.invoke(main, ["--help"])

    assert shown.exit_code == 0
    for title, verbs in SECTIONS.items():
        part = shown.output.partition(f"{title}:\n")[2].partition("\n\n")[0]
        assert [verb.name for verb in verbs] == [line.split()[0] for line in part.splitlines()]


def test_the_help_of_the_group_loads_no_verb():
    """`--help` answers at once: nothing heavy is imported for it."""
    code = (
        "import sys, click.testing\n"
        "from consumer.cli import main\n"
        "click.testing.CliRunner().invoke(main, ['--help'])\n"
        "print({'pydantic', 'rich', 'aiohttp', 'sqlalchemy'} & sys.modules.keys())\n"
    )

    shown = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )

    assert shown.stdout == "set()\n"


@pytest.mark.parametrize("name", [verb.name for verb in VERBS])
def test_every_verb_explains_itself_with_an_example(runner: CliRunner, name: str):
    """Each verb's help holds an example that begins as one would type it."""
    shown = runner.invoke(main, [name, "--help"])

    assert shown.exit_code == 0
    example = shown.output.partition("Example:\n")[2]
    assert f"fal-consumer {name}" in example


def test_an_unknown_verb_is_a_usage_error(runner: CliRunner):
    """A verb that does not exist exits 2 and says so."""
    shown = runner.invoke(main, ["sereve"])

    assert shown.exit_code == 2
    assert "No such command 'sereve'" in shown.stderr


def test_every_mistake_of_the_settings_is_told_at_once(runner: CliRunner):
    """Wrong settings exit 2, a sentence for each on standard error, nothing on standard output."""
    environ = {"FAL_CONSUMER_LISTEN": "nowhere", "FAL_CONSUMER_ACOUNTS": "x"}

    shown = runner.invoke(main, ["serve"], env=environ)

    assert (shown.exit_code, shown.stdout) == (2, "")
    assert ["FAL_CONSUMER_ACOUNTS", "FAL_CONSUMER_LISTEN"] == sorted(
        line.split()[1].rstrip(":") for line in shown.stderr.splitlines()
    )


def test_version_is_one_line(runner: CliRunner):
    """`version` prints the name and the version."""
    shown = runner.invoke(main, ["version"])

    assert shown.exit_code == 0
    assert shown.stdout.startswith("fal-consumer ")
    assert shown.stdout.count("\n") == 1


def test_the_verbs_are_commands_under_their_own_names(runner: CliRunner):
    """The name in the list is the name that the verb itself has."""
    context = click.Context(main)

    found = [main.get_command(context, verb.name) for verb in VERBS]

    assert [verb.name for verb in VERBS] == [verb and verb.name for verb in found]


@pytest.mark.parametrize(
    "error, code, said",
    [
        (
            ConfigError(["A: wrong", "B: wrong"]),
            2,
            "fal-consumer: A: wrong\nfal-consumer: B: wrong\n",
        ),
        (LogUnavailable("the disk is\x1b full"), 1, "fal-consumer: the disk is\\x1b full\n"),
        (BadToken("too long"), 1, "fal-consumer: token: too long\n"),
        (
            ExceptionGroup("tasks", [ExceptionGroup("more", [BadToken("x")]), BadToken("y")]),
            1,
            "fal-consumer: token: x\nfal-consumer: token: y\n",
        ),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_errors_of_ours_are_sentences(
    runner: CliRunner, error: BaseException, code: int, said: str
):
    """An error becomes a sentence on standard error and an exit code, never a traceback."""

    class One(Verbs):
        def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command:
            return click.Command(cmd_name, callback=self.fail)

        def fail(self) -> None:
            raise error

    shown = runner.invoke(One(), ["any"])

    assert (code, "", said) == (shown.exit_code, shown.stdout, shown.stderr)


def test_a_mistake_of_ours_is_not_hidden(runner: CliRunner):
    """What is no error of ours is raised as it is, also out of a group."""
    group = ExceptionGroup("tasks", [BadToken("x"), ZeroDivisionError()])

    class One(Verbs):
        def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command:
            return click.Command(cmd_name, callback=self.fail)

        def fail(self) -> None:
            raise group

    assert group is runner.invoke(One(), ["any"]).exception
