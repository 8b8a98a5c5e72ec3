"""
What a worker on Kafka spends on a record: `record` into SQLite, and `fetch` with fal near by.

    python benchmarks/worker_kafka.py [--rounds 5] [--jobs 2000] [--handlers record fetch]

Each worker is a `fal-consumer work` of its own with topics of its own, on a real broker started
here. `record` sees what a submitted job leaves in the log: three facts, the signed webhook, the
result. `fetch` sees the webhooks alone; a stand-in of fal in another process answers it at once.
CPU is the worker's, all threads, from the first record to the commit of the last.
"""

import argparse
import asyncio
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import uuid4

from aiohttp import web
from harness import ACCOUNT, Child, KeySetServer, cpu_s, signed_body
from yarl import URL

from consumer.app.cluster import open_kafka_log
from consumer.app.topics import MakeOrder, make_topics
from consumer.app.values import utc_now
from consumer.core.completion import parse_webhook, webhook_event
from consumer.core.event import NewRecord, Topic, encode
from consumer.core.fact import FactName, Witness, fact_event, new_fact
from consumer.core.result import Correlation, result_event, result_of
from consumer.core.signature import verify
from consumer.core.token import Token, sign_token
from consumer.devservers import open_kafka
from consumer.handlers.fetch import Fetch
from consumer.handlers.record import RecordEvents
from consumer.log.kafka.log import KafkaLog
from consumer.settings import Settings
from consumer.telemetry import configure_logs
from consumer.testing.deliveries import signed_delivery
from consumer.testing.keys import Signer, key_set
from consumer.testing.rig import environ_of

PARTITIONS = 12
ENDPOINT = "fal-ai/flux/dev"
SOURCE = "https://queue.fal.run"
HANDLERS = (RecordEvents.name, Fetch.name)
_TOKEN_SECRET = "benchmark " * 4  # signs nothing but what is made here
_AT_ONCE = 256
_LOOK_EVERY_S = 0.1
_ROUND_TIMEOUT_S = 300.0


@dataclass(frozen=True)
class Found:
    """One round of one worker."""

    records: int
    cpu_s: float
    took_s: float


# ---------------------------------------------------------------- the records


@dataclass(frozen=True)
class Maker:
    """Makes the records of jobs as the service itself makes them."""

    signer: Signer
    source: str

    def job(self) -> list[NewRecord]:
        """Return the records of one job, its webhook last but one, the result last."""
        request_id, body = signed_body()
        command_id, now = str(uuid4()), datetime.now(UTC)
        submission_id = sha256(command_id.encode()).hexdigest()[:40]
        token = Token(ENDPOINT, submission_id)
        detail = {
            "endpoint": ENDPOINT,
            "command_id": command_id,
            "tags": {"customer": "42"},
            "input_sha256": sha256(body).hexdigest(),
            "start_by": None,
            "finish_by": None,
            "has_callback": True,
        }
        facts = [
            new_fact(name, Witness.COMMAND, now, submission_id=submission_id, detail=detail)
            for name in (FactName.INTENDED, FactName.SENDING)
        ]
        facts.append(
            new_fact(
                FactName.SUBMITTED,
                Witness.SUBMIT,
                now,
                request_id=request_id,
                submission_id=submission_id,
                detail=detail,
            )
        )
        correlation = Correlation(submission_id, command_id, ENDPOINT, (("customer", "42"),))
        result = result_of(
            parse_webhook(body, request_id), correlation, witness="webhook", ended_at=now
        )
        return [
            *(encode(fact_event(fact, SOURCE)) for fact in facts),
            self._webhook(request_id, body, now, token),
            encode(result_event(result, source=SOURCE, at=now)),
        ]

    def _webhook(self, request_id: str, body: bytes, now: datetime, token: Token) -> NewRecord:
        delivery = signed_delivery(
            self.signer, body, at=now, request_id=request_id, account=ACCOUNT
        )
        verified = verify(delivery, key_set(self.signer).keys, now=now)
        raw = sign_token(token, [_TOKEN_SECRET.strip().encode()])
        return encode(
            webhook_event(verified, source=self.source, token=token, raw_token=raw, ours=True)
        )


# ---------------------------------------------------------------- the stand-in of fal


async def _answer(request: web.Request) -> web.Response:
    images = [{"url": f"https://x.test/{request.path}", "content_type": "image/png"}]
    return web.json_response({"images": images}, headers={"x-fal-billable-units": "1"})


def serve_results(port: int) -> None:
    """Answer every question for a result at once."""
    app = web.Application()
    app.router.add_get("/{path:.*}", _answer)
    web.run_app(app, host="127.0.0.1", port=port, access_log=None, print=None)


# ---------------------------------------------------------------- the measuring


