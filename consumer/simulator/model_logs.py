"""
What a model writes while it runs, line by line, as far as it has come. Pure.

The lines are ours; their fields and levels are fal's (docs, Queue status, read 2026-10-07).
"""

from collections.abc import Iterator
from itertools import pairwise

from consumer.simulator.asked import iso
from consumer.simulator.jobs import IN_PROGRESS, Job
from consumer.simulator.outcomes import Ending
from consumer.simulator.queue_bodies import LogLevel, LogLine

# When in a run, as a share of it; the end is written by how the run ended.
_LINES: tuple[tuple[float, LogLevel, str], ...] = (
    (0.0, "INFO", "Loading the model"),
    (0.1, "DEBUG", "Weights are on the device"),
    (0.2, "STDERR", "  0%|          | 0/4"),
    (0.3, "STDOUT", "step 1/4"),
    (0.5, "STDOUT", "step 2/4"),
    (0.6, "WARN", "The safety checker is slow"),
    (0.7, "STDOUT", "step 3/4"),
    (0.9, "STDOUT", "step 4/4"),
)


def logs_of(job: Job, now: float, time_scale: float) -> list[LogLine]:
    """Return the lines written until now (unix seconds), oldest first."""
    return [
        {"message": message, "timestamp": iso(at), "level": level, "source": "USER"}
        for at, level, message in _written(job, time_scale)
        if at <= now
    ]


def next_log_at(job: Job, now: float, time_scale: float) -> float | None:
    """Return when the next line will be written, None when none is to come in this state."""
    return next((at for at, *_line in _written(job, time_scale) if at > now), None)


def _written(job: Job, time_scale: float) -> Iterator[tuple[float, LogLevel, str]]:
    """Yield every line of every run, the ones still to come too."""
    changes = job.entry.changes
    ends = [after.at for _change, after in pairwise(changes)]
    for change, end in zip(changes, [*ends, float("inf")], strict=True):
        if change.status != IN_PROGRESS:
            continue
        for share, level, message in _LINES:
            at = change.at + share * job.run_s * time_scale
            if at < end:
                yield at, level, message
    if job.ending is not None and job.sent_at is not None:
        yield (job.ended_at or 0.0, *_last_line(job.ending))


def _last_line(ending: Ending) -> tuple[LogLevel, str]:
    if ending.http_status == 200:
        return "INFO", "Finished"
    return "ERROR", ending.error or "The model refused the input"
