"""`demo`: the whole service at work against a stand-in for fal, and whether the numbers add up."""

import asyncio
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from consumer.app.demo import Demo, open_demo
from consumer.app.tally import ENDS, WAYS, Tally
from consumer.cli.setup import Explained, run_loop, stop_on_signals
from consumer.telemetry import configure_logs

_DEADLINE_S = 120.0


@click.command(cls=Explained, example="fal-consumer demo --requests 500")
@click.option("--requests", "total", default=300, show_default=True, help="How many jobs to play.")
@click.option("--seed", default=20261123, show_default=True, help="Which traffic to draw.")
@click.option(
    "--cluster",
    is_flag=True,
    help="On real Kafka and PostgreSQL, each part a process; some are killed on the way.",
)
@click.option("--keep", is_flag=True, help="Stay up afterwards and print the addresses.")
@click.pass_context
def demo(ctx: click.Context, total: int, seed: int, cluster: bool, keep: bool) -> None:
    """
    See the service work: no key, no network, nothing to configure.

    A stand-in for fal plays a few hundred jobs with everything that goes wrong in practice:
    webhooks lost, late, doubled and forged, other people's deliveries, jobs stuck in the
    queue, submits cut before their answer. Exit 0 when every number adds up, 1 when not.
    """
    if total < 1:
        raise click.BadParameter("at least 1", param_hint="--requests")
    adds_up = run_loop(_demo(total, seed, is_cluster=cluster, keep=keep), fast=True)
    ctx.exit(0 if adds_up else 1)


async def _demo(total: int, seed: int, *, is_cluster: bool, keep: bool) -> bool:
    screen = Console(stderr=True, highlight=False)
    with _folder(keep=keep) as folder, (folder / "service.log").open("w") as log:
        configure_logs(level="info", format="json", stream=log)
        if is_cluster:
            screen.print("starting Kafka, PostgreSQL, a receiver and two workers")
        async with _opened(
            folder / "data", total, seed, _teller(screen) if is_cluster else None
        ) as playing:
            screen.print(f"simulator of fal  {playing.simulator.url}")
            screen.print(f"receiver          {playing.receiver_url}")
            if is_cluster:
                screen.print(f"Kafka             {playing.settings.log_url}")
                screen.print(f"PostgreSQL        {_ledger_url(playing)}", soft_wrap=True)
            screen.print(f"data folder       {folder / 'data'}\n")
            in_time = await _play(playing, screen)
            counted = await playing.tally()
            _draw(counted, Console(highlight=False))
            if not in_time:
                screen.print(f"not finished after {_DEADLINE_S:g} s")
            if keep:
                await _stay(playing, folder, screen)
        return in_time and not counted.mistakes


def _teller(screen: Console) -> Callable[[str], None]:
    began = time.monotonic()
    return lambda line: screen.print(f"{time.monotonic() - began:5.1f} s  {line}")


def _opened(
    folder: Path, total: int, seed: int, tell: Callable[[str], None] | None
) -> AbstractAsyncContextManager[Demo]:
    if tell is None:
        return open_demo(folder, total=total, seed=seed)
    from consumer.app.demo_cluster import open_cluster_demo  # noqa: PLC0415  needs the extra `dev`

    return open_cluster_demo(folder, total=total, seed=seed, tell=tell)


@contextmanager
def _folder(*, keep: bool) -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="fal-consumer-demo-"))
    try:
        yield folder
    finally:
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)


async def _play(playing: Demo, screen: Console) -> bool:
    """Play the traffic with live progress; False when it took longer than it may."""
    columns = (
        TextColumn("{task.description:<18}"),
        BarColumn(bar_width=40),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=screen) as shown:
        submitted = shown.add_task("jobs asked for", total=playing.total)
        known = shown.add_task("known to fal", total=playing.total)
        ended = shown.add_task("results published", total=playing.total)
        try:
            async with asyncio.timeout(_DEADLINE_S):
                async for progress in playing.play():
                    shown.update(submitted, completed=progress.submitted)
                    shown.update(known, completed=progress.known)
                    shown.update(ended, completed=progress.ended)
        except TimeoutError:
            return False
    return True


def _draw(counted: Tally, screen: Console) -> None:
    screen.print(_requests_table(counted))
    screen.print(_deliveries_table(counted))
    screen.print(f"jobs asked for: {counted.sent}   taken by fal: {sum(counted.booked.values())}")
    screen.print(f"billable units: {counted.units} in results, {counted.booked_units} at fal\n")
    for mistake in counted.mistakes:
        screen.print(f"does not add up: {mistake}", markup=False)
    if not counted.mistakes:
        screen.print("Everything adds up: each request has one end, and it is fal's own.")


def _requests_table(counted: Tally) -> Table:
    table = Table(title="Requests, by end and by how the end was learned", title_justify="left")
    table.add_column("end")
    for way in (*WAYS, "total", "fal's books"):
        table.add_column(way, justify="right")
    for end in ENDS:
        numbers = [counted.ends.get((end, way), 0) for way in WAYS]
        table.add_row(end, *map(_cell, [*numbers, sum(numbers), counted.booked.get(end, 0)]))
    table.add_section()
    sums = [sum(counted.ends.get((end, way), 0) for end in ENDS) for way in WAYS]
    booked = sum(counted.booked.values())
    table.add_row("sum", *map(str, [*sums, sum(sums), booked]))
    return table


def _deliveries_table(counted: Tally) -> Table:
    verdicts = sorted({verdict for _, verdict in counted.deliveries})
    table = Table(title="Deliveries, by what they were and what was answered", title_justify="left")
    table.add_column("delivery")
    for name in (*verdicts, "total"):
        table.add_column(name, justify="right")
    kinds = sorted({kind for kind, _ in counted.deliveries})
    for kind in kinds:
        numbers = [counted.deliveries.get((kind, verdict), 0) for verdict in verdicts]
        table.add_row(kind, *map(_cell, [*numbers, sum(numbers)]))
    table.add_section()
    sums = [sum(counted.deliveries.get((kind, v), 0) for kind in kinds) for v in verdicts]
    table.add_row("sum", *map(str, [*sums, sum(sums)]))
    return table


def _cell(number: int) -> str:
    return str(number) if number else "·"


async def _stay(playing: Demo, folder: Path, screen: Console) -> None:
    screen.print("\nstill running; Ctrl-C ends it\n")
    screen.print(f"receiver   {playing.receiver_url}")
    screen.print(f"console    {playing.console_url}")
    screen.print(f"simulator  {playing.simulator.url}")
    screen.print("\nlook around in another terminal:\n")
    for line in _exports(playing, folder):
        screen.print(f"  export {line}", soft_wrap=True)
    screen.print("  .venv/bin/fal-consumer requests --limit 20")
    screen.print("  .venv/bin/fal-consumer timeline ID")
    stop = asyncio.Event()
    with stop_on_signals(stop):
        await stop.wait()


def _exports(playing: Demo, folder: Path) -> list[str]:
    """Return the settings by which another command finds this demo."""
    if playing.settings.is_sqlite:
        return [f"FAL_CONSUMER_DATA_DIR={folder / 'data'}"]
    log_url = f"FAL_CONSUMER_LOG_URL={playing.settings.log_url}"
    return [log_url, f"FAL_CONSUMER_LEDGER_URL='{_ledger_url(playing)}'"]


def _ledger_url(playing: Demo) -> str:
    return playing.settings.ledger_url.get_secret_value()  # the demo's own: it has no password
