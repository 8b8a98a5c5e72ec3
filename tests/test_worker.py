"""The loop of a group: order, concurrency, and nothing committed before its effect."""

import asyncio
from collections import defaultdict
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta

import pytest

from consumer.core.event import NewRecord, Topic
from consumer.core.policy import DeadLetter, Done, Policies, RetryAt
from consumer.errors import (
    BadToken,
    FalRefused,
    FalUnavailable,
    InvariantBroken,
    LedgerUnavailable,
    LogUnavailable,
    RecordRefused,
    UndecodableEvent,
)
from consumer.ports import Plan, Position, Record
from consumer.sweeps.parked import HandleParked
from consumer.telemetry import Metrics
from consumer.testing.ledger import MemoryLedger
from consumer.testing.log import MemoryLog, MemorySubscription
from consumer.worker import Worker, WorkerLimits, _pause_s, parked_id

SOON_S = 30
GROUP = "tested"
TOPIC = Topic.COMMANDS
HEADERS = (("ce_id", b"1"), ("x", b"\xff"))
QUICK = Policies(retry_base=timedelta(milliseconds=5))


def now() -> datetime:
    return datetime.now(UTC)


class Handler:
    """A group whose step is the test's; it remembers what it was handed."""

    name = GROUP
    topics = (TOPIC,)

    def __init__(self, step=None):
        self.step = step
        self.handed = []
        self.done = []
        self.at_once = 0
        self.most_at_once = 0

    async def handle(self, record, attempt):
        self.handed.append((record.key, record.value, attempt))
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            outcome = await self.step(record, attempt) if self.step else Done()
        finally:
            self.at_once -= 1
        self.done.append(record.value)
        return outcome


class Bench:
    """A log, a ledger, and workers of one group on them, one after another."""

    def __init__(self, *, max_record_bytes: int = 1 << 20):
        self.clock = now
        self.log = MemoryLog(clock=now, max_record_bytes=max_record_bytes)
        self.ledger = MemoryLedger(plan=lambda _request, _now: Plan(), clock=now)

    def worker(self, step=None, **limits) -> Worker:
        return Worker(
            step if isinstance(step, Handler) else Handler(step),
            self.log,
            self.ledger,
            clock=self.read_clock,
            policies=QUICK,
            metrics=Metrics(),
            limits=WorkerLimits(**limits),
        )

    def read_clock(self) -> datetime:
        return self.clock()

    async def put(self, key: str, *values: bytes) -> None:
        for value in values:
            await self.log.append(NewRecord(TOPIC, key, value, HEADERS))

    async def committed(self) -> int:
        """Return how many records the group need not read again."""
        return sum((await self.log.committed(GROUP)).values())

    def letters(self):
        return self.log.records(Topic.DEAD_LETTERS)

    def parked(self):
        return list(self.ledger.rows.parked.values())


@pytest.fixture
def bench() -> Bench:
    return Bench()


@asynccontextmanager
async def working(worker: Worker):
    """Let the worker run; at the end it is killed."""
    running = asyncio.create_task(worker.run(asyncio.Event()))
    try:
        yield running
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running


async def until(holds) -> None:
    """Return when the condition holds, which may be a coroutine function."""
    async with asyncio.timeout(SOON_S):
        while True:
            found = holds()
            if await found if asyncio.iscoroutine(found) else found:
                return
            await asyncio.sleep(0.002)


async def all_committed(bench: Bench, count: int) -> None:
    async def is_so():
        return await bench.committed() == count

    await until(is_so)


def never(_record, _attempt):
    return asyncio.Event().wait()


# ---------------------------------------------------------------- order and concurrency


async def test_records_of_a_key_are_handled_in_order(bench):
    """The records of one key are handled one after another, whatever each one takes."""
    seen = defaultdict(list)

    async def step(record, _attempt):
        await asyncio.sleep(0.004 if record.value == b"0" else 0)
        seen[record.key].append(record.value)
        return Done()

    worker = bench.worker(step)
    for n in range(6):
        for key in ("a", "b", "c"):
            await bench.put(key, b"%d" % n)

    async with working(worker):
        await all_committed(bench, 18)

    assert {key: [b"%d" % n for n in range(6)] for key in ("a", "b", "c")} == seen


