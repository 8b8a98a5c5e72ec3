"""
What is left of a record that a worker puts aside: its place in the parking, or its dead letter.

Pure: values in, values out.
"""

from dataclasses import replace

from consumer.core.event import NewRecord, Topic, event_id
from consumer.core.policy import DeadLetter
from consumer.ports import Record


def parked_id(group: str, record: Record) -> str:
    """Return the id of a parked record: the same record parked twice by a group is one."""
    position = record.position
    return event_id(
        "parked", group, position.topic.value, str(position.partition), str(position.offset)
    )


def dead_letter(record: Record, outcome: DeadLetter, *, handler: str, attempt: int) -> NewRecord:
    """Return the record for `fal.dead-letters`: the original whole; reason, origin in headers."""
    position = record.position
    origin = f"{position.topic.value}/{position.partition}/{position.offset}"
    added = (
        ("dlreason", outcome.reason),
        ("dlproblem", outcome.problem),
        ("dlhandler", handler),
        ("dlattempts", str(attempt)),
        ("dlorigin", origin),
    )
    headers = (*record.headers, *((name, value.encode()) for name, value in added))
    return NewRecord(Topic.DEAD_LETTERS, record.key, record.value, headers)


def without_bytes(letter: NewRecord, size: int) -> NewRecord:
    """
    Return the note that stands for a dead letter which the log refuses: why and where, no bytes.
    """
    told = tuple(header for header in letter.headers if header[0].startswith("dl"))
    return replace(letter, value=b"", headers=(*told, ("dlomitted", str(size).encode())))
