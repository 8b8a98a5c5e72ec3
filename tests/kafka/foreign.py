"""What readers in other languages meet: every kind of record, and the programs of the docs."""

import asyncio
import os
import re
import sys
from collections.abc import Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

from aiokafka import AIOKafkaConsumer, TopicPartition

from consumer.core.command import command_event
from consumer.core.completion import completion_of_answer, reconciled_event, webhook_event
from consumer.core.event import NewRecord, Topic, encode
from consumer.core.fact import FactName, Witness, fact_event, new_fact
from consumer.core.key_proof import key_set_event
from consumer.core.keys import parse_keys
from consumer.core.policy import DeadLetter
from consumer.core.replay import Replay, marked
from consumer.core.result import Correlation, bare_result, result_event, result_of
from consumer.core.signature import verify
from consumer.core.token import Token, sign_token
from consumer.log.kafka.administration import open_administration
from consumer.log.kafka.place import KafkaPlace
from consumer.log.kafka.topics import topic_needs
from consumer.ports import Position, Record
from consumer.setting_aside import dead_letter, letter_before_log, without_bytes
from consumer.testing.deliveries import REQUEST_ID, signed_delivery, webhook_body
from consumer.testing.keys import Signer, key_document, key_set

DOCS = Path(__file__).parents[2] / "docs"
NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
SOURCE = "https://queue.fal.run"
SECRETS = (b"s" * 32,)
SIGNER = Signer()
PATIENCE_S = 60.0


def webhook(body: bytes) -> NewRecord:
    """Return the record of a delivery with this body and a callback token."""
    delivery = signed_delivery(SIGNER, body, at=NOW)
    token = Token("fal-ai/flux/dev", "sub_1")
    event = webhook_event(
        verify(delivery, parse_keys(key_document(SIGNER)), now=NOW),
        source=SOURCE,
        token=token,
        raw_token=sign_token(token, SECRETS),
        ours=True,
    )
    return encode(event)


def result() -> NewRecord:
    """Return the record of a result with an output and a file."""
    output = b'{"images": [{"url": "https://v3b.fal.media/a.png"}], "seed": 18446744073709551617}'
    told = result_of(
        completion_of_answer(REQUEST_ID, 200, output, "application/json"),
        Correlation("sub_1", "job-1", "fal-ai/flux/dev", (("customer", "Zo\u00eb"),)),
        witness="result",
        ended_at=NOW,
    )
    return encode(result_event(told, source=SOURCE, at=NOW))


def every_kind() -> list[NewRecord]:
    """Return a record of each kind that can stand on the topics."""
    lost = bare_result(
        "lost",
        Correlation("sub_2"),
        reason="never_confirmed",
        witness="sweep",
        ended_at=NOW,
    )
    html = completion_of_answer(REQUEST_ID, 502, b"<html>", "text/html")
    queued = new_fact(
        FactName.QUEUED, Witness.STATUS, NOW, request_id=REQUEST_ID, detail={"position": 3}
    )
    commands = [
        {
            "command": "submit",
            "command_id": "c-1",
            "endpoint": "a/b",
            "input": {"prompt": "\ud83d"},
        },
        {"command": "track", "command_id": "c-2", "endpoint": "a/b", "request_id": REQUEST_ID},
        {"command": "cancel", "command_id": "c-3", "subject": "sub_1"},
        {"command": "refetch", "command_id": "c-4", "request_id": REQUEST_ID},
    ]
    records = [
        webhook(webhook_body()),
        webhook(webhook_body(status="ERROR", payload=None, error="Invalid status code: 422")),
        encode(reconciled_event(html, source=SOURCE, at=NOW)),
        result(),
        encode(result_event(lost, source=SOURCE, at=NOW)),
        encode(fact_event(queued, SOURCE)),
        encode(key_set_event(key_set(SIGNER, fetched_at=NOW), source=SOURCE, secrets=SECRETS)),
        *(encode(command_event(one, source="shop", at=NOW)) for one in commands),
    ]
    again = Replay("r-1", "Zo\u00eb's disk was full", NOW, "fal-consumer/cli")
    replays = [marked(record, again, of="results/0/1", attempts=2) for record in records[:4]]
    return [*records, *replays, *dead_letters(records[0])]


