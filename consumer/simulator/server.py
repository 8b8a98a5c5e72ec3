"""
The simulator as one async context manager: builds the parts, listens, owns every task.

The only file of the package that knows all the others.
"""

import asyncio
import time
from collections.abc import Callable
from random import Random
from typing import Self

from aiohttp import web

from consumer.simulator.access import Access
from consumer.simulator.books import Attempt, Books
from consumer.simulator.catalog import Catalog
from consumer.simulator.config import SimulatorConfig
from consumer.simulator.control_api import ControlApi
from consumer.simulator.courier import Courier
from consumer.simulator.door import Door
from consumer.simulator.faults import Fault, FaultPlan, Operation
from consumer.simulator.files import FILES_PATH, serve_file
from consumer.simulator.jobqueue import JobQueue
from consumer.simulator.jwks_api import JWKS_PATH, JwksApi, JwksMode
from consumer.simulator.keys import KeyRing, SigningKey
from consumer.simulator.loose import LooseDelivery
from consumer.simulator.openapi import SCHEMA_PATH, serve_schema
from consumer.simulator.platform_api import PlatformApi
from consumer.simulator.queue_api import QueueApi
from consumer.simulator.standing import Api, LockReason, RateLimit, Standing
from consumer.simulator.tls import ThrowAwayTls, make_tls
from consumer.simulator.webhooks import WebhookSender, loopback_url

_MAX_INPUT_BYTES = 64 * 1024 * 1024  # fal documents no limit; this one keeps a mistake small
_CLOSE_WITHIN_S = 0.2  # real seconds that open streams get before they are cut


