"""
How long a result can be read, and how long its webhook is retried. Pure.

Source: fal docs, Queue result, Payloads and Webhooks (read 2026-10-07): a stored result stays
for an hour, or six minutes from 10 KB on; payload storage keeps it for 30 days, up to 1 MB.
"""

from consumer.simulator.config import SimulatorConfig
from consumer.simulator.jobs import Job

LARGE_BYTES = 10 * 1000
MAX_STORED_BYTES = 1000 * 1000
_STORED_FOR_S = 30 * 24 * 3600.0


def readable_until(job: Job, config: SimulatorConfig) -> float | None:
    """Return when the result is gone, unix seconds; None for never, or not ended yet."""
    if config.result_ttl_s is None or job.ended_at is None:
        return None
    if _is_stored(job, config):
        kept_s = config.payload_storage_s or _STORED_FOR_S
        return job.ended_at + kept_s * config.time_scale
    return retried_until(job, config)


def retried_until(job: Job, config: SimulatorConfig) -> float | None:
    """Return when webhook attempts end: with the stored result, whatever payload storage keeps."""
    if config.result_ttl_s is None or job.ended_at is None:
        return None
    ttl_s = config.result_ttl_s
    if job.output_bytes >= LARGE_BYTES:
        ttl_s = config.large_result_ttl_s
    return job.ended_at + ttl_s * config.time_scale


def _is_stored(job: Job, config: SimulatorConfig) -> bool:
    """The header decides; without one the account's setting does."""
    asked = job.order.stores_io
    wants = config.payload_storage_s is not None if asked is None else asked
    return wants and job.output_bytes <= MAX_STORED_BYTES
