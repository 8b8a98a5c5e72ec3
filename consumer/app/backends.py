"""What stores and what calls: the log, the ledger, the keys, fal. Opened in this order."""

from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial

from yarl import URL

from consumer.app.values import log_limits, plan_of, policies_of, token_secrets
from consumer.core.event import encode
from consumer.core.key_proof import key_set_event
from consumer.core.keys import KeySet
from consumer.core.policy import Policies
from consumer.errors import LedgerUnavailable
from consumer.fal.credentials import Credential, file_credential, fixed_credential
from consumer.fal.queue import FalQueueClient, open_fal
from consumer.fal.transport import FalLimits
from consumer.folder import DataFolder
from consumer.handlers.record import RecordEvents
from consumer.jwks import JwksKeys, KeyParts, KeySource, KeyTimes
from consumer.ledger import Ledger
from consumer.ledger.migration import migrate
from consumer.log.embedded import EmbeddedLog
from consumer.ports import Clock
from consumer.settings import Settings
from consumer.telemetry import Metrics, get_logger

OFFICIAL_JWKS = "https://rest.fal.ai/.well-known/jwks.json"
_OLD_JWKS = "https://rest.alpha.fal.ai/.well-known/jwks.json"
# Source: fal docs, "Webhooks" (2026-09), and the address in the docs before that.
_DAMAGED = frozenset({"SQLITE_CORRUPT", "SQLITE_NOTADB"})


@dataclass(frozen=True, slots=True)
class Backends:
    """The backends, open, and the values that all the rest shares."""

    clock: Clock
    policies: Policies
    metrics: Metrics
    accounts: frozenset[str]
    secrets: tuple[bytes, ...]
    source: str
    log: EmbeddedLog
    ledger: Ledger
    keys: JwksKeys
    fal: FalQueueClient | None
    has_official_keys: bool
    has_lost_ledger: bool
    """The ledger was made anew beside a log whose records an earlier one had taken in."""


async def open_backends(
    settings: Settings,
    folder: DataFolder,
    time: tuple[Clock, KeyTimes | None],
    stack: AsyncExitStack,
) -> Backends:
    """Open everything on the folder, which the caller holds. Raises ConfigError and Unavailable."""
    clock, key_times = time
    metrics = Metrics()
    secrets = token_secrets(settings, folder)
    source = str(URL(settings.jwks_url).origin())
    log = await stack.enter_async_context(
        EmbeddedLog.open(folder.log, clock=clock, limits=log_limits(settings))
    )
    policies = policies_of(settings)
    ledger, is_new = await _opened_ledger(folder, policies, clock, stack)

    async def announce(key_set: KeySet) -> None:
        await log.append(encode(key_set_event(key_set, source=source, secrets=secrets)))

    parts = KeyParts(clock, metrics, get_logger(), on_new_set=announce)
    keys = await stack.enter_async_context(
        JwksKeys(_key_source(settings, folder), parts, key_times)
    )
    metrics.key_age_seconds.set_function(keys.age_s)
    return Backends(
        clock,
        policies,
        metrics,
        frozenset(settings.accounts),
        secrets,
        source,
        log,
        ledger,
        keys,
        await _maybe_fal(settings, metrics, stack),
        settings.jwks_url == OFFICIAL_JWKS,
        is_new and bool(await log.committed(RecordEvents.name)),
    )


async def _opened_ledger(
    folder: DataFolder, policies: Policies, clock: Clock, stack: AsyncExitStack
) -> tuple[Ledger, bool]:
    """Return the folder's ledger, and whether it was made just now. Raises LedgerUnavailable."""
    try:
        old = await migrate(folder.ledger)
        ledger = await stack.enter_async_context(
            Ledger.open(folder.ledger, plan=partial(plan_of, policies), clock=clock)
        )
        # The folder's lock is ours: whoever held a lease is dead.
        await ledger.release_leases()
    except LedgerUnavailable as exc:
        advice = ""
        if exc.problem in _DAMAGED:
            advice = ": put back a copy of it, or move it away to begin with an empty one"
        raise LedgerUnavailable(f"{folder.ledger} cannot be used ({exc.problem}){advice}") from exc
    if old:
        get_logger().info("ledger.migrated", old=old)
    return ledger, old == ""


def fal_credential(settings: Settings) -> Credential | None:
    """Return the configured fal credential, or None."""
    if settings.fal_key_file is not None:
        return file_credential(settings.fal_key_file)
    if settings.fal_key is not None:
        return fixed_credential(settings.fal_key.get_secret_value())
    return None


async def _maybe_fal(
    settings: Settings, metrics: Metrics, stack: AsyncExitStack
) -> FalQueueClient | None:
    credential = fal_credential(settings)
    if credential is None:
        return None
    limits = FalLimits(submit_s=settings.submit_timeout_s)
    return await stack.enter_async_context(
        open_fal(settings.queue_url, credential, metrics=metrics, limits=limits)
    )


def _key_source(settings: Settings, folder: DataFolder) -> KeySource:
    is_official = settings.jwks_url == OFFICIAL_JWKS
    return KeySource(
        settings.jwks_url,
        is_official=is_official,
        fallback_url=_OLD_JWKS if is_official else None,
        cache_path=folder.keys,
    )