class Simulator:
    """
    A stand-in for fal.ai on one port: queue, key set, platform API, webhooks, controls.

    `async with Simulator(config) as sim:` listens inside the block. `now` gives unix
    seconds and dates everything, signatures too.
    """

    def __init__(self, config: SimulatorConfig, now: Callable[[], float] = time.time) -> None:
        self.config = config
        self.keys = KeyRing()
        self._now = now
        self._books = Books()
        self._faults = FaultPlan()
        self._access = Access(config.api_key, config.admin_key, config.is_admin)
        self._standing = Standing(time.monotonic, stream_cut_s=config.stream_cut_s)
        self.limit_rate(config.rate_limit)
        self._jwks = JwksApi(self.keys, self._books, now)
        # Its own choices, so that the timing of retries never shifts what a seed draws.
        self._sender = WebhookSender(config, self.keys, now, Random(f"{config.seed}:gaps"))
        self._queue = JobQueue(config, self._books, Courier(config, self._sender), now)
        self._url = ""
        self._tls: ThrowAwayTls | None = None

    async def __aenter__(self) -> Self:
        # A TaskGroup must be left by the task that entered it, and the caller's `async with`
        # may be split over two (pytest fixtures are), so one task of ours holds the group.
        ready = asyncio.Event()
        self._runner = web.AppRunner(
            self._application(),
            access_log=None,
            handle_signals=False,
            shutdown_timeout=_CLOSE_WITHIN_S,
        )
        self._home = asyncio.create_task(self._hold_tasks(ready))
        try:
            await ready.wait()
            await self._listen()
        except BaseException:
            await self._stop()
            raise
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._stop()

    @property
    def url(self) -> str:
        """The base URL of everything, `http://HOST:PORT`, without a trailing slash."""
        return self._url

    @property
    def tls_url(self) -> str:
        """The same over TLS, `https://localhost:PORT`; raises RuntimeError without `tls_port`."""
        if self._tls is None:
            raise RuntimeError("the simulator has no TLS listener: set tls_port")
        return f"https://localhost:{self._runner.addresses[1][1]}"

    @property
    def authority_pem(self) -> bytes:
        """The certificate to trust for `tls_url`; raises RuntimeError without `tls_port`."""
        if self._tls is None:
            raise RuntimeError("the simulator has no TLS listener: set tls_port")
        return self._tls.authority_pem

    @property
    def jwks_url(self) -> str:
        """Where the key set is served."""
        return self._url + JWKS_PATH

    @property
    def platform_url(self) -> str:
        """The base URL of the platform API."""
        return f"{self._url}/v1"

    def books(self) -> Books:
        """Return the books as they are kept; they go on changing while the simulator runs."""
        return self._books

    def pending(self) -> dict[str, int]:
        """Return how many requests are open and how many ended ones still have to deliver."""
        return {
            "open_requests": self._queue.open_requests,
            "pending_deliveries": self._queue.pending_deliveries,
        }

    async def wait_idle(self, timeout_s: float = 30.0) -> bool:
        """Return True once nothing is open or pending, False after the timeout (real seconds)."""
        return await self._queue.wait_idle(timeout_s)

    def rotate_key(self) -> SigningKey:
        """Sign with a new key (or the one published ahead); the old one leaves the set."""
        return self.keys.rotate()

    def publish_next_key(self) -> SigningKey:
        """Publish a new key that signs only after the next `rotate_key`."""
        return self.keys.publish_next()

    def set_jwks(self, mode: JwksMode, *, slow_s: float = 30.0) -> None:
        """Let the key set's endpoint answer like this from now on."""
        self._jwks.mode, self._jwks.slow_s = mode, slow_s

    def plan_faults(
        self, operation: Operation, fault: Fault, count: int = 1, *, retry_after_s: float = 1.0
    ) -> None:
        """Let the next `count` calls of this operation fail."""
        self._faults.add(operation, fault, count, retry_after_s)

    def clear_faults(self) -> None:
        """Forget all planned faults."""
        self._faults.clear()

    def limit_rate(self, limit: RateLimit | None, *apis: Api) -> None:
        """Let these hosts (both, where none is named) answer 429 past this limit; None lifts it."""
        for api in apis or tuple(Api):
            if limit is None:
                self._standing.limits.pop(api, None)
            else:
                self._standing.limits[api] = limit

    def lock(self, reason: LockReason = LockReason.EXHAUSTED_BALANCE) -> None:
        """Refuse every submit with 403 until `unlock`; reads and cancels go on working."""
        self._standing.lock = reason

    def unlock(self) -> None:
        """Lift the lock."""
        self._standing.lock = None

    def cut_streams(self, after_s: float | None) -> None:
        """Cut every status stream opened from now on after these real seconds; None stops it."""
        self._standing.stream_cut_s = after_s

    def exchange_keys(self, api_key: str | None, admin_key: str | None = None) -> None:
        """Take these keys from now on and no others; with `api_key` None, any key."""
        self._access.api_key, self._access.admin_key = api_key, admin_key

    def pause_webhooks(self) -> None:
        """Hold every attempt that has not begun."""
        self._sender.pause()

    def resume_webhooks(self) -> None:
        """Let held attempts go."""
        self._sender.resume()

    async def deliver(self, loose: LooseDelivery) -> Attempt:
        """
        Send one delivery made by hand, and note it in the books.

        Raises NotLoopbackError when its URL leads off this machine.
        """
        url = loopback_url(loose.url)
        delivery = loose.planned(self.keys, self.config.account, self._now())
        entry = self._books.requests.get(delivery.request_id)
        attempts = self._books.other_attempts if entry is None else entry.attempts
        noted: list[Attempt] = []
        headers = loose.adjusted(self._sender.sign(delivery))
        await self._sender.send(url, delivery, noted.append, first_headers=headers)
        attempts.extend(noted)
        return noted[0]

    async def _hold_tasks(self, ready: asyncio.Event) -> None:
        """Own every job and delivery until cancelled; a job that breaks ends them all."""
        async with self._sender, asyncio.TaskGroup() as tasks:
            self._queue.attach(tasks)
            ready.set()
            await asyncio.Event().wait()

    async def _listen(self) -> None:
        await self._runner.setup()
        await web.TCPSite(self._runner, self.config.host, self.config.port).start()
        if self.config.tls_port is not None:
            self._tls = make_tls(self.config.host)
            await web.TCPSite(
                self._runner,
                self.config.host,
                self.config.tls_port,
                ssl_context=self._tls.context,
            ).start()
        host, port = self._runner.addresses[0][:2]
        self._url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        if self.config.has_files:
            self._queue.files_url = self._url

    async def _stop(self) -> None:
        """Stop listening, then cancel what still lives; raises what broke in the background."""
        await self._runner.cleanup()
        self._home.cancel()
        await asyncio.wait({self._home})
        if not self._home.cancelled():
            self._home.result()

    def _application(self) -> web.Application:
        app = web.Application(client_max_size=_MAX_INPUT_BYTES)
        door = Door(self._access, self._standing, self._faults, self._books, self._now)
        app.on_response_prepare.append(door.note)
        catalog = Catalog(self.config.endpoints, self._queue.endpoints)
        platform = PlatformApi(self.config, self._queue, catalog, door, self._now)
        queue = QueueApi(self.config, self._queue, catalog, door)
        app.add_routes([web.get(JWKS_PATH, self._jwks.handle)])
        app.add_routes([web.get(SCHEMA_PATH, serve_schema)])
        if self.config.has_files:
            app.add_routes([web.get(FILES_PATH, serve_file)])
        app.add_routes(ControlApi(self).routes())
        app.add_routes(platform.routes())
        app.add_routes([web.route("*", "/{tail:.*}", queue.handle)])
        return app
