"""
Schema drift as a dead letter: an answer of fal that this version could not read in full.

The body rests whole; what was expected and what came stand in the headers. Nothing is put
back from such a letter: it is no record of ours, but what a new version must learn.
"""

from dataclasses import dataclass
from datetime import datetime

from consumer.core.event import Headers, NewRecord, Topic, format_time
from consumer.core.text import printable
from consumer.errors import SchemaDrift

REASON = "schema_drift"
_MAX_CHARS = 500


@dataclass(frozen=True, slots=True)
class DriftNote:
    """What a letter says of a drift: where in the answer to which call, what was expected."""

    operation: str
    endpoint: str
    where: str
    expected: str
    came: str


def drift_letter(drift: SchemaDrift, *, request_id: str, endpoint: str, at: datetime) -> NewRecord:
    """Return the dead letter of an answer that drifted, keyed by the request it was about."""
    told = (
        ("dlreason", REASON),
        ("dlproblem", str(drift)),
        ("dlorigin", f"fal/{drift.operation}"),
        ("dlattempts", "1"),
        ("dltime", format_time(at)),
        ("dloperation", drift.operation),
        ("dlendpoint", endpoint),
        ("dlwhere", drift.where),
        ("dlexpected", drift.expected),
        ("dlcame", drift.came),
    )
    headers = tuple((name, printable(text)[:_MAX_CHARS].encode()) for name, text in told if text)
    return NewRecord(Topic.DEAD_LETTERS, request_id, drift.body, headers)


def maybe_drift(headers: Headers) -> DriftNote | None:
    """Return what the headers of a dead letter say of a drift, None for any other letter."""
    told = {name: value.decode("utf-8", "replace") for name, value in headers}
    if told.get("dlreason") != REASON or "dloperation" not in told:
        return None
    return DriftNote(
        told["dloperation"],
        told.get("dlendpoint", ""),
        told.get("dlwhere", ""),
        told.get("dlexpected", ""),
        told.get("dlcame", ""),
    )
