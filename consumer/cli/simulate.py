"""`simulate`: the stand-in for fal, with the lines that point a service at it."""

import asyncio
import shlex
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from consumer.cli.setup import Explained, run_loop, stop_on_signals

if TYPE_CHECKING:
    from consumer.simulator import Simulator, SimulatorConfig

_RESULT_TTL_S = 3600.0  # fal docs, Queue result (read 2026-10-07)
_SERVICE_URL = "http://127.0.0.1:8080"
# The receiver's default address; the simulator delivers to loopback only.


def _weights(
    _ctx: click.Context, _parameter: click.Parameter, given: tuple[str, ...]
) -> dict[str, float]:
    """Return weights by scenario; what the given shares leave of 1 is `plain`."""
    weights: dict[str, float] = {}
    for text in given:
        name, _, amount = text.partition("=")
        try:
            weights[name] = float(amount)
        except ValueError as exc:
            raise click.BadParameter("expected NAME=SHARE, like lost=0.05") from exc
    if weights and "plain" not in weights:
        weights["plain"] = max(0.0, 1.0 - sum(weights.values()))
    return weights


@click.command(
    cls=Explained,
    example="""\
fal-consumer simulate --weight lost=0.05 --weight duplicate=0.1 >simulator.env
. ./simulator.env; fal-consumer serve     (in another terminal)""",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=9400,
    show_default=True,
    help="Port to listen on; 0: a free one.",
)
@click.option("--seed", default=1, show_default=True, help="Same seed, same choices.")
@click.option(
    "--time-scale",
    default=1.0,
    show_default=True,
    help="How long fal's seconds take: 0.1 is ten times as fast.",
)
@click.option(
    "--weight",
    "weights",
    multiple=True,
    metavar="NAME=SHARE",
    callback=_weights,
    help="How often a scenario happens; the rest is plain. Repeat it. See --scenarios.",
)
@click.option("--mixed", is_flag=True, help="A rough day: four in ten requests meet something.")
@click.option(
    "--queue-s",
    nargs=2,
    type=float,
    default=(0.5, 3.0),
    show_default=True,
    help="Least and most seconds that a job waits in the queue.",
)
@click.option(
    "--run-s",
    nargs=2,
    type=float,
    default=(1.0, 6.0),
    show_default=True,
    help="Least and most seconds that a job runs.",
)
@click.option("--account", default="github|1000001", show_default=True, help="Who you are at fal.")
@click.option(
    "--webhook-attempts",
    "max_webhook_attempts",
    default=32,
    show_default=True,
    help="How often a webhook is tried in all.",
)
@click.option(
    "--webhook-timeout-s",
    default=15.0,
    show_default=True,
    help="Real seconds that a first try waits for its answer.",
)
@click.option(
    "--webhook-retry-timeout-s",
    default=120.0,
    show_default=True,
    help="Real seconds that every later try waits.",
)
@click.option(
    "--rate-limit",
    type=click.IntRange(min=1),
    metavar="CALLS",
    help="Answer 429 past so many calls a second, for queue and platform each.",
)
@click.option(
    "--rate-limit-hint",
    type=click.Choice(["retry_after", "reset", "none"]),
    default="retry_after",
    show_default=True,
    help="What a 429 says: Retry-After, x-ratelimit-reset, or nothing.",
)
@click.option(
    "--stream-cut-s",
    type=float,
    help="Cut each status stream after these real seconds.",
)
@click.option(
    "--tls-port",
    type=click.IntRange(0, 65535),
    help="Listen with TLS as well, for clients that insist on https; 0: a free port.",
)
@click.option(
    "--authority",
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    default="simulator-authority.pem",
    show_default=True,
    help="File for the throw-away certificate that such clients must trust.",
)
@click.option(
    "--expire",
    is_flag=True,
    help="Let results expire as at fal: after an hour, six minutes from 10 KB on, "
    "30 days where a submit asks for payload storage.",
)
@click.option(
    "--files",
    "has_files",
    is_flag=True,
    help="Serve the files of results on this port, and let outputs name them there.",
)
@click.option("--api-key", help="Take this key alone; otherwise any key passes.")
@click.option(
    "--admin-key", help="The ADMIN key; with it, the other one is refused where fal wants ADMIN."
)
@click.option("--scenarios", is_flag=True, help="List the scenarios and leave.")
def simulate(*, scenarios: bool, authority: Path, **chosen: Any) -> None:
    """
    Run a stand-in for fal.ai: queue, results, signed webhooks, and faults on demand.

    Standard output gets the settings that point a service at it, ready for a shell; then it
    runs until SIGTERM or Ctrl-C. It delivers webhooks to this machine only.
    """
    from consumer.simulator import SCENARIOS  # noqa: PLC0415

    if scenarios:
        click.echo("\n".join(SCENARIOS))
        return
    run_loop(_simulate(_config(chosen), authority))


