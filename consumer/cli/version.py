"""`version`: one line."""

import platform
from importlib.metadata import version as version_of

import click

from consumer.cli import PROGRAM
from consumer.cli.setup import Explained


@click.command(cls=Explained, example="fal-consumer version")
def version() -> None:
    """Print the version, and Python's."""
    click.echo(f"{PROGRAM} {version_of('fal-consumer')} (Python {platform.python_version()})")
