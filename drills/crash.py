"""
The crash run: a service killed at random moments under load, held against two sets of books.

Every 2xx is a debt: each acknowledged delivery must stand in the log byte for byte, each
request must end as the simulator's books say, and each submission was sent once. Running
it all again, from the first record, must change nothing.
"""

import asyncio
import random
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

from consumer.app import open_ledger, open_log, utc_now
from consumer.core.command import command_event, submission_id_of
from consumer.core.completion import delivery_from
from consumer.core.event import Topic, decode, encode
from consumer.core.standing import Request, Submission, SubmissionState
from consumer.ledger import Ledger
from consumer.ports import Log, RequestFilter
from consumer.settings import Settings
from consumer.simulator import Simulator, SimulatorConfig, completion_body
from consumer.testing.rig import ServiceProcess

WEIGHTS = {
    "plain": 40,
    "duplicate": 10,
    "late": 6,
    "lost": 16,
    "reordered": 6,
    "error_422": 6,
    "payload_null": 4,
    "stuck": 6,
    "unknown_submit": 3,
    "submit_500": 3,
}
_HORIZON_S = 15.0
_GIVE_UP_S = 240.0
_SETTLE_S = 0.2


@dataclass
class CrashReport:
    """What a crash run counted. `mistakes` is empty when every debt was paid."""

    kills: int = 0
    submits: int = 0
    posted: int = 0
    acknowledged: int = 0
    in_log: int = 0
    requests: int = 0
    submissions_lost: int = 0
    webhooks_acknowledged: int = 0
    ends: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    mistakes: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        ends = ", ".join(f"{count} {end}" for end, count in sorted(self.ends.items()))
        return (
            f"crash run: {self.kills} kills in {self.seconds:.0f} s; "
            f"{self.posted} deliveries posted, {self.acknowledged} acknowledged, "
            f"{self.in_log} of them in the log, 0 expected missing; "
            f"{self.webhooks_acknowledged} webhooks of the simulator acknowledged; "
            f"{self.submits} submits: {self.requests} requests ({ends}), "
            f"{self.submissions_lost} submissions lost: never_confirmed (no answer, no webhook)"
        )


