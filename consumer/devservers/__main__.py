"""
`python -m consumer.devservers kafka`: a real Kafka for development, until Ctrl-C.
"""

import asyncio
import signal
import sys
from collections.abc import Callable, Coroutine
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import click

from consumer.devservers.broker import ServerNotStarted
from consumer.devservers.cluster import open_kafka
from consumer.devservers.java import classpath
from consumer.devservers.shared import keep_kafka
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
        _run(partial(_serve, Path(folder), brokers))


@main.command(hidden=True)
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
def keep(folder: Path) -> None:
    """Keep the broker that tests share; started by the first of them."""
    _run(partial(keep_kafka, folder))


async def _serve(folder: Path, brokers: int) -> None:
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


def _run(server: Server) -> None:
    """Run a server until it ends, or SIGINT or SIGTERM arrives; leave with the exit code."""
    try:
        classpath()  # the first time it takes long, and outside of the loop Ctrl-C ends it
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
