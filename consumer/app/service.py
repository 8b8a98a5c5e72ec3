"""
One process of the service: everything opened in order, and what runs until the stop event.

Which parts there are is the role's: `serve` has all of them, `receive` and `work` a half
each. Also what an operator is told at the start.
"""

import asyncio
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from consumer.app.backends import Backends, WorkBackends, open_backends
from consumer.app.edges import open_console, open_receiver
from consumer.app.ledgers import ledger_name
from consumer.app.opening import Opening
from consumer.app.values import utc_now
from consumer.app.work import PARTS, Work, join
from consumer.errors import ConfigError
from consumer.folder import DataFolder
from consumer.jwks import KeyTimes
from consumer.ports import Clock
from consumer.readiness import Readiness
from consumer.settings import Role, Settings, mistakes_for
from consumer.sweeps import run_sweep
from consumer.telemetry import get_logger

_log = get_logger()


@dataclass(frozen=True)
class Service:
    """Everything of one process, open. `run` lets it work until the stop event."""

    receiver_url: str | None
    console_url: str | None
    warnings: Sequence[str]
    readiness: Readiness
    backends: Backends
    work: Work
    receiver: AsyncExitStack

    async def run(self, stop: asyncio.Event) -> None:
        """
        Work until `stop`: then stop accepting, finish what is in hand, commit, and return.

        An error that nobody below knows ends everything and is raised.
        """
        halt = asyncio.Event()
        try:
            async with asyncio.TaskGroup() as tasks:
                for worker in self.work.workers:
                    tasks.create_task(worker.run(halt), name=worker.handler.name)
                for sweep in self.work.sweeps:
                    running = run_sweep(
                        sweep.name, sweep.round, halt, every=sweep.every, batch=sweep.batch
                    )
                    tasks.create_task(running, name=sweep.name)
                for name, keep_up in self.backends.events.upkeep.items():
                    tasks.create_task(keep_up(halt), name=name)
                _log.info("service.started", receiver=self.receiver_url)
                await stop.wait()
                await self.receiver.aclose()
                halt.set()
        finally:
            halt.set()
        _log.info("service.stopped")


@asynccontextmanager
async def open_service(
    settings: Settings,
    role: Role = Role.SERVE,
    *,
    parts: Collection[str] = PARTS,
    clock: Clock = utc_now,
    key_times: KeyTimes | None = None,
) -> AsyncIterator[Service]:
    """
    Open everything that a role is made of, on one data folder.

    `parts` are the handlers that run here, and `sweeps`. `clock` and `key_times` are for
    tests that let hours pass in seconds.

    Raises ConfigError for what an operator must mend: settings, a folder in use, an address
    that cannot be had, files written by a newer version.
    """
    mistakes = mistakes_for(role, settings)
    if mistakes:
        raise ConfigError(mistakes)
    folder = DataFolder(settings.data_dir)
    async with AsyncExitStack() as stack:
        stack.enter_context(folder.held(is_shared=role is not Role.SERVE))
        opening = Opening(settings, folder, role, clock, key_times, stack)
        backends = await open_backends(opening)
        work = await _work(settings, backends, parts)
        readiness = _readiness(backends, work)
        await stack.enter_async_context(readiness.kept_fresh())
        console_url = await open_console(opening, backends, readiness)
        # Last in, first out: nothing is accepted that nobody could handle.
        receiver = await stack.enter_async_context(AsyncExitStack())
        receiver_url = None
        if role is not Role.WORK:
            receiver_url = await open_receiver(settings, backends, readiness, receiver)
        warnings = _warnings(settings, backends)
        yield Service(receiver_url, console_url, warnings, readiness, backends, work, receiver)


async def _work(settings: Settings, backends: Backends, parts: Collection[str]) -> Work:
    if not isinstance(backends, WorkBackends):
        return Work((), (), ())
    if backends.accounts:
        recounted = await backends.ledger.recount(sorted(backends.accounts))
        _log.info("ledger.recounted", requests=recounted)
    return join(settings, backends, parts)


def _readiness(backends: Backends, work: Work) -> Readiness:
    events = backends.events
    ledger = {"ledger": backends.ledger} if isinstance(backends, WorkBackends) else {}
    return Readiness(
        needed=events.needed,
        wanted={**events.wanted, **ledger},
        problems=[backends.keys.problems, *events.problems],
        notes=[backends.keys.describes, *events.notes, *work.notes],
    )


def _warnings(settings: Settings, backends: Backends) -> list[str]:
    """Return what an operator should know at the start, one sentence each."""
    said = []
    if not backends.accounts:
        said.append(
            "no account is configured: deliveries are kept, but nothing follows from them; "
            "set FAL_CONSUMER_ACCOUNTS to your fal user id"
        )
    if isinstance(backends, WorkBackends):
        said += _work_warnings(settings, backends)
    if not backends.has_official_keys:
        said.append(f"keys come from {settings.jwks_url}, which is not fal's address")
    return said


def _work_warnings(settings: Settings, backends: WorkBackends) -> list[str]:
    said = []
    if backends.has_lost_ledger:
        said.append(
            "the ledger was not there and is empty now: it knows nothing of requests that were "
            "recorded before, whose records are in the log until they are trimmed; to have them "
            f"back, stop and put your copy of {ledger_name(settings)} in its place"
        )
    if backends.fal is None:
        said.append("no FAL_KEY: submit, track and cancel are refused, and no result is fetched")
    if settings.public_url is None:
        said.append(
            "no FAL_CONSUMER_PUBLIC_URL: jobs are submitted without a webhook, "
            "and followed by asking fal"
        )
    return said
