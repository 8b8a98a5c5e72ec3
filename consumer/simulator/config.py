"""
How one simulator is set up. Plain values only; everything else in the package reads these.

Durations of fal's are in fal's seconds and are multiplied by `time_scale` when they pass.
Durations that a caller or receiver lives through are in real seconds, and say so.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from consumer.simulator.scenarios import PLAIN_WEIGHTS, SCENARIOS
from consumer.simulator.standing import RateLimit


class UrlForm(StrEnum):
    """Which URLs a submit answers with."""

    APP = "app"  # owner/app/requests/{id}: what fal sends
    FULL = "full"  # the whole endpoint id, and a result under `/response`: what its prose shows


class SimulatorConfigError(ValueError):
    """A setting of the simulator that cannot work; carries its name and what was expected."""

    def __init__(self, setting: str, expected: str) -> None:
        super().__init__(setting, expected)
        self.setting = setting
        self.expected = expected

    def __str__(self) -> str:
        return f"simulator setting {self.setting}: expected {self.expected}"


@dataclass(frozen=True, kw_only=True)
class SimulatorConfig:
    """
    Everything that shapes a simulator.

    Choices (scenario, waits, outputs) follow `seed`; ids and keys never do.
    With `tls_port` (0: a free one) everything is served over TLS too, under a throw-away
    authority, for clients that insist on https.
    `api_key` None accepts any `Authorization: Key …`, otherwise only this key.
    `queue_s`, `run_s`, `late_s`, `result_ttl_s` are scaled by `time_scale`;
    `webhook_timeout_s` (first attempt), `webhook_retry_timeout_s` and every
    `X-Fal-Request-Start-Timeout` are real seconds, for the other side is real.
    With `result_ttl_s` set (fal: 3600), results answer 404 that long after the end, those of
    10 KB and more after `large_result_ttl_s`, and webhook retries stop; with None nothing ever
    expires. Payload storage keeps results of up to 1 MB for `payload_storage_s` (fal: 30 days)
    where the account has it (None: it has not) or a submit asks for it.
    `url_form` are the URLs that a submit answers with. `has_old_cancel`: cancels that are
    accepted answer `{"success": true}`, as models' own pages said before 2026.
    `forget_removed`: a request cancelled in the queue is unknown afterwards.
    `webhook_on_cancel`: a request stopped while running sends an ERROR delivery (499).
    With `admin_key` that key passes too, and alone may read what needs an ADMIN key; without
    one, every good key may while `is_admin`. Billing events appear `billing_lag_s` (scaled) late.
    `balance_usd` is what was on the account before the first request. With `endpoints` these
    alone exist; otherwise any endpoint can be submitted to.
    `rate_limit` holds for each of both APIs from the start; `stream_cut_s` are the real seconds
    after which every status stream is cut; `stream_comment_s` (scaled) parts the comments on a
    quiet one.

    With `has_files` outputs name files on the simulator's own port, which it serves.

    Source of the time-outs and the number of attempts: fal docs, Webhooks (read 2026-09-27);
    of the comments: fal docs, Queue status stream (read 2026-10-07).

    Raises SimulatorConfigError for a value that cannot work.
    """

    seed: int
    host: str = "127.0.0.1"
    port: int = 0
    tls_port: int | None = None
    api_key: str | None = field(default=None, repr=False)
    admin_key: str | None = field(default=None, repr=False)
    account: str = "github|1000001"
    time_scale: float = 1.0
    queue_s: tuple[float, float] = (0.5, 3.0)
    run_s: tuple[float, float] = (1.0, 6.0)
    late_s: float = 300.0
    weights: Mapping[str, float] = field(default_factory=lambda: PLAIN_WEIGHTS)
    webhook_timeout_s: float = 15.0
    webhook_retry_timeout_s: float = 120.0
    max_webhook_attempts: int = 32
    max_concurrent_webhooks: int = 64
    result_ttl_s: float | None = None
    large_result_ttl_s: float = 360.0
    payload_storage_s: float | None = None
    url_form: UrlForm = UrlForm.APP
    has_old_cancel: bool = False
    forget_removed: bool = False
    webhook_on_cancel: bool = False
    is_admin: bool = True
    billing_lag_s: float = 60.0
    balance_usd: float = 100.0
    endpoints: frozenset[str] | None = None
    rate_limit: RateLimit | None = None
    stream_cut_s: float | None = None
    stream_comment_s: float = 15.0
    has_files: bool = False

    def __post_init__(self) -> None:
        for name in ("queue_s", "run_s"):
            low, high = getattr(self, name)
            _expect(0 <= low <= high, name, "two numbers of seconds, the smaller first")
        _expect(self.time_scale > 0, "time_scale", "a number above 0")
        _expect(self.max_webhook_attempts >= 1, "max_webhook_attempts", "at least 1")
        _expect(self.max_concurrent_webhooks >= 1, "max_concurrent_webhooks", "at least 1")
        _expect(self.stream_comment_s > 0, "stream_comment_s", "a number above 0")
        cut = self.stream_cut_s
        _expect(cut is None or cut > 0, "stream_cut_s", "a number of real seconds above 0")
        known = self.weights.keys() <= SCENARIOS.keys()
        _expect(known, "weights", f"scenario names among {', '.join(SCENARIOS)}")
        usable = all(weight >= 0 for weight in self.weights.values()) and any(self.weights.values())
        _expect(usable, "weights", "weights of 0 or more, at least one of them above 0")


def _expect(holds: bool, setting: str, expected: str) -> None:
    if not holds:
        raise SimulatorConfigError(setting, expected)