async def test_keys_are_handled_at_once_up_to_a_limit(bench):
    """Different keys are handled at once, up to the limit and no further."""
    gate = asyncio.Event()

    async def step(_record, _attempt):
        await gate.wait()
        return Done()

    handler = Handler(step)
    for n in range(10):
        await bench.put(f"key-{n}", b"x")

    async with working(bench.worker(handler, concurrency=4)):
        await until(lambda: handler.at_once == 4)
        gate.set()
        await all_committed(bench, 10)

    assert 4 == handler.most_at_once


async def test_a_slow_key_holds_only_itself(bench):
    """While one key hangs, others are handled, and the low-water mark stays before it."""

    async def step(record, _attempt):
        if record.value == b"hangs":
            await asyncio.Event().wait()
        return Done()

    bench.log.store.partitions = 1
    await bench.put("a", b"1")
    await bench.put("slow", b"hangs")
    await bench.put("b", b"2", b"3")
    handler = Handler(step)

    async with working(bench.worker(handler)):
        await until(lambda: handler.done == [b"1", b"2", b"3"])
        await all_committed(bench, 1)

    assert 1 == await bench.committed()


# ---------------------------------------------------------------- commits and kills


async def test_nothing_is_committed_before_its_effect(bench):
    """A record in hand is not committed, and comes again after a kill."""
    await bench.put("a", b"1")
    first = Handler(never)
    async with working(bench.worker(first)):
        await until(lambda: first.handed)
    before = await bench.committed()

    second = Handler()
    async with working(bench.worker(second)):
        await all_committed(bench, 1)

    assert 0 == before
    assert [("a", b"1", 1)] == second.handed


class DeafLog(MemoryLog):
    """A log that refuses the next `refusals` commits."""

    refusals = 0

    @asynccontextmanager
    async def subscribe(self, group, topics):
        subscription = MemorySubscription(self, group, topics)
        commit = subscription.commit

        async def refusing(offsets):
            if self.refusals:
                self.refusals -= 1
                raise LogUnavailable("away")
            await commit(offsets)

        subscription.commit = refusing
        yield subscription


async def test_a_kill_between_effect_and_commit_repeats_the_effect(bench):
    """What was done but not committed is done again, and nothing is skipped."""
    bench.log = DeafLog(clock=now, store=bench.log.store)
    bench.log.refusals = 10**6
    await bench.put("a", b"1", b"2")
    first, second = Handler(), Handler()
    async with working(bench.worker(first)):
        await until(lambda: first.done == [b"1", b"2"])

    bench.log.refusals = 0
    async with working(bench.worker(second)):
        await all_committed(bench, 2)

    assert [b"1", b"2"] == second.done


async def test_a_commit_that_failed_is_tried_again(bench):
    """A commit that the log did not take is made later, though no further record comes."""
    bench.log = DeafLog(clock=now, store=bench.log.store)
    bench.log.refusals = 1
    await bench.put("a", b"1")

    async with working(bench.worker()):
        await all_committed(bench, 1)

    assert 0 == bench.log.refusals


# ---------------------------------------------------------------- retries and parking


async def test_a_short_retry_happens_in_place(bench):
    """A retry that is due soon keeps its key's order and counts its attempts."""

    async def step(record, attempt):
        if record.value == b"1" and attempt < 3:
            return RetryAt(now() + timedelta(milliseconds=5), "soon")
        return Done()

    handler = Handler(step)
    await bench.put("a", b"1", b"2")

    async with working(bench.worker(handler)):
        await all_committed(bench, 2)

    assert [("a", b"1", 1), ("a", b"1", 2), ("a", b"1", 3), ("a", b"2", 1)] == handler.handed
    assert [] == bench.parked()


async def test_a_long_retry_is_parked_and_the_partition_goes_on(bench):
    """A retry that is due later is parked whole, with its time; the next record is handled."""
    due = now() + timedelta(hours=1)

    async def step(record, _attempt):
        return RetryAt(due, "not yet") if record.value == b"1" else Done()

    handler = Handler(step)
    await bench.put("a", b"1", b"2")
    async with working(bench.worker(handler)):
        await all_committed(bench, 2)

    [parked] = bench.parked()
    [original, _] = bench.log.records(TOPIC)
    assert (original, GROUP, 2, "not yet", due) == (
        parked.record,
        parked.group,
        parked.attempt,
        parked.reason,
        parked.due_at,
    )
    assert [b"1", b"2"] == handler.done


