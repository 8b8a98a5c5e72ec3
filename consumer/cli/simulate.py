"""`simulate`: the stand-in for fal, with the lines that point a service at it."""

import asyncio
import shlex
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import click

from consumer.cli.setup import Explained, run_loop, stop_on_signals

if TYPE_CHECKING:
    from consumer.simulator import Simulator, SimulatorConfig

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
@click.option("--api-key", help="Take this key alone; otherwise any key passes.")
@click.option(
    "--admin-key", help="The ADMIN key; with it, the other one is refused where fal wants ADMIN."
)
@click.option("--scenarios", is_flag=True, help="List the scenarios and leave.")
def simulate(
    *,
    mixed: bool,
    scenarios: bool,
    rate_limit: int | None,
    rate_limit_hint: str,
    **chosen: Any,
) -> None:
    """
    Run a stand-in for fal.ai: queue, results, signed webhooks, and faults on demand.

    Standard output gets the settings that point a service at it, ready for a shell; then it
    runs until SIGTERM or Ctrl-C. It delivers webhooks to this machine only.
    """
    from consumer.simulator import (  # noqa: PLC0415
        MIXED_WEIGHTS,
        SCENARIOS,
        Hint,
        RateLimit,
        SimulatorConfig,
    )

    if scenarios:
        click.echo("\n".join(SCENARIOS))
        return
    if mixed and chosen["weights"]:
        raise click.UsageError("give --mixed or --weight, not both")
    if mixed:
        chosen["weights"] = MIXED_WEIGHTS
    elif not chosen["weights"]:
        del chosen["weights"]
    if rate_limit is not None:
        chosen["rate_limit"] = RateLimit(rate_limit, hint=Hint(rate_limit_hint))
    try:
        config = SimulatorConfig(**chosen)
    except ValueError as exc:
        raise click.UsageError(str(exc)) from exc
    run_loop(_simulate(config))


async def _simulate(config: "SimulatorConfig") -> None:
    from consumer.errors import ConfigError  # noqa: PLC0415
    from consumer.simulator import Simulator  # noqa: PLC0415

    stop = asyncio.Event()
    with stop_on_signals(stop):
        async with AsyncExitStack() as stack:
            try:
                simulator = await stack.enter_async_context(Simulator(config))
            except OSError as exc:
                problem = f"{config.host}:{config.port} cannot be had ({exc.strerror or exc})"
                raise ConfigError(
                    [f"--host, --port: {problem}; choose another, or port 0"]
                ) from exc
            click.echo(_environment(simulator))
            click.echo(f"simulator listens on {simulator.url}", err=True)
            click.echo(f"its books: {simulator.url}/_simulator/totals", err=True)
            await stop.wait()


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
    return "\n".join(f"export {name}={shlex.quote(value)}" for name, value in values.items())
