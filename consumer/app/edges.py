"""The sockets: the receiver in public, the console on loopback."""

from contextlib import AsyncExitStack
from datetime import timedelta

from consumer.app.backends import Backends, WorkBackends
from consumer.app.credentials import console_tokens
from consumer.app.opening import Opening
from consumer.console.api import serve_console
from consumer.console.requests_door import RequestsDoor
from consumer.errors import ConfigError
from consumer.readiness import Readiness
from consumer.receiver import Receiver, ReceiverParts, ReceiverRules, serve_receiver
from consumer.receiving.limits import MIB, ReceiverLimits
from consumer.settings import Settings
from consumer.telemetry import bound_logger


async def open_receiver(
    settings: Settings, backends: Backends, readiness: Readiness, stack: AsyncExitStack
) -> str:
    """Open the receiver and return its URL. Raises ConfigError when its address cannot be had."""
    limits = ReceiverLimits(
        max_body_bytes=settings.max_body_bytes,
        max_reading_bytes=settings.max_reading_bytes,
        # They are in memory already; what is beside them on the way to Kafka has its own bound.
        max_publishing_bytes=max(64 * MIB, settings.max_reading_bytes // 2),
        publish_deadline=backends.events.publish_deadline,
        drain_deadline=timedelta(seconds=settings.stop_timeout_s * 0.3),
    )
    receiver = Receiver(
        ReceiverParts(
            backends.keys,
            backends.publisher,
            backends.clock,
            backends.metrics,
            bound_logger(),
            readiness.is_ready,
        ),
        ReceiverRules(backends.accounts, backends.source, backends.secrets, limits),
    )
    host, port = settings.listen
    try:
        listener = await stack.enter_async_context(serve_receiver(receiver, host, port))
    except OSError as exc:
        problem = f"{host}:{port} cannot be had ({exc.strerror or exc})"
        raise ConfigError([f"FAL_CONSUMER_LISTEN: {problem}"]) from exc
    return f"http://{_in_url(listener.host)}:{listener.port}"


async def open_console(opening: Opening, backends: Backends, readiness: Readiness) -> str | None:
    """Open the console and return its URL, None where it is switched off. Raises ConfigError."""
    settings, folder = opening.settings, opening.folder
    address = settings.console_for(opening.role)
    if address is None:
        return None
    tokens = console_tokens(settings, folder)
    try:
        return await opening.stack.enter_async_context(
            serve_console(
                address,
                tokens,
                readiness.describe,
                backends.metrics,
                door=_door(backends),
                max_body_bytes=settings.max_body_bytes,
            )
        )
    except OSError as exc:
        problem = f"{address.host}:{address.port} cannot be had ({exc.strerror or exc})"
        raise ConfigError([f"FAL_CONSUMER_CONSOLE_LISTEN: {problem}"]) from exc


def _door(backends: Backends) -> RequestsDoor | None:
    """Return the door for requests, None where there is no ledger to tell what came of them."""
    if not isinstance(backends, WorkBackends):
        return None
    return RequestsDoor(backends.log, backends.ledger, clock=backends.clock)


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host
