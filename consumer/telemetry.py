"""
What the service says about itself: log events by name, and metrics.

The lists here are closed: a test holds that every name used in the code is in them.
Logs go to standard error, always. No body, key, signature, token or callback URL is ever
a value; foreign text is escaped before it is one.
"""

import os
import sys
from collections.abc import MutableMapping
from datetime import UTC, datetime
from typing import Any, Protocol, TextIO

import stamina
import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from pydantic_core import to_json

from consumer.core.text import printable

LOG_EVENTS = frozenset(
    {
        "account.refused",
        "account.unproven",
        "cancel.held_back",
        "clock.wrong",
        "console.started",
        "delivery.accepted",
        "delivery.dead_lettered",
        "delivery.rejected",
        "fal.account_locked",
        "fal.account_unlocked",
        "fal.answer_drifted",
        "fal.call_retried",
        "fal.drift_not_kept",
        "fal.key_refused",
        "fal.key_taken",
        "fal.pace_cut",
        "fal.stream_reopened",
        "http.malformed",
        "invariant.broken",
        "keys.refresh_failed",
        "keys.refreshed",
        "keys.unofficial",
        "ledger.migrated",
        "ledger.recounted",
        "ledger.trimmed",
        "log.file_closed",
        "log.file_gone",
        "log.gap",
        "log.trimmed",
        "log.unavailable",
        "mcp.library_warned",
        "mcp.started",
        "mcp.stopped",
        "producer.ended",
        "producer.started",
        "record.dead_lettered",
        "record.handled",
        "record.parked",
        "record.retried",
        "record.skipped",
        "request.cancelled",
        "request.conflicted",
        "request.lost",
        "request.reconciled",
        "result.published",
        "service.started",
        "service.stopped",
        "spool.adopted",
        "spool.drained",
        "spool.handed_back",
        "spool.record_moved",
        "spool.record_refused",
        "spool.retried",
        "spool.skipped",
        "spool.took_over",
        "submission.found",
        "submission.lost",
        "submission.put_off",
        "submission.refused",
        "submission.sent",
        "submission.unknown",
        "subscription.began_anew",
        "subscription.restarted",
        "sweep.alarmed",
        "sweep.failed",
        "token.mismatched",
        "tool.called",
        "tool.crashed",
        "tool.refused",
        "worker.started",
        "worker.stopped",
    }
)
"""Every name that a log line may have: `noun.past_participle`."""


class Logger(Protocol):
    """The part of structlog that the code uses."""

    def debug(self, event: str, **values: Any) -> Any: ...
    def info(self, event: str, **values: Any) -> Any: ...
    def warning(self, event: str, **values: Any) -> Any: ...
    def error(self, event: str, **values: Any) -> Any: ...


def get_logger() -> Logger:
    """Return the logger; it takes the configuration in force at its first use."""
    logger: Logger = structlog.get_logger()
    return logger


def bound_logger() -> Logger:
    """
    Return a logger that has looked up the configuration in force now, once and for all.

    For the hot path: the lazy one looks it up at every line, which costs as much as the line.
    """
    logger: Logger = structlog.get_logger().bind()
    return logger


def configure_logs(*, level: str, format: str, stream: TextIO | None = None) -> None:  # noqa: A002
    """
    Let log lines of at least `level` go to `stream` (standard error) as `json` or `console`.

    JSON lines are one write each, with the keys `event`, `level`, `timestamp`, and the
    line's own.
    """
    out = stream or sys.stderr
    processors: list[Any] = [_render_json]
    if format != "json":
        processors = [
            structlog.processors.add_log_level,
            _escape_text,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.dev.ConsoleRenderer(colors=out.isatty(), pad_event_to=26),
        ]
    lines = _Lines(out)
    # Retries of calls to fal are counted by us; the library's own lines are not in our list.
    stamina.instrumentation.set_on_retry_hooks([])
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=lambda *_: lines,
        cache_logger_on_first_use=False,
    )


