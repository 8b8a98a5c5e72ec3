"""What is tried again: in place where it is due soon, and otherwise parked."""

from datetime import timedelta

from consumer.core.policy import Done, RetryAt
from consumer.errors import FalUnavailable, LedgerUnavailable
from consumer.ports import Position, Record
from consumer.setting_aside import parked_id
from consumer.sweeps.parked import HandleParked
from consumer.testing.ledger import MemoryLedger
from tests.worker.bench import GROUP, TOPIC, Handler, all_committed, never, now, until, working

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


def test_a_place_is_named_by_its_position():
    """The same record parked by two groups is two; parked twice by one, it is one."""
    record = Record(Position(TOPIC, 0, 7), "a", b"", (), now())

    assert parked_id("one", record) == parked_id("one", record)
    assert parked_id("one", record) != parked_id("other", record)


# ---------------------------------------------------------------- what is away or takes too long


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


async def test_a_handler_past_its_deadline_is_cut(bench):
    """A handler that takes too long is cut, and its record parked for a later attempt."""
    handler = Handler(never)
    await bench.put("a", b"1")
    limit = timedelta(milliseconds=20)
    async with working(bench.worker(handler, handler_deadline=limit)):
        await all_committed(bench, 1)

    assert [("deadline", 2)] == [(parked.reason, parked.attempt) for parked in bench.parked()]
    assert 0 == handler.at_once
