"""What stores and what calls: the log, the ledger, the keys, fal. Opened in this order."""

from contextlib import AsyncExitStack
from dataclasses import dataclass, field

from yarl import URL

from consumer.app.credentials import fal_credential
from consumer.app.ledgers import has_recorded, open_own_ledger
from consumer.app.logs import OpenLog, open_log_of
from consumer.app.opening import Opening
from consumer.app.values import policies_of, token_secrets
from consumer.core.event import encode
from consumer.core.key_proof import key_set_event
from consumer.core.keys import KeySet
from consumer.core.policy import Policies
from consumer.fal import FalAddresses, FalClient, FalParts, FalQueueClient, open_client
from consumer.fal.listing import FalListingClient
from consumer.fal.transport import FalLimits
from consumer.folder import DataFolder
from consumer.jwks import JwksKeys, KeyParts, KeySource
from consumer.ledger import Ledger
from consumer.ports import Clock, FalListing, Log, Publisher
from consumer.settings import Role, Settings
from consumer.sweeps.usual import Learned
from consumer.telemetry import Metrics, get_logger

OFFICIAL_JWKS = "https://rest.fal.ai/.well-known/jwks.json"
_OLD_JWKS = "https://rest.alpha.fal.ai/.well-known/jwks.json"
# Source: fal docs, "Webhooks" (2026-09), and the address in the docs before that.


@dataclass(frozen=True, slots=True)
class Backends:
    """What every role stands on, open, and the values that all the rest shares."""

    clock: Clock
    metrics: Metrics
    accounts: frozenset[str]
    secrets: tuple[bytes, ...]
    source: str
    events: OpenLog
    keys: JwksKeys
    has_official_keys: bool

    @property
    def log(self) -> Log:
        """The log itself; what is appended here has no waiting room."""
        return self.events.log

    @property
    def publisher(self) -> Publisher:
        """Where a receiver publishes: with its waiting room, where there is one."""
        return self.events.publisher


@dataclass(frozen=True, slots=True)
class WorkBackends(Backends):
    """What handlers and sweeps stand on besides."""

    policies: Policies = field(kw_only=True)
    ledger: Ledger = field(kw_only=True)
    learned: Learned = field(kw_only=True)
    fal: FalQueueClient | None = field(kw_only=True)
    listing: FalListing | None = field(kw_only=True)
    has_lost_ledger: bool = field(kw_only=True)
    """The ledger was made anew beside a log whose records an earlier one had taken in."""


async def open_backends(opening: Opening) -> Backends:
    """
    Open what the role needs on the folder, which the caller holds.

    Raises ConfigError and Unavailable.
    """
    settings, stack = opening.settings, opening.stack
    metrics = Metrics()
    secrets = token_secrets(settings, opening.folder)
    source = str(URL(settings.jwks_url).origin())
    events = await open_log_of(opening, metrics)
    learned, followed = Learned(), None
    if opening.role is not Role.RECEIVE:
        followed = await open_own_ledger(opening, learned)

    async def announce(key_set: KeySet) -> None:
        await events.publisher.append(
            encode(key_set_event(key_set, source=source, secrets=secrets))
        )

    parts = KeyParts(opening.clock, metrics, get_logger(), on_new_set=announce)
    keys = await stack.enter_async_context(
        JwksKeys(key_source(settings, opening.folder), parts, opening.key_times)
    )
    metrics.key_age_seconds.set_function(keys.age_s)
    shared = (
        opening.clock,
        metrics,
        frozenset(settings.accounts),
        secrets,
        source,
        events,
        keys,
        settings.jwks_url == OFFICIAL_JWKS,
    )
    if followed is None:
        return Backends(*shared)
    ledger, is_new = followed
    client = await _maybe_fal(settings, metrics, stack)
    return WorkBackends(
        *shared,
        policies=policies_of(settings),
        ledger=ledger,
        learned=learned,
        fal=client.queue if client else None,
        listing=FalListingClient(client) if client else None,
        has_lost_ledger=is_new and await has_recorded(events.log),
    )


async def _maybe_fal(
    settings: Settings, metrics: Metrics, stack: AsyncExitStack
) -> FalClient | None:
    credential = fal_credential(settings)
    if credential is None:
        return None
    limits = FalLimits(submit_s=settings.submit_timeout_s)
    addresses = FalAddresses(settings.queue_url, settings.api_url, settings.jwks_url)
    return await stack.enter_async_context(
        open_client(credential, addresses, FalParts(limits, metrics))
    )


def key_source(settings: Settings, folder: DataFolder) -> KeySource:
    """Return where fal's keys come from, and where the last good set rests."""
    is_official = settings.jwks_url == OFFICIAL_JWKS
    return KeySource(
        settings.jwks_url,
        is_official=is_official,
        fallback_url=_OLD_JWKS if is_official else None,
        cache_path=folder.keys,
    )