class CrashRun:
    """One run on one folder."""

    def __init__(self, folder: Path, simulator: Simulator, *, seed: int) -> None:
        self._random = random.Random(seed)
        self._simulator = simulator
        self._account = SimulatorConfig(seed=seed).account
        self.service = ServiceProcess(folder, _environ(simulator, self._account))
        self.settings = Settings(data_dir=folder, log_reserve_bytes=0)
        self.report = CrashReport()
        self._debts: dict[tuple[str, str], bytes] = {}
        self._stop = asyncio.Event()

    async def play(self, *, kills: int) -> CrashReport:
        """Kill `kills` times under load, wait for every end, count, run again, count again."""
        began = time.monotonic()
        await self.service.start()
        async with asyncio.TaskGroup() as tasks:
            load = [tasks.create_task(self._submit()), tasks.create_task(self._post())]
            for _ in range(kills):
                await asyncio.sleep(self._random.uniform(0.3, 1.5))
                await self.service.kill()
                self.report.kills += 1
                await self.service.start()
            self._stop.set()
            await asyncio.wait(load)
        await self._until_over()
        assert await self.service.stop() == 0, self.service.last_words()
        first = await self._count()
        await self._replay()
        second = await self._count()
        if first != second:
            changed = [key for key in first if first[key] != second.get(key)]
            self.report.mistakes.append(f"a second run changed {changed[:5]}")
        self.report.seconds = time.monotonic() - began
        return self.report

    # ------------------------------------------------------------ load

    async def _submit(self) -> None:
        """Put submit commands on the log all the while, as another process would."""
        async with _log(self.settings) as log:
            while not self._stop.is_set():
                number = self.report.submits
                fields = {
                    "command": "submit",
                    "command_id": f"crash-{number}",
                    "endpoint": "fal-ai/flux/dev",
                    "input": {"prompt": f"number {number}"},
                    "tags": {"number": str(number)},
                }
                await log.append(encode(command_event(fields, source="crash", at=utc_now())))
                self.report.submits += 1
                await asyncio.sleep(0.05)

    async def _post(self) -> None:
        """Post signed deliveries about requests that nobody tracks, remembering each 2xx."""
        async with aiohttp.ClientSession() as session:
            while not self._stop.is_set():
                batch = [self._post_one(session) for _ in range(8)]
                await asyncio.gather(*batch)
                await asyncio.sleep(0.01)

    async def _post_one(self, session: aiohttp.ClientSession) -> None:
        request_id = f"{self._random.getrandbits(128):032x}"
        payload = {"seed": self._random.getrandbits(64), "text": "x" * self._random.randrange(900)}
        body = completion_body(request_id, payload)
        headers = self._simulator.keys.signing.sign_headers(
            request_id, self._account, int(time.time()), body
        )
        self.report.posted += 1
        url = f"{self.service.url}/webhooks/fal"
        timeout = aiohttp.ClientTimeout(total=15)
        try:
            async with session.post(url, data=body, headers=headers, timeout=timeout) as answer:
                status = answer.status
        except (aiohttp.ClientError, TimeoutError):
            await asyncio.sleep(_SETTLE_S)  # it is down: not acknowledged, no debt
            return
        if status == 200:
            self.report.acknowledged += 1
            self._debts[request_id, headers["X-Fal-Webhook-Signature"]] = body
        elif status != 503:
            self.report.mistakes.append(f"{request_id}: a genuine delivery was answered {status}")

    # ------------------------------------------------------------ the end

    async def _until_over(self) -> None:
        """Wait until nothing is open at the simulator, in the ledger or among the submissions."""
        deadline = time.monotonic() + _GIVE_UP_S
        async with _ledger(self.settings) as ledger:
            while True:
                if await self._is_settled(ledger):
                    return
                if time.monotonic() > deadline:
                    self.report.mistakes.append(f"not over after {_GIVE_UP_S:g} s")
                    return
                await asyncio.sleep(_SETTLE_S)

    async def _is_settled(self, ledger: Ledger) -> bool:
        open_ones = await ledger.requests(RequestFilter(open_only=True, limit=1))
        pending = (SubmissionState.INTENDED, SubmissionState.SENDING, SubmissionState.UNKNOWN)
        waiting = await ledger.submissions(states=pending, limit=1)
        counts = await ledger.counts()
        known = sum(count for name, count in counts.items() if name.startswith("submission:"))
        if open_ones or waiting or known < self.report.submits:
            return False
        held = {request.request_id for request in await _requests(ledger)}
        orphans = await self._orphans(ledger)
        entries = self._simulator.books().requests
        expected = {request_id for request_id, _ in self._debts} | (entries.keys() - orphans)
        are_ended = all(entry.end != "open" for key, entry in entries.items() if key not in orphans)
        return (
            held >= expected and are_ended and not self._simulator.pending()["pending_deliveries"]
        )

    async def _orphans(self, ledger: Ledger) -> set[str]:
        """
        Return the requests that nobody can know of: their submission was killed between claim
        and answer, and no webhook ever named it.
        """
        lost = {
            one.submission_id
            for one in await ledger.submissions(states=(SubmissionState.LOST,), limit=10**6)
        }
        return {
            request_id
            for request_id, entry in self._simulator.books().requests.items()
            if submission_id_of(f"crash-{(entry.tags or '').removeprefix('number=')}") in lost
        }

    async def _count(self) -> dict[str, object]:
        """Hold log and ledger against debts and books; return what a second run must equal."""
        async with _log(self.settings) as log:
            told = await self._check_log(log)
        async with _ledger(self.settings) as ledger:
            requests = await _requests(ledger)
            submissions = list(await ledger.submissions(limit=10**6))
            facts = {
                request.request_id: sorted(
                    fact.id for fact in await ledger.timeline(request.request_id)
                )
                for request in requests
            }
            orphans = await self._orphans(ledger)
        self._check_requests(requests, orphans)
        self._check_submissions(submissions)
        return {
            **{f"result {key}": value for key, value in told.items()},
            **{request.request_id: request.model_dump_json() for request in requests},
            **{one.submission_id: one.model_dump_json() for one in submissions},
            **{f"facts {key}": value for key, value in facts.items()},
            "submits": dict(self._simulator.books().submits_by_webhook),
        }

    async def _check_log(self, log: Log) -> dict[str, bytes]:
        """Check every debt; return the result events by id."""
        missing = dict(self._debts)
        results: dict[str, bytes] = {}
        async for record in log.read([Topic.COMPLETIONS, Topic.DEAD_LETTERS, Topic.RESULTS]):
            event = decode(record.headers, record.value)
            if record.position.topic is Topic.RESULTS:
                results[event.id] = event.data
            elif "falsignature" in event.extensions:
                headers = delivery_from(event).headers
                owed = missing.get((headers.request_id, headers.signature))
                if owed is not None and owed == record.value:
                    del missing[headers.request_id, headers.signature]
        self.report.in_log = len(self._debts) - len(missing)
        self.report.mistakes.extend(
            f"{request_id}: acknowledged, not in the log" for request_id, _ in missing
        )
        return results

    def _check_requests(self, requests: list[Request], orphans: set[str]) -> None:
        held = {request.request_id: request for request in requests}
        books = self._simulator.books()
        self.report.requests = len(books.requests)
        self.report.ends = Counter()
        for request_id, entry in books.requests.items():
            request = held.get(request_id)
            told = request.result.outcome if request and request.result else "nothing"
            self.report.ends[told] += 1
            if request_id in orphans:
                # Nobody may know it: no webhook of it was sent, or none was answered 2xx.
                if request is not None or any(one.answer == 200 for one in entry.attempts):
                    self.report.mistakes.append(f"{request_id}: known, its submission lost")
            elif told != entry.end:
                said = f"{request_id} ({entry.scenario}): fal says {entry.end}, we say {told}"
                self.report.mistakes.append(said)
        self.report.webhooks_acknowledged = sum(
            attempt.answer == 200 for entry in books.requests.values() for attempt in entry.attempts
        )
        for request_id, _ in self._debts:
            if request_id not in held or held[request_id].result is None:
                self.report.mistakes.append(f"{request_id}: acknowledged, no result")

    def _check_submissions(self, submissions: list[Submission]) -> None:
        books = self._simulator.books()
        doubled = [count for count in books.submits_by_webhook.values() if count != 1]
        if doubled:
            self.report.mistakes.append(f"{len(doubled)} submissions were sent more than once")
        if len(submissions) != self.report.submits:
            said = f"{self.report.submits} submits asked for, {len(submissions)} in the ledger"
            self.report.mistakes.append(said)
        states = Counter(one.state for one in submissions)
        self.report.submissions_lost = states[SubmissionState.LOST]
        ended = states[SubmissionState.LOST] + states[SubmissionState.SUBMITTED]
        if ended != len(submissions):
            self.report.mistakes.append(f"submissions without an end: {dict(states)}")

    async def _replay(self) -> None:
        """Let every group begin again at the first record, and wait until it has caught up."""
        for path in (self.service.folder / "log").glob("log-*.sqlite"):
            with closing(sqlite3.connect(path)) as file, file:
                file.execute("DELETE FROM offsets")
        await self.service.start()
        async with _log(self.settings) as log:
            async with asyncio.timeout(_GIVE_UP_S):
                while not await _has_caught_up(log):  # noqa: ASYNC110  another process does it
                    await asyncio.sleep(_SETTLE_S)
        assert await self.service.stop() == 0, self.service.last_words()