async def test_parked_records_come_back_with_their_attempts(bench):
    """A parked record comes back when it is due, its attempts count on, then it is unparked."""
    hour = timedelta(hours=1)

    async def step(_record, attempt):
        return Done() if attempt == 3 else RetryAt(bench.clock() + hour, "not yet")

    worker = bench.worker(step)
    sweep = HandleParked(worker, bench.ledger)
    await bench.put("a", b"1")
    async with working(worker):
        await all_committed(bench, 1)

    taken = [await sweep.round()]
    for hours in (1, 2):
        shift = hours * hour + timedelta(minutes=1)
        bench.clock = lambda shift=shift: now() + shift
        bench.ledger = MemoryLedger(
            plan=bench.ledger._plan, clock=bench.clock, rows=bench.ledger.rows
        )
        sweep = HandleParked(worker, bench.ledger)
        taken.append(await sweep.round())

    assert [0, 1, 1] == taken
    assert [1, 2, 3] == [attempt for _, _, attempt in worker.handler.handed]
    assert [] == bench.parked()


async def test_a_parked_record_may_end_as_a_dead_letter(bench):
    """A parked record that cannot be used becomes a dead letter with all its attempts."""

    async def step(_record, attempt):
        if attempt == 1:
            return RetryAt(now() + timedelta(seconds=3), "not yet")
        return DeadLetter("hopeless")

    worker = bench.worker(step)
    await bench.put("a", b"1")
    async with working(worker):
        await all_committed(bench, 1)

    bench.log.refuse_next(LogUnavailable("away"))
    with pytest.raises(LogUnavailable):
        await worker.handle_parked(bench.parked()[0])
    still_parked = len(bench.parked())
    await worker.handle_parked(bench.parked()[0])

    assert 1 == still_parked
    assert [b"2"] == [dict(letter.headers)["dlattempts"] for letter in bench.letters()]
    assert [] == bench.parked()


async def test_while_the_ledger_is_away_a_record_is_held(bench):
    """A record that cannot be parked is held, uncommitted, until it can be."""
    tries = []

    async def step(_record, _attempt):
        tries.append(await bench.committed())
        return RetryAt(now() + timedelta(hours=1), "not yet")

    bench.ledger.refuse_next(LedgerUnavailable("away"), 3)
    await bench.put("a", b"1")
    async with working(bench.worker(step)):
        await all_committed(bench, 1)

    assert [0, 0, 0, 0] == tries
    assert 1 == len(bench.parked())


async def test_a_kill_while_the_ledger_is_away_loses_nothing(bench):
    """A record that was held at a kill comes again."""
    bench.ledger.refuse_next(LedgerUnavailable("away"), 10**6)

    async def step(_record, _attempt):
        return RetryAt(now() + timedelta(hours=1), "not yet")

    handler = Handler(step)
    await bench.put("a", b"1")
    async with working(bench.worker(handler)):
        await until(lambda: len(handler.handed) > 1)

    assert 0 == await bench.committed()


# ---------------------------------------------------------------- dead letters


async def test_a_dead_letter_is_whole(bench):
    """A dead letter holds the bytes, headers, reason, attempts and origin of its record."""

    async def step(_record, attempt):
        if attempt == 1:
            return RetryAt(now(), "again")
        return DeadLetter("hopeless", "it says no")

    await bench.put("a", b"\x00whole\xff")
    async with working(bench.worker(step)):
        await all_committed(bench, 1)

    [letter], [original] = bench.letters(), bench.log.records(TOPIC)
    origin = f"commands/{original.position.partition}/0".encode()
    added = (
        ("dlreason", b"hopeless"),
        ("dlproblem", b"it says no"),
        ("dlhandler", b"tested"),
        ("dlattempts", b"2"),
        ("dlorigin", origin),
    )
    assert ("a", b"\x00whole\xff", HEADERS + added) == (letter.key, letter.value, letter.headers)


async def test_a_dead_letter_is_durable_before_its_record_is_done(bench):
    """While the log takes no dead letter, the record is held and tried again."""
    tries = []

    async def step(_record, _attempt):
        tries.append(await bench.committed())
        return DeadLetter("hopeless")

    await bench.put("a", b"1")
    bench.log.refuse_next(LogUnavailable("away"), 2)
    async with working(bench.worker(step)):
        await all_committed(bench, 1)

    assert [0, 0, 0] == tries
    assert 1 == len(bench.letters())


async def test_a_dead_letter_over_the_limit_is_a_note():
    """Where the reason makes a letter too large, a note without bytes stands for it."""
    bench = Bench(max_record_bytes=200)

    async def step(_record, _attempt):
        return DeadLetter("hopeless")

    await bench.put("a", b"x" * 120)
    async with working(bench.worker(step)):
        await all_committed(bench, 1)

    [letter] = bench.letters()
    assert (b"", b"hopeless", b"120") == (
        letter.value,
        dict(letter.headers)["dlreason"],
        dict(letter.headers)["dlomitted"],
    )