@dataclass(frozen=True)
class Stage:
    """One worker with its log, running."""

    handler: str
    worker: Child
    log: KafkaLog

    async def round(self, records: Sequence[NewRecord]) -> Found:
        """Write the records, and return once the worker has committed them all."""
        ends_at = await self._committed() + len(records)
        before_s, began = cpu_s(self.worker.pid), time.perf_counter()
        waiting = iter(records)
        async with asyncio.timeout(_ROUND_TIMEOUT_S):
            async with asyncio.TaskGroup() as tasks:
                for _ in range(_AT_ONCE):
                    tasks.create_task(self._append_all(waiting))
            while await self._committed() < ends_at:  # noqa: ASYNC110  asked of the broker
                await asyncio.sleep(_LOOK_EVERY_S)
        took_s = time.perf_counter() - began
        return Found(len(records), cpu_s(self.worker.pid) - before_s, took_s)

    async def _append_all(self, waiting: Any) -> None:
        for record in waiting:
            await self.log.append(record)

    async def _committed(self) -> int:
        return sum((await self.log.committed(self.handler)).values())


@asynccontextmanager
async def _open_stage(handler: str, folder: Path, chosen: dict[str, Any]) -> AsyncIterator[Stage]:
    mine = chosen | {"topic_prefix": f"{handler}."}
    settings = Settings(**mine)
    await make_topics(settings, MakeOrder(partitions=PARTITIONS))
    own = {
        "FAL_CONSUMER_CONSOLE_LISTEN": "127.0.0.1:{port}",
        "FAL_CONSUMER_DATA_DIR": str(folder / handler),
        "FAL_CONSUMER_LOG_FORMAT": "json",
        "FAL_KEY": "benchmark-key:benchmark-secret",
    }
    arguments = ["-m", "consumer", "work", "--handlers", handler]
    worker = Child(folder / f"{handler}.log", arguments, environ_of(mine) | own)
    async with worker, open_kafka_log(settings, utc_now) as log:
        yield Stage(handler, worker, log)


async def measure(handlers: Sequence[str], rounds: int, jobs: int, folder: Path) -> None:
    """Start everything, play the rounds, and print what was found."""
    signer = Signer()
    secrets = folder / "token-secrets"
    secrets.write_text(_TOKEN_SECRET)
    async with AsyncExitStack() as stack:
        kafka = await stack.enter_async_context(open_kafka(folder / "kafka"))
        keys = await stack.enter_async_context(KeySetServer(signer))
        fal = await stack.enter_async_context(
            Child(folder / "fal.log", [__file__, "--serve-results", "{port}"])
        )
        chosen = {
            "accounts": (ACCOUNT,),
            "jwks_url": keys.url,
            "kafka_single_broker": True,
            "log_url": f"kafka://{kafka.servers}",
            "queue_url": f"http://127.0.0.1:{fal.port}",
            "token_secrets_file": secrets,
        }
        stages = [
            await stack.enter_async_context(_open_stage(handler, folder, chosen))
            for handler in handlers
        ]
        maker = Maker(signer, str(URL(keys.url).origin()))
        found: dict[str, list[Found]] = {handler: [] for handler in handlers}
        for number in range(rounds + 1):
            for stage in stages:
                made = [maker.job() for _ in range(jobs)]
                records = [one for job in made for one in _seen_by(stage.handler, job)]
                one = await stage.round(records)
                if number:  # the first round warms up
                    found[stage.handler].append(one)
    for handler, rows in found.items():
        _tell(handler, rows)


def _seen_by(handler: str, job: list[NewRecord]) -> list[NewRecord]:
    if handler == RecordEvents.name:
        return job
    return [one for one in job if one.topic is Topic.COMPLETIONS]


def _tell(handler: str, rows: Sequence[Found]) -> None:
    cpu_us = statistics.median(row.cpu_s / row.records for row in rows) * 1e6
    rate = statistics.median(row.records / row.took_s for row in rows)
    aim = " (aim 2,000)" if handler == RecordEvents.name else ""
    print(
        f"{handler:8} {rows[0].records:6} records a round: {cpu_us:6.0f} us CPU each, "
        f"{1e6 / cpu_us:6,.0f} records per CPU-second{aim}, {rate:6,.0f}/s"
    )


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=2_000)
    parser.add_argument("--handlers", nargs="+", choices=HANDLERS, default=HANDLERS)
    parser.add_argument("--serve-results", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve_results:
        serve_results(given.serve_results)
        return
    configure_logs(level="error", format="json")
    print(f"{given.jobs} jobs a round, medians of {given.rounds} interleaved rounds, one broker")
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(measure(given.handlers, given.rounds, given.jobs, Path(folder)))


if __name__ == "__main__":
    main()
