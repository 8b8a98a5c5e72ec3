"""
All of fal's API as one plain Python client: what `open_client` gives.

Needs no running service, and records nothing. Programs that want each job recorded and
followed to its end go through the commands of the service instead.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Literal

from yarl import URL

from consumer.fal.account import Account
from consumer.fal.answers import (
    BillingEvent,
    Cancellation,
    Estimate,
    EstimateKind,
    HeldKeySet,
    ListedRequest,
    Model,
    Prices,
    RequestResult,
    Status,
    Submission,
)
from consumer.fal.call import Host
from consumer.fal.caller import Caller, OnDrift
from consumer.fal.credentials import Credential, fixed_credential
from consumer.fal.keyset import KeySetReader
from consumer.fal.platform import Platform, RequestOutcome, Span
from consumer.fal.queue import FalQueueClient
from consumer.fal.stream import StatusStream
from consumer.fal.transport import BACKUP_ORIGINS, FalLimits, open_transport
from consumer.ports import SubmitOrder
from consumer.telemetry import Metrics


@dataclass(frozen=True, slots=True)
class FalAddresses:
    """
    fal's hosts: https, or http on loopback. Without `queue_backup_url` it is fal's own backup
    where `queue_url` is fal's own address, and none elsewhere.
    """

    queue_url: str = "https://queue.fal.run"
    api_url: str = "https://api.fal.ai/v1"
    jwks_url: str = "https://rest.fal.ai/.well-known/jwks.json"
    queue_backup_url: str | None = None

    @property
    def bases(self) -> Mapping[Host, Sequence[str]]:
        """Return every address by host, preferred first."""
        backup = self.queue_backup_url or BACKUP_ORIGINS.get(self.queue_url.rstrip("/"))
        return {
            Host.QUEUE: [self.queue_url, backup] if backup else [self.queue_url],
            Host.API: [self.api_url],
            Host.JWKS: [self.jwks_url],
        }


@dataclass(frozen=True, slots=True)
class FalParts:
    """What a client stands on besides its addresses; each has a fit default."""

    limits: FalLimits = field(default_factory=FalLimits)
    metrics: Metrics = field(default_factory=Metrics)
    on_drift: OnDrift | None = None


class FalClient:
    """
    All of fal's API. Made by `open_client`.

    Every method has a deadline of its own and raises, of our errors alone: FalUnavailable
    (try again, `retry_after_s` where fal named a time), FalRefused (a certain no; status 0
    where no call was made) and SchemaDrift (fal answered something this version does not
    know). `submit` raises none of them: its outcome says what happened.
    """

    def __init__(self, caller: Caller, addresses: FalAddresses) -> None:
        origin = str(URL(addresses.queue_url).origin())
        self.queue = FalQueueClient(caller, origin)
        self._caller = caller
        self._stream = StatusStream(caller)
        self._platform = Platform(caller)
        self._keys = KeySetReader(caller, addresses.jwks_url, lambda: datetime.now(UTC))

    def problems(self) -> tuple[str, ...]:
        """Return what only a human can mend: `locked`, `unauthorized`, `no_key`."""
        return self._caller.account.problems()

    # ------------------------------------------------------------ the queue

    async def submit(self, order: SubmitOrder) -> Submission:
        """
        Submit a job, once. Never repeated by itself: `unknown` means that a job may exist.

        Raises nothing for what fal or the network did.
        """
        return await self.queue.submission(order)

    async def status(self, endpoint: str, request_id: str, *, has_logs: bool = False) -> Status:
        """Return where a request stands, with its logs where `has_logs` is asked for."""
        return await self.queue.full_status(endpoint, request_id, has_logs=has_logs)

    async def stream_status(
        self, endpoint: str, request_id: str, *, has_logs: bool = False
    ) -> AsyncGenerator[Status, None]:
        """
        Yield each state of a request once, from now to its end: COMPLETED or NOT_FOUND.

        A cut connection is opened again. Logs are given line by line as they come: each
        status carries those not given before. Leave it early with `contextlib.aclosing`.
        """
        async for status in self._stream.follow(endpoint, request_id, has_logs=has_logs):
            self._caller.tell(status.drifts)
            yield status

    async def result(self, endpoint: str, request_id: str) -> RequestResult:
        """
        Return the result of a request: succeeded, model failed, infrastructure failed, not
        ready or expired. A request that fal never had is FalRefused 404 `unknown_request`.
        """
        return await self.queue.outcome(endpoint, request_id)

    async def cancel(self, endpoint: str, request_id: str) -> Cancellation:
        """
        Ask fal to stop a request. Only the outcome `OK` means that it is cancelled; after any
        other, ask for its status.
        """
        return await self.queue.cancellation(endpoint, request_id)

    # ------------------------------------------------------------ the platform

    def models(  # noqa: PLR0913  the catalogue has as many filters
        self,
        endpoints: Sequence[str] = (),
        *,
        text: str | None = None,
        category: str | None = None,
        status: Literal["active", "deprecated"] | None = None,
        has_openapi: bool = False,
        page_size: int | None = None,
    ) -> AsyncGenerator[Model, None]:
        """
        Yield the models that match: by ids, or text, category and status. Pages are asked for
        as they are needed. With `has_openapi` each carries its OpenAPI document.
        """
        return self._platform.models(
            endpoints,
            text=text,
            category=category,
            status=status,
            has_openapi=has_openapi,
            page_size=page_size,
        )

    async def pricing(self, endpoints: Sequence[str]) -> Prices:
        """Return this account's prices for any number of endpoints, and which are unknown."""
        return await self._platform.pricing(endpoints)

    async def estimate(
        self, kind: EstimateKind, quantities: Mapping[str, int | Decimal]
    ) -> Estimate:
        """
        Return what these calls (`historical_api_price`) or units (`unit_price`) would cost.
        """
        return await self._platform.estimate(kind, quantities)

    def requests_by_endpoint(  # noqa: PLR0913  the listing has as many filters
        self,
        endpoints: Sequence[str],
        *,
        span: Span = Span(),  # noqa: B008  frozen
        outcome: RequestOutcome | None = None,
        request_id: str | None = None,
        has_payloads: bool = False,
        page_size: int | None = None,
    ) -> AsyncGenerator[ListedRequest, None]:
        """Yield the account's own requests of these endpoints, the latest ends first."""
        return self._platform.requests_by_endpoint(
            endpoints,
            span=span,
            outcome=outcome,
            request_id=request_id,
            has_payloads=has_payloads,
            page_size=page_size,
        )

    def billing_events(
        self,
        *,
        span: Span = Span(),  # noqa: B008  frozen
        endpoints: Sequence[str] = (),
        request_ids: Sequence[str] = (),
    ) -> AsyncGenerator[BillingEvent, None]:
        """Yield what each request cost. Needs an ADMIN key: any other is FalRefused 403."""
        return self._platform.billing_events(
            span=span, endpoints=endpoints, request_ids=request_ids
        )

    async def webhook_ip_ranges(self) -> list[str]:
        """Return the networks that fal's webhooks come from, as CIDR texts."""
        return await self._platform.webhook_ip_ranges()

    async def key_set(self, *, is_fresh: bool = False) -> HeldKeySet:
        """Return fal's public keys for webhooks, with their age and when they are read anew."""
        return await self._keys.read(is_fresh=is_fresh)