async def test_what_is_dead_already_is_not_written_again(bench):
    """A dead letter that its own handler cannot use stays where it is, once."""

    async def step(_record, _attempt):
        return DeadLetter("hopeless")

    handler = Handler(step)
    handler.topics = (Topic.DEAD_LETTERS,)
    await bench.log.append(NewRecord(Topic.DEAD_LETTERS, "a", b"1", HEADERS))

    async with working(bench.worker(handler)):
        await all_committed(bench, 1)

    assert 1 == len(bench.letters())


@pytest.mark.parametrize(
    "error, reason",
    [
        (UndecodableEvent("data", "not JSON"), b"undecodable"),
        (FalRefused(403, "no"), b"fal_refused"),
        (RecordRefused("results", "too large"), b"record_refused"),
    ],
)
async def test_errors_that_stay_are_dead_letters(bench, error, reason):
    """An error that would come again makes a dead letter under its code, at once."""

    async def step(_record, _attempt):
        raise error

    await bench.put("a", b"1")
    async with working(bench.worker(step)):
        await all_committed(bench, 1)

    told = [dict(letter.headers) for letter in bench.letters()]
    assert [(reason, b"1")] == [(t["dlreason"], t["dlattempts"]) for t in told]


async def test_what_is_unavailable_is_tried_again(bench):
    """An error of the world is retried; one that names a long wait is parked until then."""

    async def step(record, attempt):
        if record.value == b"long":
            raise FalUnavailable("busy", retry_after_s=600)
        if attempt == 1:
            raise FalUnavailable("busy")
        return Done()

    handler = Handler(step)
    await bench.put("a", b"short", b"long")
    began = now()
    async with working(bench.worker(handler)):
        await all_committed(bench, 2)

    assert [("a", b"short", 1), ("a", b"short", 2), ("a", b"long", 1)] == handler.handed
    [parked] = bench.parked()
    assert timedelta(minutes=10) <= parked.due_at - began < timedelta(minutes=11)


@pytest.mark.parametrize(
    "error", [KeyError("ours"), InvariantBroken("ours"), BadToken("let through")]
)
async def test_a_mistake_of_ours_does_not_end_the_service(bench, error):
    """An unexpected error is retried, then a dead letter `internal_error`; others go on."""

    async def step(record, _attempt):
        if record.value == b"bad":
            raise error
        return Done()

    handler = Handler(step)
    await bench.put("a", b"bad", b"good")
    async with working(bench.worker(handler)) as running:
        await all_committed(bench, 2)
        assert not running.done()

    told = [dict(letter.headers) for letter in bench.letters()]
    assert [(b"internal_error", type(error).__name__.encode(), b"5")] == [
        (t["dlreason"], t["dlproblem"], t["dlattempts"]) for t in told
    ]
    assert [b"good"] == handler.done


async def test_a_handler_past_its_deadline_is_cut(bench):
    """A handler that takes too long is cut, and its record parked for a later attempt."""
    handler = Handler(never)
    await bench.put("a", b"1")
    limit = timedelta(milliseconds=20)
    async with working(bench.worker(handler, handler_deadline=limit)):
        await all_committed(bench, 1)

    assert [("deadline", 2)] == [(parked.reason, parked.attempt) for parked in bench.parked()]
    assert 0 == handler.at_once


# ---------------------------------------------------------------- bounds and stopping


@pytest.mark.parametrize("limits", [{"max_in_hand": 5}, {"max_in_hand_bytes": 50}])
async def test_no_more_is_taken_than_fits(bench, limits):
    """While the bound is reached no record is taken; when one is done the next is."""
    gate = asyncio.Event()

    async def step(_record, _attempt):
        await gate.wait()
        return Done()

    handler = Handler(step)
    bench.log.store.partitions = 1
    for n in range(5):
        await bench.put(f"key-{n}", b"0123456789")
    async with working(bench.worker(handler, **limits)):
        await until(lambda: handler.at_once == 5)
        for n in range(5, 40):
            await bench.put(f"key-{n}", b"0123456789")
        await asyncio.sleep(0)
        most = len(handler.handed)
        gate.set()
        await all_committed(bench, 40)

    assert 5 == most


