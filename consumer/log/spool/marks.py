"""
What a waiting record carries besides itself: since when it waits, why Kafka refused it.

Pure. Marks are headers whose names begin with `spool-`; they are taken off before a record
leaves the spool.
"""

from dataclasses import replace
from datetime import datetime

from consumer.core.event import NewRecord, format_time, parse_time
from consumer.ports import Record

_PREFIX = "spool-"
_SINCE = "spool-since"
_PROBLEM = "spool-problem"
_MAX_PROBLEM = 500


def unmarked(record: Record | NewRecord) -> NewRecord:
    """Return the record as it came in, without any mark."""
    topic = record.topic if isinstance(record, NewRecord) else record.position.topic
    headers = record.headers
    if any(name.startswith(_PREFIX) for name, _ in headers):
        headers = tuple(one for one in headers if not one[0].startswith(_PREFIX))
    return NewRecord(topic, record.key, record.value, headers)


def moved(record: NewRecord, since: datetime) -> NewRecord:
    """Return a record that goes to the end of its spool, with the time since when it waits."""
    mark = (_SINCE, format_time(since).encode())
    return replace(unmarked(record), headers=(*unmarked(record).headers, mark))


def refused(record: NewRecord, problem: str) -> NewRecord:
    """Return a record for the refused set, with the reason."""
    mark = (_PROBLEM, problem[:_MAX_PROBLEM].encode("utf-8", "replace"))
    return replace(unmarked(record), headers=(*unmarked(record).headers, mark))


def waiting_since(record: Record) -> datetime:
    """Return since when a record waits: as marked, else since it was appended."""
    text = dict(record.headers).get(_SINCE)
    if text is None:
        return record.appended_at
    try:
        return parse_time(text.decode("ascii", "replace"))
    except ValueError:
        return record.appended_at


def problem_of(record: Record) -> str:
    """Return why Kafka refused a record of the refused set."""
    return dict(record.headers).get(_PROBLEM, b"").decode("utf-8", "replace")


def size_of(record: Record) -> int:
    """Return what a waiting record takes, marks and all, as `NewRecord.size` counts it."""
    return NewRecord(record.position.topic, record.key, record.value, record.headers).size