def _config(chosen: dict[str, Any]) -> "SimulatorConfig":
    """Return the simulator's configuration; raises UsageError for one that cannot work."""
    from consumer.simulator import (  # noqa: PLC0415
        MIXED_WEIGHTS,
        Hint,
        RateLimit,
        SimulatorConfig,
    )

    is_mixed, weights = chosen.pop("mixed"), chosen.pop("weights")
    if is_mixed and weights:
        raise click.UsageError("give --mixed or --weight, not both")
    if is_mixed or weights:
        chosen["weights"] = weights or MIXED_WEIGHTS
    if chosen.pop("expire"):
        chosen["result_ttl_s"] = _RESULT_TTL_S
    calls, hint = chosen.pop("rate_limit"), Hint(chosen.pop("rate_limit_hint"))
    if calls is not None:
        chosen["rate_limit"] = RateLimit(calls, hint=hint)
    try:
        return SimulatorConfig(**chosen)
    except ValueError as exc:
        raise click.UsageError(str(exc)) from exc


async def _simulate(config: "SimulatorConfig", authority: Path) -> None:
    from consumer.errors import ConfigError  # noqa: PLC0415
    from consumer.simulator import Simulator  # noqa: PLC0415

    stop = asyncio.Event()
    with stop_on_signals(stop):
        async with AsyncExitStack() as stack:
            try:
                simulator = await stack.enter_async_context(Simulator(config))
            except ValueError as exc:
                raise ConfigError([f"--tls-port: {exc}"]) from exc
            except OSError as exc:
                problem = f"{config.host}:{config.port} cannot be had ({exc.strerror or exc})"
                raise ConfigError(
                    [f"--host, --port: {problem}; choose another, or port 0"]
                ) from exc
            click.echo(_environment(simulator))
            click.echo(f"simulator listens on {simulator.url}", err=True)
            click.echo(f"its books: {simulator.url}/_simulator/totals", err=True)
            if config.tls_port is not None:
                _hand_out(simulator, authority)
            await stop.wait()


def _hand_out(simulator: "Simulator", authority: Path) -> None:
    """Write the authority's certificate, and say how fal's own clients use it."""
    authority.write_bytes(simulator.authority_pem)
    host = simulator.tls_url.removeprefix("https://")
    click.echo(f"TLS on {simulator.tls_url}, trust {authority}", err=True)
    names = f"FAL_RUN_HOST={host} FAL_QUEUE_RUN_HOST={host}"
    click.echo(
        f"fal's Python client: {names} SSL_CERT_FILE={shlex.quote(str(authority))}", err=True
    )


def _environment(simulator: "Simulator") -> str:
    """Return the settings of a service that takes the simulator for fal, as shell lines."""
    values = {
        "FAL_KEY": simulator.config.api_key or "simulated:key",
        "FAL_CONSUMER_QUEUE_URL": simulator.url,
        "FAL_CONSUMER_API_URL": simulator.platform_url,
        "FAL_CONSUMER_JWKS_URL": simulator.jwks_url,
        "FAL_CONSUMER_ACCOUNTS": simulator.config.account,
        "FAL_CONSUMER_PUBLIC_URL": _SERVICE_URL,
    }
    if simulator.config.has_files:
        values["FAL_CONSUMER_MEDIA_HOSTS"] = f"{simulator.url}/files/"
    return "\n".join(f"export {name}={shlex.quote(value)}" for name, value in values.items())
