"""What `check` looks at: files, addresses and keys, each with a verdict and what to do."""

import asyncio
import shutil
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Literal
from uuid import uuid4

from consumer.app.backends import OFFICIAL_JWKS
from consumer.app.credentials import fal_credential
from consumer.app.ledgers import ledger_place
from consumer.app.spooling import spool_finding
from consumer.app.values import token_secrets, utc_now
from consumer.core.keys import parse_keys
from consumer.errors import (
    ConfigError,
    ConsumerError,
    FalRefused,
    LedgerUnavailable,
    LogUnavailable,
)
from consumer.fal import open_fal
from consumer.folder import DataFolder
from consumer.jwks.clock import MAX_CLOCK_ERROR
from consumer.jwks.fetch import fetch_document
from consumer.ledger.migration import needs_migration
from consumer.ledger.schema import look_at_database
from consumer.settings import Role, Settings
from consumer.telemetry import Metrics

Verdict = Literal["ok", "warning", "failed"]
_TIMEOUT_S = 15.0
_NOTHING_SUBMITTED = "none: on Kafka every submit is refused; set FAL_CONSUMER_SUBMIT_ENDPOINTS"


@dataclass(frozen=True, slots=True)
class CheckRow:
    """One thing that was looked at."""

    name: str
    verdict: Verdict
    text: str


async def check(
    settings: Settings, *, offline: bool, role: Role = Role.SERVE
) -> Sequence[CheckRow]:
    """
    Return what was found by looking as this role would.

    Without `offline`, fal is asked for its keys and about our key, Kafka for its topics and
    what we may do with them, and PostgreSQL for the ledger's schema.
    """
    rows = [*_local(settings, role)]
    if role is not Role.RECEIVE:
        if not settings.is_embedded and settings.submit_endpoints is None:
            rows.append(CheckRow("submit endpoints", "warning", _NOTHING_SUBMITTED))
        if settings.is_sqlite:
            rows.append(await _ledger(settings, role))
        elif not offline:
            rows.append(await _bounded("ledger", lambda: _database(settings)))
    if role is not Role.WORK and not settings.is_embedded:
        rows.append(await _bounded("spool", lambda: _spool(settings)))
    if not offline:
        if not settings.is_embedded:
            rows += await _kafka(settings, role)
        rows.append(await _bounded("keys", lambda: _keys(settings)))
        if role is not Role.RECEIVE:  # it never calls the queue, and needs no key
            rows.append(await _bounded("fal key", lambda: _fal(settings)))
    return rows


def _local(settings: Settings, role: Role) -> list[CheckRow]:
    folder = DataFolder(settings.data_dir)
    rows = []
    try:
        folder.require_writable()
        if folder.token_secrets.exists():
            token_secrets(settings, folder)
    except ConfigError as exc:
        return [CheckRow("data folder", "failed", str(exc))]
    free = shutil.disk_usage(folder.nearest()).free
    has_room = free > settings.log_reserve_bytes
    holder = folder.holder()
    rows.append(
        CheckRow(
            "data folder",
            "ok" if has_room else "failed",
            f"{folder.path}, {free >> 20} MiB free"
            + (f", in use by {holder}" if holder else "")
            + ("" if folder.path.exists() else f", not there yet: `{role.value}` makes it")
            + ("" if has_room else ": below FAL_CONSUMER_LOG_RESERVE_BYTES, answers would be 503"),
        )
    )
    if settings.accounts:
        rows.append(CheckRow("accounts", "ok", ", ".join(settings.accounts)))
    else:
        text = "none: deliveries are kept, nothing follows; set FAL_CONSUMER_ACCOUNTS"
        rows.append(CheckRow("accounts", "warning", text))
    if settings.public_url is None:
        text = "none: jobs are followed by asking fal; set FAL_CONSUMER_PUBLIC_URL"
        rows.append(CheckRow("public address", "warning", text))
    else:
        rows.append(CheckRow("public address", "ok", settings.public_url))
    return rows


async def _spool(settings: Settings) -> CheckRow:
    if not settings.spool_max_bytes:
        text = "none (FAL_CONSUMER_SPOOL_MAX_BYTES=0): without Kafka answers are 503"
        return CheckRow("spool", "warning", text)
    return CheckRow("spool", *await asyncio.to_thread(spool_finding, settings))


async def _ledger(settings: Settings, role: Role) -> CheckRow:
    path = DataFolder(settings.data_dir).ledger
    if not path.exists():
        return CheckRow("ledger", "ok", f"none yet: `{role.value}` makes it")
    try:
        is_old = await needs_migration(path)
    except ConsumerError as exc:
        return CheckRow("ledger", "failed", str(exc))
    if is_old:
        return CheckRow("ledger", "warning", f"older schema: `{role.value}` copies and migrates it")
    return CheckRow("ledger", "ok", str(path))


async def _database(settings: Settings) -> CheckRow:
    """Look at the ledger on PostgreSQL: it answers, has our schema, and waits for its disk."""
    name = settings.shown("ledger_url")
    try:
        risks = await look_at_database(str(ledger_place(settings)))
    except LedgerUnavailable as exc:
        return CheckRow("ledger", "failed", f"{name} does not answer: {exc.problem}")
    if risks:
        return CheckRow("ledger", "warning", f"{name}: {'; '.join(risks)}")
    return CheckRow("ledger", "ok", name)


async def _kafka(settings: Settings, role: Role) -> list[CheckRow]:
    from consumer.app.topics import look_at_topics  # noqa: PLC0415  a heavy client

    try:
        look = await look_at_topics(settings, role)
    except LogUnavailable as exc:
        return [CheckRow("kafka", "failed", exc.problem)]
    found = [(state.needs.name, state.verdict, state.text) for state in look.topics]
    found += [(f"kafka {name}", one.verdict, one.text) for name, one in look.findings]
    return [CheckRow(name, verdict, text) for name, verdict, text in found]


async def _keys(settings: Settings) -> CheckRow:
    fetched = await fetch_document(settings.jwks_url)
    keys = parse_keys(fetched.document)
    if fetched.server_time is not None and abs(utc_now() - fetched.server_time) > MAX_CLOCK_ERROR:
        off_s = round((utc_now() - fetched.server_time).total_seconds())
        return CheckRow("keys", "failed", f"this machine's clock is {off_s} s off: set it")
    if settings.jwks_url != OFFICIAL_JWKS:
        return CheckRow("keys", "warning", f"{len(keys)}, from {settings.jwks_url}: not fal's")
    return CheckRow("keys", "ok", f"{len(keys)} from {settings.jwks_url}")


async def _fal(settings: Settings) -> CheckRow:
    """Ask for the status of a request that nobody has: 404 means that the key works."""
    credential = fal_credential(settings)
    if credential is None:
        text = "none: submit, track and cancel are refused; set FAL_KEY"
        return CheckRow("fal key", "warning", text)
    async with open_fal(settings.queue_url, credential, metrics=Metrics()) as fal:
        try:
            await fal.status("fal-ai/flux", str(uuid4()))
        except FalRefused as exc:
            return CheckRow("fal key", "failed", f"{exc}: check FAL_KEY")
    return CheckRow("fal key", "ok", f"taken by {settings.queue_url}")


async def _bounded(name: str, look: Callable[[], Awaitable[CheckRow]]) -> CheckRow:
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            return await look()
    except TimeoutError:
        return CheckRow(name, "failed", f"no answer within {_TIMEOUT_S:g} s")
    except ConsumerError as exc:
        return CheckRow(name, "failed", str(exc))