def dead_letters(record: NewRecord) -> list[NewRecord]:
    """Return a dead letter of each form: the worker's, the receiver's, one without bytes."""
    held = Record(
        Position(record.topic, 0, 17), record.key, record.value, record.headers, appended_at=NOW
    )
    ours = dead_letter(held, DeadLetter("unverified", "no key"), handler="record", attempt=3)
    unreadable = letter_before_log(
        webhook(b"\xff not JSON"), "unreadable_body", origin="receiver", at=NOW
    )
    return [ours, unreadable, without_bytes(ours, len(record.value))]


async def make_topics(place: KafkaPlace) -> None:
    """Make the topics with one partition each."""
    needs = topic_needs(place, max_body_bytes=10 * 1024 * 1024)
    async with open_administration(place) as administration:
        assert [] == await administration.create(needs, partitions=1, dry_run=False)
        await administration.wait_for([one.name for one in needs])


async def read_all(place: KafkaPlace, *topics: Topic) -> list:
    """Return everything on these topics as a plain aiokafka consumer with defaults gets it."""
    names = [TopicPartition(place.topic_prefix + topic, 0) for topic in topics]
    records = []
    async with AIOKafkaConsumer(bootstrap_servers=list(place.servers)) as reader:
        reader.assign(names)
        await reader.seek_to_beginning()
        ends = await reader.end_offsets(names)
        async with asyncio.timeout(PATIENCE_S):
            while any([await reader.position(name) < ends[name] for name in names]):
                got = await reader.getmany(timeout_ms=500)
                records += [record for batch in got.values() for record in batch]
    return records


# ---------------------------------------------------------------- the programs of the docs


def blocks(heading: str) -> list[str]:
    """Return the code blocks that stand in docs/consume.md under a heading."""
    page = (DOCS / "consume.md").read_text(encoding="utf-8")
    rest = page.partition(f"### {heading}\n")[2]
    section = re.split(r"^#+ ", rest, maxsplit=1, flags=re.MULTILINE)[0]
    return re.findall(r"^```\w+\n(.*?)^```", section, flags=re.MULTILINE | re.DOTALL)


def program(heading: str, number: int, place: KafkaPlace) -> list[str]:
    """Return the command that runs a block of the docs against this Kafka, names replaced."""
    text = blocks(heading)[number].replace("localhost:9092", ",".join(place.servers))
    text = text.replace("fal.", place.topic_prefix).replace(f"{place.topic_prefix}billing", group())
    text = text.replace(f"{place.topic_prefix[:-1]}-consumer.", "fal-consumer.")
    if text.startswith("$ "):
        return ["/bin/sh", "-c", re.sub(r"^\$ ", "", text)]
    return [sys.executable, "-c", text]


def group() -> str:
    """Return a group that no other run has."""
    return f"t-{os.urandom(4).hex()}"


@asynccontextmanager
async def running(command: list[str]) -> Iterator[asyncio.subprocess.Process]:
    """Run a program until the end of the block."""
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        limit=64 * 1024 * 1024,
        start_new_session=True,
    )
    try:
        async with asyncio.timeout(PATIENCE_S):
            yield process
    finally:
        if process.returncode is None:
            os.killpg(process.pid, 9)
            await process.wait()


async def lines_of(command: list[str], count: int) -> list[str]:
    """Return the first lines that a program prints."""
    async with running(command) as process:
        return [(await process.stdout.readline()).decode().rstrip("\n") for _ in range(count)]


async def output_of(command: list[str]) -> bytes:
    """Return all that a program prints, once it has ended well."""
    async with running(command) as process:
        said, _ = await process.communicate()
    assert 0 == process.returncode
    return said
