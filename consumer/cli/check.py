"""`check`: every setting, then everything that the settings lead to."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from consumer.cli.setup import Explained, log_to_stderr, run_loop, with_settings
from consumer.cli.terminal import print_json, print_table, word
from consumer.errors import ConfigError

if TYPE_CHECKING:
    from consumer.app import CheckRow
    from consumer.settings import SettingRow, Settings


@click.command(cls=Explained, example="fal-consumer check && fal-consumer serve")
@click.option("--offline", is_flag=True, help="Ask nobody: look at settings and files only.")
@click.option(
    "--role",
    type=click.Choice(["serve", "receive", "work"]),
    default="serve",
    show_default=True,
    help="What is to start with these settings.",
)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON line for each row.")
@with_settings
def check(settings: "Settings", *, offline: bool, role: str, as_json: bool) -> None:
    """
    Show every setting, and look for what would go wrong: files, keys, fal, Kafka.

    Exit code 0: fine, warnings allowed; 1: something is unreachable or unsafe; 2: a setting is
    wrong (all of them are named). Secrets are never shown.
    """
    from consumer.app import check as look  # noqa: PLC0415
    from consumer.settings import Role, mistakes_for  # noqa: PLC0415

    log_to_stderr()
    mistakes = mistakes_for(Role(role), settings)
    if mistakes:
        raise ConfigError(mistakes)
    rows = run_loop(look(settings, offline=offline, role=Role(role)))
    if as_json:
        for row in _lines(settings.describe(), rows):
            print_json(row)
    else:
        _print(settings.describe(), rows)
    is_failed = any(row.verdict == "failed" for row in rows)
    click.get_current_context().exit(1 if is_failed else 0)


def _lines(settings: "Sequence[SettingRow]", rows: "Sequence[CheckRow]") -> list[dict[str, Any]]:
    return [
        *({"kind": "setting", **row._asdict()} for row in settings),
        *(
            {"kind": "check", "name": row.name, "verdict": row.verdict, "text": row.text}
            for row in rows
        ),
    ]


def _print(settings: "Sequence[SettingRow]", rows: "Sequence[CheckRow]") -> None:
    print_table(("SETTING", "VALUE", "FROM"), settings)
    click.echo()
    print_table(
        ("CHECK", "VERDICT", "FOUND"), [(row.name, word(row.verdict), row.text) for row in rows]
    )
