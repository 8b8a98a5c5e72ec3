"""
What is left of a record that is put aside: its place in the parking, or its dead letter.

Pure: values in, values out.
"""

from dataclasses import replace
from datetime import datetime

from consumer.core.event import NewRecord, Topic, event_id, format_time
from consumer.core.policy import DeadLetter
from consumer.core.replay import attempts_before
from consumer.ports import Record


def parked_id(group: str, record: Record) -> str:
    """Return the id of a parked record: the same record parked twice by a group is one."""
    position = record.position
    return event_id(
        "parked", group, position.topic.value, str(position.partition), str(position.offset)
    )


def dead_letter(record: Record, outcome: DeadLetter, *, handler: str, attempt: int) -> NewRecord:
    """
    Return the record for `fal.dead-letters`: the original whole; reason, origin in headers.

    Attempts count over all lives of the record: those before a replay are added.
    """
    position = record.position
    origin = f"{position.topic.value}/{position.partition}/{position.offset}"
    added = (
        ("dlreason", outcome.reason),
        ("dlproblem", outcome.problem),
        ("dlhandler", handler),
        ("dlattempts", str(attempts_before(record.headers) + attempt)),
        ("dlorigin", origin),
    )
    headers = (*record.headers, *((name, value.encode()) for name, value in added))
    return NewRecord(Topic.DEAD_LETTERS, record.key, record.value, headers)


def letter_before_log(
    record: NewRecord, reason: str, *, origin: str, at: datetime, problem: str = ""
) -> NewRecord:
    """
    Return the dead letter of a record that has no position yet: whole, with reason and origin.
    """
    why = (
        ("dlreason", reason),
        *((("dlproblem", problem),) if problem else ()),
        ("dlorigin", origin),
        ("dlattempts", str(attempts_before(record.headers) + 1)),
        ("dltime", format_time(at)),
    )
    headers = (*record.headers, *((name, value.encode()) for name, value in why))
    return replace(record, topic=Topic.DEAD_LETTERS, headers=headers)


def without_bytes(letter: NewRecord, size: int) -> NewRecord:
    """
    Return the note that stands for a dead letter which the log refuses: why and where, no bytes.
    """
    told = tuple(header for header in letter.headers if header[0].startswith("dl"))
    return replace(letter, value=b"", headers=(*told, ("dlomitted", str(size).encode())))
