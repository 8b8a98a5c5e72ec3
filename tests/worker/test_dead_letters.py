"""Dead letters: which records become one, what it holds, and that none is lost."""

from datetime import timedelta

import pytest

from consumer.core.event import NewRecord, Topic
from consumer.core.policy import DeadLetter, Done, RetryAt
from consumer.errors import (
    BadToken,
    FalRefused,
    InvariantBroken,
    LogUnavailable,
    RecordRefused,
    UndecodableEvent,
)
from tests.worker.bench import HEADERS, TOPIC, Bench, Handler, all_committed, now, working

# ---------------------------------------------------------------- the letter


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


# ---------------------------------------------------------------- errors that end as one


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


async def test_a_log_that_refuses_every_letter_holds_the_record(bench):
    """Where not even a note is taken, the record waits and the worker lives on."""

    async def step(_record, _attempt):
        return DeadLetter("hopeless")

    await bench.put("a", b"1")
    bench.log.refuse_next(RecordRefused(Topic.DEAD_LETTERS, "a policy forbids it"), 4)
    async with working(bench.worker(step)):
        await all_committed(bench, 1)

    assert [b"1"] == [letter.value for letter in bench.letters()]