@asynccontextmanager
async def open_client(
    credential: Credential | str | None,
    addresses: FalAddresses | None = None,
    parts: FalParts | None = None,
) -> AsyncIterator[FalClient]:
    """
    Open fal's API with a key `<key_id>:<key_secret>`, or a credential that is read again.

    With None only what is public can be asked. Closes its connections on leaving.
    Raises InvariantBroken for an address that is neither https nor http on loopback.
    """
    addresses, parts = addresses or FalAddresses(), parts or FalParts()
    if credential is None:
        credential = Credential(lambda: None)
    elif isinstance(credential, str):
        credential = fixed_credential(credential)
    limits, metrics = parts.limits, parts.metrics
    async with open_transport(addresses.bases, credential, limits, metrics) as transport:
        account = Account(credential, limits)
        yield FalClient(Caller(transport, account, limits, metrics, parts.on_drift), addresses)


@asynccontextmanager
async def open_fal(
    queue_url: str,
    credential: Credential,
    *,
    metrics: Metrics,
    limits: FalLimits | None = None,
    backup_url: str | None = None,
) -> AsyncIterator[FalQueueClient]:
    """
    Open fal's queue alone, as handlers and sweeps use it. Raises as `open_client` does.
    """
    addresses = FalAddresses(queue_url=queue_url, queue_backup_url=backup_url)
    parts = FalParts(limits or FalLimits(), metrics)
    async with open_client(credential, addresses, parts) as client:
        yield client.queue
