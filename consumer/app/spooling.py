"""What the commands do with the spools of a data folder, as the settings name it."""

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Literal

from consumer.app.values import spool_limits, utc_now
from consumer.errors import ConfigError
from consumer.folder import DataFolder
from consumer.settings import Settings, env_name
from consumer.telemetry import Metrics

if TYPE_CHECKING:
    from consumer.log.spool.upkeep import Drained, RefusedRecord, Retried, SpoolLook

_PATIENCE_S = 30.0


def look_at_spools(settings: Settings) -> "Sequence[SpoolLook]":
    """Return every spool of the data folder, held or not. Blocks. Raises LogUnavailable."""
    from consumer.log.spool import upkeep  # noqa: PLC0415

    return upkeep.look_at_spools(DataFolder(settings.data_dir).spools)


def spool_finding(settings: Settings) -> tuple[Literal["ok", "warning"], str]:
    """Return what `check` says of the spools. Blocks. Raises LogUnavailable."""
    looks = look_at_spools(settings)
    waiting = sum(look.waiting.total() for look in looks)
    if unreadable := sum(look.unreadable for look in looks):
        return "warning", f"{unreadable} files cannot be read: look at the disk"
    if refused := sum(look.refused for look in looks):
        return "warning", f"{refused} records refused by Kafka: see fal-consumer spool show"
    free = sum(1 for look in looks if look.holder is None and look.waiting.total())
    if free:
        return "warning", f"{waiting} events wait, {free} spools held by nobody: start a receiver"
    return "ok", f"{waiting} events wait" if waiting else "nothing waits"


async def refused_records(settings: Settings) -> "AsyncGenerator[RefusedRecord, None]":
    """Give every record that Kafka refused. Raises LogUnavailable."""
    from consumer.log.spool import upkeep  # noqa: PLC0415

    folder = DataFolder(settings.data_dir).spools
    async with aclosing(upkeep.refused_records(folder, clock=utc_now)) as found:
        async for one in found:
            yield one


async def retry_refused(settings: Settings) -> "Sequence[Retried]":
    """Let every refused record be tried again. Raises LogUnavailable."""
    from consumer.log.spool import upkeep  # noqa: PLC0415

    folder = DataFolder(settings.data_dir).spools
    return await upkeep.retry_refused(folder, clock=utc_now, limits=spool_limits(settings))


async def drain_spools(settings: Settings, tell: Callable[[int, int], None]) -> "Drained":
    """
    Send what waits in spools that nobody holds; `tell` hears how many of how many.

    Raises LogUnavailable, and ConfigError where there is no Kafka to send to.
    """
    from consumer.app.cluster import kafka_limits, kafka_place  # noqa: PLC0415
    from consumer.log.kafka.producer import KafkaPublisher  # noqa: PLC0415  a heavy client
    from consumer.log.spool.drain import DrainParts  # noqa: PLC0415
    from consumer.log.spool.gate import Gate  # noqa: PLC0415
    from consumer.log.spool.upkeep import drain_free  # noqa: PLC0415

    if settings.is_embedded:
        missing = f"{env_name('log_url')}: a spool is sent to Kafka; expected kafka://host:port"
        raise ConfigError([missing])
    limits = spool_limits(settings)
    folder = DataFolder(settings.data_dir).spools
    async with KafkaPublisher.open(kafka_place(settings), kafka_limits(settings)) as kafka:
        parts = DrainParts(kafka, Gate(), utc_now, Metrics(), limits.stop_budget)
        return await drain_free(folder, parts, limits, patience_s=_PATIENCE_S, tell=tell)
