"""`ledger`: its schema brought up to date."""

from typing import TYPE_CHECKING

import click

from consumer.cli.setup import Explained, ExplainedGroup, log_to_stderr, run_loop, with_settings
from consumer.cli.terminal import print_json

if TYPE_CHECKING:
    from consumer.settings import Settings


@click.group(cls=ExplainedGroup, example="fal-consumer ledger migrate")
def ledger() -> None:
    """Look after the ledger: its schema, and moving it."""


@ledger.command(cls=Explained, example="fal-consumer ledger migrate")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON line.")
@with_settings
def migrate(settings: "Settings", *, as_json: bool) -> None:
    """
    Bring the schema to the one that this version knows; twice is harmless.

    On PostgreSQL this is a step of its own, before the processes of a new version start: they
    refuse an older schema. `serve` and `work` do it by themselves for a SQLite file, which is
    copied aside first. Exit code 1: the database does not answer; 2: the schema is newer than
    this version.
    """
    from consumer.app.upkeep import migrate_ledger  # noqa: PLC0415

    log_to_stderr()
    done = run_loop(migrate_ledger(settings))
    if as_json:
        row = {"ledger": done.name, "before": done.before, "schema": done.now}
        print_json(row | {"is_changed": done.before is not None})
        return
    did = "is up to date"
    if done.before is not None:
        did = f"migrated from {done.before}" if done.before else "made"
    click.echo(f"{done.name}: {did} (schema {done.now})")