async def test_a_full_worker_waits_without_spinning(bench):
    """While it is full and a commit takes its time, the loop is not kept busy."""
    turns = 0
    committing, gate = asyncio.Event(), asyncio.Event()

    class SlowSubscription(MemorySubscription):
        async def commit(self, offsets):
            committing.set()
            await gate.wait()
            await super().commit(offsets)

    class StuckLog(MemoryLog):
        @asynccontextmanager
        async def subscribe(self, group, topics):
            yield SlowSubscription(self, group, topics)

    async def step(record, _attempt):
        return Done() if record.value == b"1" else await never(record, 1)

    bench.log = StuckLog(clock=now, store=bench.log.store)
    await bench.put("a", b"1", b"2" * 100)
    worker = bench.worker(step, max_in_hand_bytes=50)

    class Counted(Worker):
        async def _wait_for_room(self, stopped):
            nonlocal turns
            turns += 1
            await super()._wait_for_room(stopped)

    worker.__class__ = Counted
    async with working(worker):
        await asyncio.wait_for(committing.wait(), SOON_S)
        for _ in range(100):
            await asyncio.sleep(0)
        gate.set()

    assert turns < 5


class SlowLog(MemoryLog):
    """A log whose commits take a while."""

    @asynccontextmanager
    async def subscribe(self, group, topics):
        subscription = MemorySubscription(self, group, topics)
        commit = subscription.commit

        async def slow(offsets):
            for _ in range(10):
                await asyncio.sleep(0)
            await commit(offsets)

        subscription.commit = slow
        yield subscription


async def test_a_stop_drains_what_is_in_hand(bench):
    """A stop finishes what is in hand, and commits it before the subscription ends."""
    gate, stop = asyncio.Event(), asyncio.Event()

    class Draining(Worker):
        async def _drain(self):
            gate.set()
            await super()._drain()

    async def step(_record, _attempt):
        await gate.wait()
        return Done()

    bench.log = SlowLog(clock=now, store=bench.log.store)
    handler = Handler(step)
    worker = bench.worker(handler)
    worker.__class__ = Draining
    await bench.put("a", b"1", b"2")
    running = asyncio.create_task(worker.run(stop))
    await until(lambda: handler.handed)
    stop.set()
    async with asyncio.timeout(SOON_S):
        await running

    assert 2 == await bench.committed()


async def test_a_stop_keeps_to_its_budget(bench):
    """What the budget does not finish is cut, stays uncommitted, and comes again."""
    stop = asyncio.Event()

    async def step(record, _attempt):
        return Done() if record.value == b"1" else await never(record, 1)

    first, second = Handler(step), Handler()
    await bench.put("a", b"1", b"2")
    budget = timedelta(milliseconds=30)
    running = asyncio.create_task(bench.worker(first, stop_budget=budget).run(stop))
    await until(lambda: len(first.handed) == 2)
    stop.set()
    async with asyncio.timeout(SOON_S):
        await running
    committed = await bench.committed()

    async with working(bench.worker(second)):
        await all_committed(bench, 2)

    assert (1, 0) == (committed, first.at_once)
    assert [b"2"] == second.done


class AbsentLog(MemoryLog):
    """A log whose polls fail; `failures` of them, then it is back."""

    failures = 0

    @asynccontextmanager
    async def subscribe(self, group, topics):
        subscription = MemorySubscription(self, group, topics)
        poll = subscription.poll

        async def failing(**named):
            if self.failures:
                self.failures -= 1
                raise LogUnavailable("away")
            return await poll(**named)

        subscription.poll = failing
        yield subscription


async def test_a_log_that_is_away_is_asked_again(bench):
    """A worker survives a log that gives nothing, and goes on when it is back."""
    bench.log = AbsentLog(clock=now, store=bench.log.store)
    bench.log.failures = 2
    await bench.put("a", b"1")

    async with working(bench.worker()):
        await all_committed(bench, 1)


def test_the_pause_is_bounded_however_long_the_log_is_away():
    """The pause doubles up to five seconds, after any number of failures."""
    assert [0.2, 0.4, 0.8] == [_pause_s(n) for n in (1, 2, 3)]
    assert 5.0 == _pause_s(10**6)


def test_a_place_is_named_by_its_position():
    """The same record parked by two groups is two; parked twice by one, it is one."""
    record = Record(Position(TOPIC, 0, 7), "a", b"", (), now())

    assert parked_id("one", record) == parked_id("one", record)
    assert parked_id("one", record) != parked_id("other", record)