class _Lines:
    """
    Writes lines, each in one piece, and fears nothing: one that cannot be written is left out.

    A full disk behind standard error must not stop a delivery that is durable elsewhere.
    Straight to the descriptor where there is one, for a text stream doubles the cost.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._descriptor = _descriptor_of(stream)
        self.left_out = 0

    def msg(self, line: str | bytes) -> None:
        """Write a line, text or UTF-8, or count it as left out."""
        try:
            if self._descriptor is not None:
                raw = line.encode("utf-8", "backslashreplace") if isinstance(line, str) else line
                os.write(self._descriptor, raw + b"\n")
            else:
                self._stream.write(f"{line if isinstance(line, str) else line.decode()}\n")
        except (OSError, ValueError):
            self.left_out += 1

    debug = info = warning = error = msg


def _descriptor_of(stream: TextIO) -> int | None:
    try:
        stream.flush()
        return stream.fileno()
    except (OSError, ValueError, AttributeError):
        return None


def _render_json(logger: Any, method: str, values: MutableMapping[str, Any]) -> bytes:
    """
    Return the line as JSON: level, time, escaping and rendering in one step.

    One processor instead of five: a line is a tenth of what a delivery costs.
    """
    values["level"] = method
    values["timestamp"] = datetime.now(UTC).isoformat()
    if values.get("exc_info"):
        values = structlog.processors.format_exc_info(logger, method, values)
    return to_json(_escape_text(logger, method, values), serialize_unknown=True)


def _escape_text(
    _logger: Any, _method: str, values: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """Escape control characters in texts: some of them a stranger wrote."""
    for key, value in values.items():
        if isinstance(value, str) and not value.isprintable():
            values[key] = printable(value)
    return values


class Metrics:
    """Every metric of the service, in a registry of its own. Units are suffixes."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._count_receiving(self.registry)
        self._count_work(self.registry)
        self._count_spool(self.registry)

    def _count_receiving(self, registry: CollectorRegistry) -> None:
        self.deliveries = Counter(
            "fal_consumer_deliveries",
            "Deliveries answered, by verdict",
            ["verdict"],
            registry=registry,
        )
        self.delivery_seconds = Histogram(
            "fal_consumer_delivery_seconds",
            "From the first header to the answer",
            buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10),
            registry=registry,
        )
        self.malformed_http = Counter(
            "fal_consumer_malformed_http", "Requests that were no readable HTTP", registry=registry
        )
        self.key_fetches = Counter(
            "fal_consumer_key_fetches", "JWKS fetches, by outcome", ["outcome"], registry=registry
        )
        self.key_age_seconds = Gauge(
            "fal_consumer_key_age_seconds", "Age of the key set in force", registry=registry
        )

    def _count_work(self, registry: CollectorRegistry) -> None:
        self.records = Counter(
            "fal_consumer_records",
            "Records handled, by handler and outcome",
            ["handler", "outcome"],
            registry=registry,
        )
        self.lag_records = Gauge(
            "fal_consumer_lag_records",
            "Records not yet committed, by handler",
            ["handler"],
            registry=registry,
        )
        self.requests_lost = Counter(
            "fal_consumer_requests_lost",
            "Requests that ended lost, by reason",
            ["reason"],
            registry=registry,
        )
        self.sweep_alarms = Counter(
            "fal_consumer_sweep_alarms",
            "Sweeps that stopped themselves",
            ["sweep"],
            registry=registry,
        )
        self.cancels_held_back = Counter(
            "fal_consumer_cancels_held_back",
            "Cancels that waited for the limit a minute, by policy",
            ["policy"],
            registry=registry,
        )
        self.fal_calls = Counter(
            "fal_consumer_fal_calls",
            "Calls to fal, by operation and HTTP status",
            ["operation", "http_status"],
            registry=registry,
        )
        self.fal_rate = Gauge(
            "fal_consumer_fal_rate",
            "Calls per second that each host of fal is asked at most; none while unlimited",
            ["host"],
            registry=registry,
        )
        self.fal_drifts = Counter(
            "fal_consumer_fal_drifts",
            "Answers of fal that this version could not read in full, by operation",
            ["operation"],
            registry=registry,
        )

    def _count_spool(self, registry: CollectorRegistry) -> None:
        self.spooled = Counter(
            "fal_consumer_spooled", "Events that went to the spool", registry=registry
        )
        self.spool_drained = Counter(
            "fal_consumer_spool_drained",
            "Records from the spool that Kafka acknowledged",
            registry=registry,
        )
        self.spool_records = Gauge(
            "fal_consumer_spool_records", "Records that wait in the spool", registry=registry
        )
        self.spool_bytes = Gauge(
            "fal_consumer_spool_bytes", "Bytes that wait in the spool", registry=registry
        )
        self.spool_oldest_seconds = Gauge(
            "fal_consumer_spool_oldest_seconds",
            "Since when the oldest record in the spool waits",
            registry=registry,
        )
        self.spool_refused_records = Gauge(
            "fal_consumer_spool_refused_records",
            "Records that Kafka refused, kept in the spool",
            registry=registry,
        )
