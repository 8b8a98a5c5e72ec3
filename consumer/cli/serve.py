"""`serve`: the whole service on one data folder, until a signal."""

import asyncio
from typing import TYPE_CHECKING

import click

from consumer.cli.setup import Explained, log_to_stderr, run_loop, stop_on_signals, with_settings

if TYPE_CHECKING:
    from consumer.settings import Settings


@click.command(
    cls=Explained,
    example="""\
FAL_KEY=… FAL_CONSUMER_ACCOUNTS='github|1234' \\
FAL_CONSUMER_PUBLIC_URL=https://hooks.example.com fal-consumer serve""",
)
@with_settings
def serve(settings: "Settings") -> None:
    """
    Receive fal's webhooks, follow every request to its end, and record it all.

    Runs until SIGTERM or Ctrl-C, then finishes what is in hand; a second signal ends at once.
    Standard error says where it listens. Exit code 2: a setting is wrong, and which.
    """
    log_to_stderr(settings)
    run_loop(_serve(settings), fast=True)


async def _serve(settings: "Settings") -> None:
    from consumer.app import open_service  # noqa: PLC0415

    stop = asyncio.Event()
    with stop_on_signals(stop):
        async with open_service(settings) as service:
            click.echo(f"receiver listens on {service.receiver_url}", err=True)
            if service.console_url is not None:
                click.echo(f"console listens on {service.console_url}", err=True)
            for warning in service.warnings:
                click.echo(f"warning: {warning}", err=True)
            await service.run(stop)
