"""Putting back what was handled, or set aside, while the service runs: marked, and harmless."""

import asyncio
import json
import os
import sys
from dataclasses import dataclass

import pytest

from consumer.core.command import submission_id_of
from consumer.core.event import Topic
from consumer.core.replay import letter_of, replay_in
from consumer.core.standing import SubmissionState
from consumer.settings import Settings, env_name
from tests.end_to_end.stage import Stage, until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

EVERYTHING = ("--from", "2026-01-01T00:00:00Z", "--reason", "a test of replays")
_LOG = ("data_dir", "log_url", "topic_prefix", "kafka_single_broker", "token_secrets_file")


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    stdout: str
    stderr: str


async def run(settings: Settings, *arguments: str, stdin: str = "") -> Ended:
    """Run the command as an operator would, on the log of these settings."""
    ours = {env_name(field): getattr(settings, field) for field in _LOG}
    kept = {name: value for name, value in os.environ.items() if not name.startswith("FAL_")}
    environ = kept | {name: str(value) for name, value in ours.items() if value is not None}
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "consumer", *arguments),
        env=environ,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await child.communicate(stdin.encode())
    return Ended(child.returncode, out.decode(), err.decode())


async def handled(stage: Stage, group: str, topic: Topic) -> None:
    """Wait until a group has finished everything that stands on a topic."""

    async def look() -> bool:
        spans = await stage.log.offsets([topic])
        committed = await stage.log.committed(group)
        return all(committed.get(place, 0) >= span.stop for place, span in spans.items() if span)

    await until(look)


async def put_back(stage: Stage, *topics: Topic) -> dict[str, int]:
    """Replay topics whole and return how many records each one had."""
    counts = {}
    for topic in topics:
        name = f"{stage.settings.topic_prefix}{topic}"
        ended = await run(stage.settings, "replay", "--topic", name, *EVERYTHING, "--json")
        assert 0 == ended.code, ended.stderr
        counts[topic.value] = json.loads(ended.stdout)["records"]
    return counts


async def test_a_replayed_submit_is_not_sent_again(open_either):
    """A submit that is put back, twice, sends no second job and tells no second result."""
    async with open_either() as stage:
        await stage.submit("one")
        await stage.ended(await stage.only_request())

        counts = [await put_back(stage, Topic.COMMANDS) for _ in range(2)]
        await handled(stage, "commands", Topic.COMMANDS)

        assert [{"commands": 1}] * 2 == counts
        assert 3 == len(await stage.records(Topic.COMMANDS))
        assert 1 == len(stage.simulator.books().requests)
        assert 1 == len(await stage.records(Topic.RESULTS))


async def test_a_lost_ledger_does_not_make_a_replay_send(open_stage):
    """With the ledger gone nobody can say that a submit was sent: a replay sends nothing."""
    async with open_stage() as stage:
        await stage.submit("one")
        await stage.ended(await stage.only_request())
        folder = stage.settings.data_dir
    for path in folder.glob("ledger.sqlite*"):
        path.unlink()

    async with open_stage() as stage:
        await put_back(stage, Topic.COMMANDS)
        await handled(stage, "commands", Topic.COMMANDS)

        async def look():
            return await stage.ledger.submission(submission_id_of("one"))

        submission = await until(look)
        assert {} == stage.simulator.books().requests
        assert (SubmissionState.UNKNOWN, "replayed") == (submission.state, submission.reason)


async def test_a_replay_of_what_was_told_changes_nothing(open_either):
    """Completions, facts and results that are put back leave ledger and results as they were."""
    async with open_either() as stage:
        await stage.submit("one")
        request = await stage.ended(await stage.only_request())
        facts = await stage.ledger.timeline(request.request_id)

        counts = await put_back(stage, Topic.COMPLETIONS, Topic.LIFECYCLE, Topic.RESULTS)
        await handled(stage, "fetch", Topic.COMPLETIONS)
        for topic in (Topic.COMPLETIONS, Topic.LIFECYCLE, Topic.RESULTS):
            await handled(stage, "record", topic)

        assert (1, 1) == (counts["completions"], counts["results"])
        assert request == await stage.request(request.request_id)
        assert facts == await stage.ledger.timeline(request.request_id)
        assert 1 == len(await stage.ledger.evidence(request.request_id))
        results = await stage.records(Topic.RESULTS)
        assert [True, False] == [replay_in(record.headers) is None for record in results]
        assert results[0].value == results[1].value


async def test_a_replayed_completion_is_still_evidence(open_either):
    """Anybody can verify the copy as well: signed bytes and headers ride along untouched."""
    async with open_either() as stage:
        await stage.submit("one")
        await stage.ended(await stage.only_request())
        await put_back(stage, Topic.COMPLETIONS)

        name = f"{stage.settings.topic_prefix}completions"
        listed = await run(stage.settings, "events", "--topic", name, "--json")
        copy = listed.stdout.splitlines()[-1]
        verified = await run(stage.settings, "verify", "--record", "-", stdin=copy)

        assert "ce_falreplay" in json.loads(copy)["headers"]
        assert 0 == verified.code, verified.stderr


async def test_a_dead_letter_that_dies_again_counts_on(open_either):
    """An unreadable body that is put back in vain is a second letter, its attempts counted on."""
    async with open_either() as stage:
        await stage.submit("one", simulate="unreadable")
        request = await stage.ended(await stage.only_request())
        (first,) = await stage.records(Topic.DEAD_LETTERS)

        again = ("dead-letters", "replay", "--all", "--why", "a test of replays", "--json")
        ended = await run(stage.settings, *again)

        async def look():
            letters = await stage.records(Topic.DEAD_LETTERS)
            return next((one for one in letters if one.position != first.position), None)

        second = await until(look)
        listed = await run(stage.settings, "dead-letters", "list", "--json")
        old, new = (json.loads(line) for line in listed.stdout.splitlines())
        told = letter_of(second.headers)
        assert (0, 1) == (ended.code, json.loads(ended.stdout)["records"])
        assert (first.key, first.value) == (second.key, second.value)
        assert ("undecodable", "fetch", 2) == (told.reason, told.handler, told.attempts)
        assert (1, 2) == (old["attempts"], new["attempts"])
        assert (True, None) == (old["replayed_at"] is not None, new["replayed_at"])
        assert json.loads(ended.stdout)["replay"] == new["replay"]
        await handled(stage, "record", Topic.COMPLETIONS)
        assert request == await stage.request(request.request_id)
        assert 1 == len(await stage.records(Topic.RESULTS))
