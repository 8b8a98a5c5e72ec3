"""
What is said about each request: one log line, one count. Never a body, signature or token.

Lines about refusals are bounded per minute: whoever floods us must not fill the disk.
What is left out is counted, and said on the next line that goes out.
"""

import asyncio
from typing import Any

from consumer.core.delivery import SignedHeaders
from consumer.errors import ConsumerError, DeliveryError, ForeignAccount
from consumer.receiving.publishing import Envelope, Published, Verdict
from consumer.telemetry import Logger, Metrics

_MAX_REFUSAL_LINES_PER_MINUTE = 600
# About 2 KB/s of log at worst; all refusals are counted in `fal_consumer_deliveries`.
_MAX_ACCOUNTS_TOLD = 1024
_SHOWN_HASH_CHARS = 16


class Teller:
    """Logs and counts. `started` is the loop's time at the request's first line."""

    def __init__(self, metrics: Metrics, logger: Logger, *, has_accounts: bool) -> None:
        self._metrics = metrics
        self._logger = logger
        # structlog's lazy logger binds itself anew at each look at a method: 6 µs.
        self._info = logger.info
        self._has_accounts = has_accounts
        self._accounts_told: set[str] = set()
        self._refusals = _PerMinute(_MAX_REFUSAL_LINES_PER_MINUTE)
        # One child per verdict, looked up once: `labels()` is slow on the hot path.
        self._counts = {verdict: metrics.deliveries.labels(verdict) for verdict in Verdict}

    def settled(self, envelope: Envelope, published: Published, started: float) -> None:
        """Tell of a delivery that was answered 200."""
        elapsed_s = asyncio.get_running_loop().time() - started
        self._counts[published.verdict].inc()
        self._metrics.delivery_seconds.observe(elapsed_s)
        delivery, position = envelope.verified.delivery, published.position
        values: dict[str, Any] = {
            "request_id": delivery.headers.request_id,
            "verdict": published.verdict.value,
            "kid": envelope.verified.key.kid,
            "body_bytes": len(delivery.body),
            "body_sha256": delivery.body_sha256[:_SHOWN_HASH_CHARS],
            "duration_ms": round(elapsed_s * 1000),
        }
        if position is not None:
            values["topic"] = position.topic.value
            values["partition"] = position.partition
            values["offset"] = position.offset
        if published.reason:
            self._logger.error("delivery.dead_lettered", reason=published.reason, **values)
        else:
            self._info("delivery.accepted", **values)
        if not envelope.is_ours:
            self._tell_account("account.unproven", envelope.verified.account)

    def rejected(
        self,
        error: ConsumerError,
        http_status: int,
        headers: SignedHeaders | None,
        started: float,
    ) -> None:
        """Tell of a delivery that was refused; `headers` are those that kept the grammar."""
        loop_time = asyncio.get_running_loop().time()
        self._metrics.deliveries.labels(error.code).inc()
        self._metrics.delivery_seconds.observe(loop_time - started)
        if isinstance(error, ForeignAccount):
            self._tell_account(
                "account.refused" if self._has_accounts else "account.unproven", error.account
            )
        values: dict[str, Any] = {
            "error": error.code,
            "http_status": http_status,
            "duration_ms": round((loop_time - started) * 1000),
        }
        if headers is not None:
            # Not verified: a stranger may have written it.
            values["claimed_request_id"] = headers.request_id
        if not isinstance(error, DeliveryError):
            values["problem"] = str(error)
        self._refuse("delivery.rejected", loop_time, values)

    def left(self) -> None:
        """Count a sender that went away before its body was whole."""
        self._metrics.deliveries.labels("sender_left").inc()

    def malformed(self) -> None:
        """Tell of a request that was no readable HTTP."""
        self._metrics.malformed_http.inc()
        self._refuse("http.malformed", asyncio.get_running_loop().time(), {})

    def broken(self, error: Exception) -> None:
        """Tell of our own mistake, by class alone: its text may hold what a stranger sent."""
        self._metrics.deliveries.labels("broken").inc()
        self._refuse(
            "invariant.broken",
            asyncio.get_running_loop().time(),
            {"error": type(error).__name__, "where": _where(error)},
            is_ours=True,
        )

    def _tell_account(self, event: str, account: str) -> None:
        """Say once per account which setting would accept it."""
        if account in self._accounts_told or len(self._accounts_told) >= _MAX_ACCOUNTS_TOLD:
            return
        self._accounts_told.add(account)
        self._logger.warning(event, account=account, accept=f"FAL_CONSUMER_ACCOUNTS={account}")

    def _refuse(
        self, event: str, loop_time: float, values: dict[str, Any], *, is_ours: bool = False
    ) -> None:
        left_out = self._refusals.maybe_left_out(loop_time)
        if left_out is None:
            return
        if left_out:
            values["lines_left_out"] = left_out
        tell = self._logger.error if is_ours else self._logger.warning
        tell(event, **values)


class _PerMinute:
    """So many lines a minute; tells how many were left out since the last one."""

    def __init__(self, max_lines: int) -> None:
        self._max_lines = max_lines
        self._lines = 0
        self._left_out = 0
        self._since = 0.0

    def maybe_left_out(self, loop_time: float) -> int | None:
        """Return how many lines were left out before this one, or None to leave it out too."""
        if loop_time - self._since >= 60:
            self._since, self._lines = loop_time, 0
        if self._lines >= self._max_lines:
            self._left_out += 1
            return None
        self._lines += 1
        left_out, self._left_out = self._left_out, 0
        return left_out


def _where(error: Exception) -> str:
    """Return the innermost place of the error, file and line."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return ""
    return f"{trace.tb_frame.f_code.co_name}:{trace.tb_lineno}"
