"""`mcp`: fal's operations as tools for agents, over the Model Context Protocol."""

import asyncio
import sys
from importlib.util import find_spec
from typing import TYPE_CHECKING

import click

from consumer.cli.setup import Explained, log_to_stderr, run_loop, stop_on_signals, with_settings
from consumer.cli.terminal import note
from consumer.errors import ConfigError

if TYPE_CHECKING:
    from consumer.settings import Address, Settings


def _address(
    _ctx: click.Context, _parameter: click.Parameter, given: str | None
) -> "Address | None":
    from consumer.settings.values import parse_address  # noqa: PLC0415

    try:
        return None if given is None else parse_address(given)
    except ValueError as exc:
        raise click.BadParameter(f"expected {exc}") from exc


@click.command(
    cls=Explained,
    example="""\
FAL_KEY=… FAL_CONSUMER_DATA_DIR=/srv/fal/data fal-consumer mcp   (what an agent starts)
FAL_KEY=… fal-consumer mcp --http 127.0.0.1:8082                 (what many agents reach)""",
)
@click.option(
    "--direct",
    "is_direct",
    is_flag=True,
    help="Submit and cancel straight at fal, without a running service: nothing is recorded.",
)
@click.option(
    "--http",
    "address",
    callback=_address,
    metavar="ADDRESS",
    help="Serve streamable HTTP on host:port, path /mcp, instead of standard input and output.",
)
@click.option(
    "--allow-host",
    "names",
    multiple=True,
    metavar="NAME",
    help="With --http: a host name that agents call it by, besides ADDRESS's. Repeat it.",
)
@with_settings
def mcp(
    settings: "Settings",
    *,
    is_direct: bool,
    address: "Address | None",
    names: tuple[str, ...],
) -> None:
    """
    Let agents use fal: submit, follow, result, cancel, models, prices, keys, as MCP tools.

    Submits and cancels go through the `serve` (on Kafka `work`) of the data folder, so that
    each leaves a record and is followed to its end. Reading tools ask fal with FAL_KEY.

    By default for one agent that starts this command itself: the protocol on standard input
    and output, logs on standard error. With --http for many, each with a token of
    FAL_CONSUMER_CONSOLE_TOKENS_FILE (`Authorization: Bearer …`): role read gets the tools
    that only read. Runs until its input is closed, SIGTERM or Ctrl-C; calls in hand are
    finished first.
    """
    if find_spec("mcp") is None:
        raise ConfigError(["`mcp` needs an extra: pip install 'fal-consumer[mcp]'"])
    if names and address is None:
        raise click.UsageError("--allow-host: only with --http")
    log_to_stderr(settings)
    if address is not None:
        run_loop(_serve_http(settings, address, names, is_direct=is_direct))
        return
    if sys.stdin.isatty():
        note("speaks the Model Context Protocol on standard input: an agent starts it; see --help")
    run_loop(_serve_stdio(settings, is_direct=is_direct))


async def _serve_stdio(settings: "Settings", *, is_direct: bool) -> None:
    from consumer.app.agents import serve_agents  # noqa: PLC0415

    stop = asyncio.Event()
    with stop_on_signals(stop):
        await serve_agents(settings, is_direct=is_direct, stop=stop)


async def _serve_http(
    settings: "Settings", address: "Address", names: tuple[str, ...], *, is_direct: bool
) -> None:
    from consumer.app.agents import serve_agents_http  # noqa: PLC0415

    stop = asyncio.Event()
    with stop_on_signals(stop):
        serving = serve_agents_http(settings, address, names, is_direct=is_direct)
        async with serving as url:
            note(f"mcp listens on {url}")
            if is_direct:
                note("warning: --direct: nothing that is submitted or cancelled is recorded")
            if address.host not in ("127.0.0.1", "localhost", "::1"):
                note("warning: tokens travel as they are: put a TLS proxy before it")
            await stop.wait()
