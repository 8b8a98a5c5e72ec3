"""A whole service against a simulator in this process: here as well, or as a cluster."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import aiohttp
from pydantic import SecretStr

from consumer.app import open_service, utc_now
from consumer.core.command import command_event
from consumer.core.event import Topic, encode
from consumer.core.standing import Request
from consumer.jwks import KeyTimes
from consumer.ports import Ledger, Log, Record
from consumer.settings import Address, Settings
from consumer.simulator import SigningKey, Simulator, SimulatorConfig
from consumer.testing.rig import free_port

_T = TypeVar("_T")
ACCOUNT = SimulatorConfig(seed=0).account
PATIENCE_S = 30.0


@dataclass
class Stage:
    """A running service and its simulator. `log` and `ledger` are those that it works on."""

    simulator: Simulator
    settings: Settings
    receiver_url: str
    log: Log
    ledger: Ledger
    console_url: str = ""

    async def command(self, **fields: Any) -> None:
        """Put a command on the log, as another service would."""
        event = command_event(fields, source="test", at=utc_now())
        await self.log.append(encode(event))

    async def submit(self, command_id: str, **model_input: Any) -> None:
        """Ask for a job; `simulate` in the input names its scenario."""
        await self.command(
            command="submit",
            command_id=command_id,
            endpoint="fal-ai/flux/dev",
            input={"prompt": "a red apple", **model_input},
        )

    async def records(self, *topics: Topic) -> list[Record]:
        """Return what stands in the log now."""
        return [record async for record in self.log.read(topics)]

    async def request(self, request_id: str) -> Request | None:
        """Return what the ledger says."""
        return await self.ledger.request(request_id)

    async def ended(self, request_id: str) -> Request:
        """Wait for the result of a request."""

        async def look() -> Request | None:
            request = await self.request(request_id)
            return request if request and request.result and not request.is_open else None

        return await until(look)

    async def only_request(self) -> str:
        """Wait for the simulator's only request and return its id."""

        async def look() -> str | None:
            return next(iter(self.simulator.books().requests), None)

        return await until(look)

    async def running_request(self) -> str:
        """Wait until the simulator's only request has left the queue and return its id."""

        async def look() -> str | None:
            for entry in self.simulator.books().requests.values():
                if any(change.status == "IN_PROGRESS" for change in entry.changes):
                    return entry.request_id
            return None

        return await until(look)


async def until(look: Callable[[], Awaitable[_T | None]]) -> _T:
    """Return what `look` finds, asked again and again within one generous time."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            found = await look()
            if found:
                return found
            await asyncio.sleep(0.02)


@asynccontextmanager
async def open_stage(
    folder: Path,
    *,
    simulator: dict[str, Any] | None = None,
    clock: Callable[[], datetime] = utc_now,
    key_times: KeyTimes | None = None,
    **changes: Any,
) -> AsyncIterator[Stage]:
    """Open a stage; `simulator` goes to its configuration, all else to the settings."""
    config = SimulatorConfig(**{"seed": 1, "time_scale": 0.02, **(simulator or {})})
    async with Simulator(config, now=lambda: clock().timestamp()) as sim:
        settings = Settings(**choices(sim, free_port(), folder / "data", changes))
        async with open_service(settings, clock=clock, key_times=key_times) as service:
            stop = asyncio.Event()
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(service.run(stop))
                try:
                    yield Stage(
                        sim,
                        settings,
                        service.receiver_url,
                        service.backends.log,
                        service.backends.ledger,
                        service.console_url or "",
                    )
                finally:
                    stop.set()


def choices(sim: Simulator, port: int, folder: Path, changes: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of a service on a simulator, with a test's own among them."""
    return {
        "fal_key": SecretStr("test:key"),
        "listen": Address("127.0.0.1", port),
        "console_listen": Address("127.0.0.1", 0),
        "public_url": f"http://127.0.0.1:{port}",
        "accounts": (ACCOUNT,),
        "data_dir": folder,
        "jwks_url": sim.jwks_url,
        "queue_url": sim.url,
        "api_url": sim.platform_url,
        "first_check_s": 0.5,
        "log_reserve_bytes": 0,
        **changes,
    }


async def post(stage: Stage, request_id: str, body: bytes, *, key: SigningKey | None = None) -> int:
    """Deliver a body as fal would, signed with the simulator's key, and return the status."""
    signer = key or stage.simulator.keys.signing
    headers = signer.sign_headers(request_id, ACCOUNT, int(time.time()), body)
    url = f"{stage.receiver_url}/webhooks/fal"
    async with (
        aiohttp.ClientSession() as session,
        session.post(url, data=body, headers=headers) as answer,
    ):
        return answer.status
