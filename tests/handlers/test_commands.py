"""Track and refetch, and what holds for every command: each refusal is told."""

import pytest

from consumer.core.event import NewRecord, Topic, format_time
from consumer.core.policy import DeadLetter, Done, Policies, RetryAt
from consumer.errors import FalRefused, UndecodableEvent
from consumer.ports import ResultAnswer, ResultKind
from tests.handlers.commanding import handled, result_of
from tests.handlers.stage import ENDPOINT, HOUR, MINUTE, R1, R2, SECOND, T0, Stage, World


async def test_track_follows_a_request_of_somebody_else(stage):
    """A tracked request has its endpoint, deadlines and tags, and is due for a check."""
    record = await stage.command(
        "track",
        endpoint=ENDPOINT,
        request_id=R1.upper(),
        tags={"team": "a"},
        finish_by=format_time(T0 + HOUR),
    )

    assert Done() == await handled(stage, record)

    request = await stage.request()
    assert (True, ENDPOINT, {"team": "a"}, T0 + HOUR) == (
        request.is_tracked,
        request.endpoint.value,
        request.tags,
        request.finish_by,
    )
    stage.clock.advance(MINUTE)
    assert 1 == len(await stage.ledger.take_due("check", limit=9, lease=MINUTE))


async def test_refetch_fills_what_was_missing(stage):
    """A refetch asks again, and its answer fills the output that was missing."""
    await stage.tracked()
    stage.fal.answer_next("result", FalRefused(403, "locked"))
    body = b'{"error":null,"payload":null,"request_id":"%s","status":"OK"}' % R1.encode()
    await stage.webhook(body)
    await stage.fetch_all()
    stage.fal.finish(R1, {"seed": 7}, billable_units="2")

    record = await stage.command("refetch", request_id=R1)
    assert Done() == await handled(stage, record)
    await stage.fetch.handle(stage.log.records(Topic.COMPLETIONS)[-1], 1)

    assert [(1, None, None), (2, {"seed": 7}, "2")] == [
        (told["revision"], told["output"], told["billable_units"]) for told in stage.told()
    ]


@pytest.mark.parametrize("kind", [ResultKind.NOT_READY, ResultKind.NOT_FOUND])
async def test_refetch_of_nothing_is_a_dead_letter(stage, kind):
    """A refetch to which fal has no result says what fal answered."""
    await stage.tracked()
    stage.fal.answer_next("result", ResultAnswer(kind))

    outcome = await handled(stage, await stage.command("refetch", request_id=R1))

    assert DeadLetter("no_result", f"fal answered {kind.value}") == outcome


# ---------------------------------------------------------------- every command


@pytest.mark.parametrize("command", [{"command": "cancel", "subject": R1}, {"command": "refetch"}])
async def test_an_unknown_subject_is_looked_for_a_while(stage, command):
    """A command about what nobody knows is retried, then a dead letter."""
    fields = command if "subject" in command else command | {"request_id": R1}
    record = await stage.command(**fields)

    outcomes = [await stage.commands.handle(record, attempt) for attempt in (1, 5, 6)]

    assert [
        RetryAt(T0 + SECOND, "unknown_subject"),
        RetryAt(T0 + 16 * SECOND, "unknown_subject"),
        DeadLetter("unknown_subject", "no such request or submission"),
    ] == outcomes


@pytest.mark.parametrize(
    "command",
    [
        {"command": "track", "endpoint": ENDPOINT, "request_id": R1},
        {"command": "cancel", "subject": R1},
        {"command": "refetch", "request_id": R1},
    ],
    ids=lambda command: command["command"],
)
async def test_without_a_key_other_commands_are_refused(command):
    """Without FAL_KEY track, cancel and refetch are dead letters that say so."""
    stage = Stage(has_key=False)

    outcome = await handled(stage, await stage.command(**command))

    assert DeadLetter("no_fal_key", f"{command['command']} needs FAL_KEY") == outcome


async def test_another_event_among_the_commands_is_undecodable(stage):
    """A record on the commands topic that is no command is refused."""
    event = stage.webhook_record()
    record = await stage.put(NewRecord(Topic.COMMANDS, event.key, event.value, event.headers))

    with pytest.raises(UndecodableEvent):
        await stage.commands.handle(record, 1)


@pytest.mark.parametrize(
    "limits, reason",
    [
        (Policies(max_open_requests=1), "too_many_open"),
        (Policies(max_commands_a_minute=1), "too_many_commands"),
    ],
)
async def test_past_a_limit_a_command_is_refused_with_its_reason(limits, reason):
    """Past a limit a submit ends failed and a track is a dead letter; both name the limit."""
    stage = Stage(World(policies=limits))
    await handled(stage, await stage.submit())

    await handled(stage, await stage.submit(command_id="c2"))
    track = await stage.command("track", command_id="c3", endpoint=ENDPOINT, request_id=R2)
    refused = await handled(stage, track)
    again = await handled(stage, await stage.submit())

    assert 1 == stage.calls("submit")
    assert [("failed", reason)] == [(told[2], told[3]) for told in result_of(stage)]
    assert reason == refused.reason
    assert "FAL_CONSUMER_" in refused.problem
    assert Done() == again  # what was taken before is no new work


async def test_a_limit_a_minute_is_over_with_the_minute():
    """In the next minute commands are taken again."""
    stage = Stage(World(policies=Policies(max_commands_a_minute=1)))
    await handled(stage, await stage.submit())
    stage.clock.advance(MINUTE)

    await handled(stage, await stage.submit(command_id="c2"))

    assert 2 == stage.calls("submit")
