"""Settings turned into the plain values that parts take. Imports nothing heavy."""

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from consumer.core.cancellation import UNLIMITED, cancel_at
from consumer.core.policy import Policies, check_at
from consumer.core.standing import CancelPolicy, Request
from consumer.core.usual import first_gap
from consumer.folder import DataFolder
from consumer.log.room import LogLimits
from consumer.ports import Plan
from consumer.settings import Settings, read_token_secrets
from consumer.sweeps.usual import Learned

if TYPE_CHECKING:
    from consumer.log.spool.spool import SpoolLimits

_MIB = 1024 * 1024


def policies_of(settings: Settings) -> Policies:
    """Return the spans that decisions rest on, as configured."""
    first = timedelta(seconds=settings.first_check_s)
    return Policies(
        first_check=first,
        min_first_check=min(timedelta(seconds=5), first),
        first_check_without_callback=min(timedelta(seconds=1), first),
        settle_after=first,
        not_found_gap=timedelta(seconds=settings.not_found_gap_s),
        unconfirmed_horizon=timedelta(seconds=settings.unconfirmed_after_s),
        submit_deadline=timedelta(seconds=settings.submit_timeout_s + 5),
        fetch_patience=timedelta(seconds=settings.fetch_patience_s),
        cancel_queued_after=settings.cancel_queued_after,
        cancel_running=UNLIMITED | {CancelPolicy(rule) for rule in settings.cancel_running},
        max_cancels_a_minute=settings.cancels_per_minute,
        max_commands_a_minute=settings.commands_per_minute,
        max_open_requests=settings.max_open_requests,
    )


def plan_of(
    policies: Policies, request: Request, now: datetime, *, learned: Learned | None = None
) -> Plan:
    """Return when a request is next due under these policies, and by what is usual."""
    first = first_gap(request, learned.usual if learned else {}, policies)
    return Plan(check_at(request, now, policies, first), cancel_at(request, policies))


def token_secrets(settings: Settings, folder: DataFolder) -> tuple[bytes, ...]:
    """Return the secrets of callback tokens, made at first start where none are configured."""
    path = settings.token_secrets_file or folder.made_secret(folder.token_secrets)
    return read_token_secrets(path)


def log_limits(settings: Settings) -> LogLimits:
    """Return the bounds of the embedded log: any verified body fits, with its headers."""
    return LogLimits(
        max_bytes=settings.log_max_bytes,
        reserve_bytes=settings.log_reserve_bytes,
        max_record_bytes=max(32 * _MIB, settings.max_body_bytes + _MIB),
        max_pending_bytes=max(64 * _MIB, 4 * settings.max_body_bytes),
    )


def spool_limits(settings: Settings) -> "SpoolLimits":
    """Return the bounds of a spool: any record that Kafka might take fits."""
    from consumer.log.spool.spool import SpoolLimits  # noqa: PLC0415  heavy, and only with Kafka

    return SpoolLimits(
        max_bytes=settings.spool_max_bytes,
        reserve_bytes=settings.log_reserve_bytes,
        max_record_bytes=max(32 * _MIB, settings.max_body_bytes + _MIB),
        max_pending_bytes=max(64 * _MIB, 4 * settings.max_body_bytes),
        stop_budget=timedelta(seconds=min(3.0, settings.stop_timeout_s * 0.2)),
    )


def utc_now() -> datetime:
    """Return the present instant."""
    return datetime.now(UTC)
