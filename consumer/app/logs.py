"""The log of the settings, opened: the embedded one, or Kafka with its waiting room."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from consumer.app.cluster import kafka_limits, kafka_place
from consumer.app.opening import Opening
from consumer.app.values import log_limits, spool_limits
from consumer.core.event import Topic
from consumer.log.embedded import EmbeddedLog
from consumer.ports import Log, Publisher
from consumer.readiness import Pinged, Report
from consumer.settings import Role
from consumer.telemetry import Metrics

Upkeep = Callable[[asyncio.Event], Coroutine[Any, Any, None]]
"""Something that runs beside the rest until the event is set."""

_SPOOL_TIME = timedelta(seconds=4)
# What a publish may still take on disk after Kafka's deadline has passed.
_RECEIVED = (Topic.COMPLETIONS, Topic.DEAD_LETTERS, Topic.LIFECYCLE)
# What a receiver writes; it may not even see the other topics.
_DRAIN_SHARE = 0.5
# Of what may be on its way to Kafka at once: the backlog's part beside live deliveries.


@dataclass(frozen=True, slots=True)
class OpenLog:
    """
    A log in use. `publisher` is where a receiver publishes, within `publish_deadline`.

    Readiness looks at what is `needed` and what is `wanted`, and hears the reports.
    """

    log: Log
    publisher: Publisher
    publish_deadline: timedelta
    needed: Mapping[str, Pinged]
    wanted: Mapping[str, Pinged] = field(default_factory=dict)
    problems: Sequence[Report] = ()
    notes: Sequence[Report] = ()
    upkeep: Mapping[str, Upkeep] = field(default_factory=dict)


async def open_log_of(opening: Opening, metrics: Metrics) -> OpenLog:
    """Open the log that this role uses. Raises ConfigError and LogUnavailable."""
    settings, folder = opening.settings, opening.folder
    if settings.is_embedded:
        return await _embedded(opening)
    # A heavy client, for those who use it.
    from consumer.log.kafka.log import KafkaLog  # noqa: PLC0415
    from consumer.log.spool.publisher import Lanes, SpooledPublisher  # noqa: PLC0415

    log = await opening.stack.enter_async_context(
        KafkaLog.open(
            kafka_place(settings),
            clock=opening.clock,
            limits=kafka_limits(settings),
            members=None if opening.role is Role.RECEIVE else folder.members,
            writes=_RECEIVED if opening.role is Role.RECEIVE else tuple(Topic),
        )
    )
    sending = timedelta(seconds=settings.publish_timeout_s)
    if opening.role is Role.WORK or not settings.spool_max_bytes:
        return OpenLog(log, log, sending, needed={"kafka": log})
    spooled = await opening.stack.enter_async_context(
        SpooledPublisher.open(
            Lanes(log.publisher, log.publisher.lane(_DRAIN_SHARE)),
            folder.spools,
            clock=opening.clock,
            limits=spool_limits(settings),
            metrics=metrics,
        )
    )
    return OpenLog(
        log,
        spooled,
        sending + _SPOOL_TIME,
        needed={"log": spooled},
        wanted={"kafka": log},
        notes=[spooled.describes],
        upkeep={"spool": spooled.run},
    )


async def _embedded(opening: Opening) -> OpenLog:
    settings = opening.settings
    log = await opening.stack.enter_async_context(
        EmbeddedLog.open(opening.folder.log, clock=opening.clock, limits=log_limits(settings))
    )
    return OpenLog(
        log,
        log,
        timedelta(seconds=settings.publish_timeout_s),
        needed={"log": log},
        upkeep={"retention": log.run_retention},
    )
