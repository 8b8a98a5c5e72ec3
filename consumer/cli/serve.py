"""`serve`, `receive`, `work`: the whole service or a half of it, until a signal."""

import asyncio
import gc
from typing import TYPE_CHECKING, Any

import click

from consumer.cli.setup import Explained, log_to_stderr, run_loop, stop_on_signals, with_settings

if TYPE_CHECKING:
    from consumer.settings import Role, Settings

_GC_THRESHOLDS = (20_000, 50, 100)
# Containers made and not yet freed before the young are looked at; then how often the older.

_PARTS = ("fetch", "record", "commands", "sweeps")


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
    _run(settings, "serve")


@click.command(
    cls=Explained,
    example="""\
FAL_CONSUMER_LOG_URL=kafka://broker:9092 FAL_CONSUMER_ACCOUNTS='github|1234' \\
FAL_CONSUMER_TOKEN_SECRETS_FILE=/run/secrets/tokens fal-consumer receive""",
)
@with_settings
def receive(settings: "Settings") -> None:
    """
    Receive fal's webhooks: verify each one and publish it to Kafka, or keep it in the spool.

    Needs neither ledger nor FAL_KEY; any number may run. Runs until SIGTERM or Ctrl-C, then
    finishes what is in hand. Exit code 2: a setting is wrong, and which.
    """
    _run(settings, "receive")


def _parts(_ctx: click.Context, _parameter: click.Parameter, given: str) -> tuple[str, ...]:
    parts = tuple(dict.fromkeys(part.strip() for part in given.split(",")))
    unknown = [part for part in parts if part not in _PARTS]
    if unknown:
        raise click.BadParameter(f"{unknown[0]!r} is none of {', '.join(_PARTS)}")
    return parts


@click.command(
    cls=Explained,
    example="""\
FAL_CONSUMER_LOG_URL=kafka://broker:9092 FAL_KEY=… FAL_CONSUMER_ACCOUNTS='github|1234' \\
FAL_CONSUMER_TOKEN_SECRETS_FILE=/run/secrets/tokens \\
FAL_CONSUMER_PUBLIC_URL=https://hooks.example.com fal-consumer work""",
)
@click.option(
    "--handlers",
    callback=_parts,
    default=",".join(_PARTS),
    show_default=True,
    metavar="LIST",
    help="What runs here: handlers by name, and all sweeps together.",
)
@with_settings
def work(settings: "Settings", *, handlers: tuple[str, ...]) -> None:
    """
    Work through the topics on Kafka: fetch results, record, obey commands, follow requests.

    Any number may run, and share the partitions; those that share a data folder share its
    ledger. Runs until SIGTERM or Ctrl-C, then finishes what is in hand and commits. Exit
    code 2: a setting is wrong, and which.
    """
    _run(settings, "work", parts=handlers)


def _run(settings: "Settings", role: str, **options: Any) -> None:
    from consumer.settings import Role  # noqa: PLC0415

    log_to_stderr(settings)
    run_loop(_until_signal(settings, Role(role), **options), fast=True)


async def _until_signal(settings: "Settings", role: "Role", **options: Any) -> None:
    from consumer.app import open_service  # noqa: PLC0415

    stop = asyncio.Event()
    with stop_on_signals(stop):
        async with open_service(settings, role, **options) as service:
            if service.receiver_url is not None:
                click.echo(f"receiver listens on {service.receiver_url}", err=True)
            if service.console_url is not None:
                click.echo(f"console listens on {service.console_url}", err=True)
            for warning in service.warnings:
                click.echo(f"warning: {warning}", err=True)
            _spare_collector()
            await service.run(stop)


def _spare_collector() -> None:
    """
    Let the cycle collector leave alone what lives as long as the process, and come seldom.

    Measured: as it comes by default it takes a fifth of what a delivery costs. What a delivery
    leaves behind holds no cycles, so memory stays flat (docs/measurements.md).
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_GC_THRESHOLDS)