async def _has_caught_up(log: Log) -> bool:
    topics = {
        "fetch": [Topic.COMPLETIONS],
        "commands": [Topic.COMMANDS],
        "record": [Topic.COMPLETIONS, Topic.RESULTS, Topic.LIFECYCLE, Topic.DEAD_LETTERS],
    }
    for group, read in topics.items():
        committed = await log.committed(group)
        for place, span in (await log.offsets(read)).items():
            if committed.get(place, 0) < span.stop:
                return False
    return True


async def _requests(ledger: Ledger) -> list[Request]:
    found: list[Request] = []
    while True:
        before = found[-1].request_id if found else ""
        page = await ledger.requests(RequestFilter(limit=1000, before=before))
        found.extend(page)
        if len(page) < 1000:
            return found


def _environ(simulator: Simulator, account: str) -> dict[str, str]:
    return {
        "FAL_KEY": "crash:run",
        "FAL_CONSUMER_ACCOUNTS": account,
        "FAL_CONSUMER_JWKS_URL": simulator.jwks_url,
        "FAL_CONSUMER_QUEUE_URL": simulator.url,
        "FAL_CONSUMER_FIRST_CHECK_S": "1",
        "FAL_CONSUMER_SUBMIT_TIMEOUT_S": "1",
        "FAL_CONSUMER_UNCONFIRMED_AFTER_S": str(_HORIZON_S),
        "FAL_CONSUMER_CANCEL_QUEUED_AFTER": "3",
        "FAL_CONSUMER_LOG_RESERVE_BYTES": "0",
    }


@asynccontextmanager
async def _log(settings: Settings) -> AsyncIterator[Log]:
    async with open_log(settings) as log:
        yield log


@asynccontextmanager
async def _ledger(settings: Settings) -> AsyncIterator[Ledger]:
    async with open_ledger(settings) as ledger:
        yield ledger


async def run_crashes(folder: Path, *, kills: int, seed: int) -> CrashReport:
    """Play one crash run in a folder of its own and return what it counted."""
    config = SimulatorConfig(
        seed=seed, weights=WEIGHTS, time_scale=0.05, late_s=60.0, queue_s=(0.5, 10.0)
    )
    async with Simulator(config) as simulator:
        run = CrashRun(folder, simulator, seed=seed)
        try:
            return await run.play(kills=kills)
        finally:
            await run.service.kill()


def main() -> int:
    """Play a long run and print what it counted; 1 when a debt was not paid."""
    kills = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    with tempfile.TemporaryDirectory(prefix="fal-consumer-crash-") as folder:
        report = asyncio.run(run_crashes(Path(folder) / "data", kills=kills, seed=1))
    print(report)
    for mistake in report.mistakes:
        print(f"does not add up: {mistake}")
    return 1 if report.mistakes else 0


if __name__ == "__main__":
    sys.exit(main())
