"""
`python -m consumer.devservers kafka` or `postgres`: a real server for development, until Ctrl-C.
"""

import asyncio
import signal
import sys
from collections.abc import Callable, Coroutine
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import click

from consumer.devservers.child import ServerNotStarted
from consumer.devservers.cluster import open_kafka
from consumer.devservers.java import classpath
from consumer.devservers.postgres import open_postgres
from consumer.devservers.shared import keep_kafka, keep_postgres
from consumer.errors import ConfigError, ConsumerError

Server = Callable[[], Coroutine[None, None, None]]


@click.group()
def main() -> None:
    """Real servers for tests and development."""


@main.command()
@click.option("--brokers", type=click.IntRange(1, 5), default=1, show_default=True)
def kafka(brokers: int) -> None:
    """Run Apache Kafka on free ports of 127.0.0.1 until Ctrl-C; its records go with it."""
    with TemporaryDirectory(prefix="fal-consumer-kafka-") as folder:
        # The first time its jars take long, and outside of the loop Ctrl-C ends that.
        _run(partial(_serve_kafka, Path(folder), brokers), prepare=classpath)


@main.command()
def postgres() -> None:
    """Run PostgreSQL on a socket in a folder of its own until Ctrl-C; its data goes with it."""
    _run(_serve_postgres)


@main.command(hidden=True)
@click.argument("kind", type=click.Choice(["kafka", "postgres"]))
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
def keep(kind: str, folder: Path) -> None:
    """Keep the server that tests share; started by the first of them."""
    _run(partial(keep_kafka if kind == "kafka" else keep_postgres, folder))


async def _serve_postgres() -> None:
    """Run until cancelled, or until it ends of itself."""
    async with open_postgres() as server:
        click.echo(f"PostgreSQL listens in {server.folder}; Ctrl-C ends it", err=True)
        click.echo(f"  process {server.pid}, {server.log_file}", err=True)
        click.echo("for fal-consumer serve, work and check:", err=True)
        click.echo(f"  export FAL_CONSUMER_LEDGER_URL='{server.url()}'", err=True)
        click.echo("  fal-consumer ledger migrate", err=True)
        await server.wait_ended()
        raise ServerNotStarted("PostgreSQL has ended")


async def _serve_kafka(folder: Path, brokers: int) -> None:
    """Run until cancelled, or until a broker ends of itself."""
    async with open_kafka(folder, brokers=brokers) as cluster:
        click.echo(f"Apache Kafka listens on {cluster.servers}; Ctrl-C ends it", err=True)
        for broker in cluster.brokers:
            click.echo(f"  broker {broker.node}: process {broker.pid}, {broker.log_file}", err=True)
        click.echo("for fal-consumer receive, work and check:", err=True)
        click.echo(f"  export FAL_CONSUMER_LOG_URL=kafka://{cluster.servers}", err=True)
        if brokers < 3:
            click.echo("  export FAL_CONSUMER_KAFKA_SINGLE_BROKER=true", err=True)
        async with asyncio.TaskGroup() as group:
            for broker in cluster.brokers:
                group.create_task(broker.wait_ended())
        raise ServerNotStarted("every broker has ended")


def _run(server: Server, prepare: Callable[[], object] = lambda: None) -> None:
    """Run a server until it ends, or SIGINT or SIGTERM arrives; leave with the exit code."""
    try:
        prepare()
        asyncio.run(_until_asked(server))
    except asyncio.CancelledError:
        return  # asked to end, and everything is put away
    except ConfigError as error:
        click.echo(str(error), err=True)
        sys.exit(2)
    except ConsumerError as error:
        click.echo(str(error), err=True)
        sys.exit(1)


async def _until_asked(server: Server) -> None:
    running = asyncio.ensure_future(server())
    for asked in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(asked, running.cancel)
    await running


if __name__ == "__main__":
    main()
