"""Records and dead letters for the tests of the verbs that put them back."""

import json

from consumer.core.command import command_event
from consumer.core.event import NewRecord, Topic, encode
from consumer.core.policy import DeadLetter
from consumer.ports import Position, Record
from consumer.setting_aside import dead_letter
from tests.cli.conftest import NOW

REQUEST_ID = "019f6af7-3088-7f03-b97d-84fec4a3ce12"
TOKEN = "a-path-token-that-nobody-may-see"


def command(number: int, **headers: str) -> NewRecord:
    """Return the nth command."""
    fields = {"command": "refetch", "command_id": f"c{number}", "request_id": REQUEST_ID}
    record = encode(command_event(fields, source="tests", at=NOW))
    more = tuple((name, text.encode()) for name, text in headers.items())
    return NewRecord(record.topic, record.key, record.value, record.headers + more)


def letter(number: int, reason: str = "no_result", *, offset: int = 0) -> NewRecord:
    """Return the dead letter of the nth command, as a worker makes it."""
    made = command(number, ce_faltoken=TOKEN)
    record = Record(Position(Topic.COMMANDS, 1, offset), made.key, made.value, made.headers, NOW)
    outcome = DeadLetter(reason, "fal answered not_found")
    return dead_letter(record, outcome, handler="commands", attempt=2)


def lines(shown) -> list[dict]:
    """Return the JSON lines of standard output."""
    return [json.loads(line) for line in shown.stdout.splitlines()]


def records(folder, *topics: str) -> list[dict]:
    """Return the records of some topics as `events --json` prints them."""
    wanted = [part for topic in topics for part in ("--topic", topic)]
    return lines(folder.run("events", *wanted, "--json"))


def copies(folder, topic: str) -> list[dict]:
    """Return the records of a topic that a replay put there."""
    return [one for one in records(folder, topic) if "ce_falreplay" in one["headers"]]
