"""
The demo: simulator and service in one process, traffic with faults, and an honest count.

What it runs is the service itself, opened like any other; only its settings are short.
"""

import asyncio
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from consumer.app.backends import WorkBackends
from consumer.app.service import open_service
from consumer.app.tally import Tally, tally
from consumer.app.values import utc_now
from consumer.core.command import command_event
from consumer.core.event import encode
from consumer.core.standing import Request, State
from consumer.errors import LogUnavailable
from consumer.ports import Ledger, Log, RequestFilter
from consumer.settings import Address, Settings
from consumer.simulator import Simulator, SimulatorConfig

ENDPOINTS = ("fal-ai/flux/dev", "fal-ai/flux-2", "fal-ai/kling-video/v2/master")
_PAUSE_S = 0.1
_PAGE = 1000

WEIGHTS = {
    "plain": 50,
    "duplicate": 6,
    "late": 4,
    "lost": 8,
    "reordered": 4,
    "early": 2,
    "payload_null": 3,
    "error_422": 4,
    "error_invalid_wording": 1,
    "error_null_payload": 1,
    "error_infrastructure": 2,
    "stuck": 4,
    "slow_run": 2,
    "regress": 2,
    "huge_seed": 1,
    "nul_prompt": 1,
    "surrogate_prompt": 1,
    "deep_nesting": 1,
    "unreadable": 1,
    "other_id": 1,
    "forged_key": 1,
    "forged_body": 1,
    "forged_old_timestamp": 1,
    "foreign_account": 1,
    "unknown_submit": 2,
}
"""What the demo's traffic is made of; `submit_500` is left out, for then no request exists."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the demo has come."""

    submitted: int
    known: int
    ended: int
    total: int


@dataclass(frozen=True)
class Demo:
    """An open demo: `play` sends the traffic, `tally` counts. `ledger` is the service's own."""

    simulator: Simulator
    receiver_url: str
    console_url: str | None
    log: Log
    ledger: Ledger
    settings: Settings
    total: int
    at_once: int = 20

    async def play(self) -> AsyncIterator[Progress]:
        """
        Send the traffic and follow it, giving the progress, until every request has its result.
        """
        sent = 0
        while True:
            for number in range(sent, min(sent + self.at_once, self.total)):
                await self._submit(number)
                sent = number + 1
            requests = await self.requests()
            ended = sum(request.result is not None for request in requests)
            yield Progress(sent, len(requests), ended, self.total)
            if sent == self.total and await self._is_over(requests):
                return
            await asyncio.sleep(_PAUSE_S)

    async def requests(self) -> Sequence[Request]:
        """Return every request in the ledger."""
        found: list[Request] = []
        while True:
            before = found[-1].request_id if found else ""
            page = await self.ledger.requests(RequestFilter(limit=_PAGE, before=before))
            found.extend(page)
            if len(page) < _PAGE:
                return found

    async def tally(self) -> Tally:
        """Return the ledger held against the simulator's books."""
        return tally(self.total, await self.requests(), self.simulator.books())

    async def _submit(self, number: int) -> None:
        fields = {
            "command": "submit",
            "command_id": f"demo-{number:05d}",
            "endpoint": ENDPOINTS[number % len(ENDPOINTS)],
            "input": {"prompt": f"a red apple on a white table, number {number}"},
            "tags": {"batch": f"b{number // 100}"},
        }
        record = encode(command_event(fields, source="fal-consumer/demo", at=utc_now()))
        while True:
            try:
                await self.log.append(record)
            except LogUnavailable:  # once more: its id is the same, so it is still one command
                await asyncio.sleep(_PAUSE_S)
            else:
                return

    async def _is_over(self, requests: Sequence[Request]) -> bool:
        books = self.simulator.books()
        are_ended = all(request.state is not State.SEEN for request in requests)
        has_results = all(
            request.result is not None and not request.is_open for request in requests
        )
        is_complete = len(requests) >= max(self.total, len(books.requests))
        return is_complete and are_ended and has_results and await self.simulator.wait_idle(0.5)


@asynccontextmanager
async def open_demo(folder: Path, *, total: int, seed: int) -> AsyncIterator[Demo]:
    """Open a simulator and a service that knows nothing but its address, on free ports."""
    async with Simulator(traffic(seed)) as simulator:
        settings = settings_for(simulator, folder)
        async with open_service(settings) as service:
            backends = service.backends
            assert isinstance(backends, WorkBackends)  # a `serve` has them
            stop = asyncio.Event()
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(service.run(stop))
                try:
                    yield Demo(
                        simulator,
                        settings.public_url or "",
                        service.console_url,
                        backends.log,
                        backends.ledger,
                        settings,
                        total,
                    )
                finally:
                    stop.set()


def traffic(seed: int) -> SimulatorConfig:
    """Return what the simulator plays."""
    return SimulatorConfig(
        seed=seed, time_scale=0.05, late_s=100.0, weights=WEIGHTS, queue_s=(0.5, 6.0)
    )


def settings_for(simulator: Simulator, folder: Path) -> Settings:
    """Return settings that point a service at a simulator, its spans short."""
    return Settings(**chosen_for(simulator, folder, free_port()))


def chosen_for(simulator: Simulator, folder: Path, port: int) -> dict[str, Any]:
    """Return the same by name, for a receiver on that port."""
    return {
        "fal_key": SecretStr("demo-key:demo-secret"),
        "listen": Address("127.0.0.1", port),
        "console_listen": Address("127.0.0.1", 0),
        "public_url": f"http://127.0.0.1:{port}",
        "accounts": (SimulatorConfig(seed=0).account,),
        "data_dir": folder,
        "jwks_url": simulator.jwks_url,
        "queue_url": simulator.url,
        "api_url": simulator.platform_url,
        "cancel_queued_after": timedelta(seconds=3),
        "first_check_s": 2.0,
        "log_reserve_bytes": 0,
    }


def free_port() -> int:
    """Return a port that was free a moment ago: the callback URL must name it beforehand."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
