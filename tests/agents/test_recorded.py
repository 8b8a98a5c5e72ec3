"""Through a service's log: what an agent is told of what the service made of its command."""

from contextlib import asynccontextmanager
from datetime import UTC, datetime

import pytest

from consumer.agents.reading import Reading
from consumer.agents.recorded import Recorded
from consumer.commanding.desk import Desk
from consumer.core.command import Submit, parse_command
from consumer.core.event import NewRecord, Topic, decode, encode
from consumer.core.fact import FactName, Witness, fact_event, new_fact
from consumer.core.projection import entry_of
from consumer.errors import LogUnavailable, NoService
from consumer.fal import FalAddresses, FalParts, open_client
from consumer.ports import Plan
from consumer.testing.ledger import MemoryLedger
from consumer.testing.log import MemoryLog
from tests.agents.conftest import ENDPOINT, KEY, UNKNOWN, agent_of, agent_over
from tests.fal.conftest import QUICK, Canned, CannedServer, serving

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
JOB = {"endpoint": ENDPOINT, "input": {"prompt": "a"}, "command_id": "order-1", "wait_s": 1}


class ServedLog(MemoryLog):
    """A log at whose other end somebody works: `answer` is told of each command."""

    answer = None

    async def append(self, record):
        position = await super().append(record)
        if record.topic is Topic.COMMANDS and self.answer:
            await self.answer(record)
        return position


class Served:
    """A service in memory: takes a command and tells facts of it."""

    def __init__(self):
        self.log = ServedLog(clock=lambda: NOW)
        self.ledger = MemoryLedger(plan=lambda *_: Plan(), clock=lambda: NOW)
        self.commands = []

    @asynccontextmanager
    async def desk(self):
        yield Desk(self.log, self.ledger, None)

    def answers(self, *facts):
        """From now on, tell these facts of each command, as (name, request id, detail)."""

        async def answer(record):
            command = parse_command(decode(record.headers, record.value).data)
            self.commands.append(command)
            for name, request_id, detail in facts:
                await self.tell(command, name, request_id, detail)

        self.log.answer = answer

    async def tell(self, command: Submit, name, request_id, detail):
        fact = new_fact(
            name,
            Witness.SUBMIT,
            NOW,
            request_id=request_id,
            submission_id=command.submission_id,
            detail={"endpoint": ENDPOINT, "input_sha256": command.input_sha256, **detail},
        )
        event = fact_event(fact, "https://queue.example")
        await self.log.append(encode(event))
        await self.ledger.record(entry_of(event))

    def sets_aside(self, reason):
        """From now on, set each command aside."""

        async def answer(record):
            added = (("dlreason", reason.encode()), ("dlproblem", b"as it is"))
            letter = NewRecord(
                Topic.DEAD_LETTERS, record.key, record.value, (*record.headers, *added)
            )
            await self.log.append(letter)

        self.log.answer = answer


@pytest.fixture
def served():
    return Served()


@pytest.fixture
def agent(fal, served):
    """An agent whose changes go through the service in memory."""
    return agent_of(fal, Recorded(served.desk, lambda: NOW))


async def test_a_taken_submit_has_its_ids(agent, served):
    """A submit that fal took gives request id and submission id, and says how to go on."""
    served.answers((FactName.SUBMITTED, UNKNOWN, {}))

    sent = await agent.call(
        "FAL_AI_SUBMIT",
        **JOB,
        tags={"customer": "17"},
        start_within_s=60,
        finish_within_s=600,
        options={"priority": "low"},
    )

    (command,) = served.commands
    assert ("submitted", UNKNOWN) == (sent["outcome"], sent["request_id"])
    assert command.submission_id == sent["submission_id"]
    assert ({"customer": "17"}, "low") == (command.tags, command.options.priority)
    assert ("2026-11-23T12:01:00.000000Z", "2026-11-23T12:10:00.000000Z") == (
        command.start_by,
        command.finish_by,
    )


async def test_a_submit_nobody_took_up_is_still_under_way(agent):
    """When the wait is over without news, the answer says to repeat under the same id."""
    sent = await agent.call("FAL_AI_SUBMIT", **JOB)

    assert ("sending", "order-1") == (sent["outcome"], sent["command_id"])
    assert "same command_id" in sent["next_step"]


async def test_a_submit_that_waits_for_the_account_says_so(agent, served):
    """A submit that is put off is told with its reason, and what ends it."""
    served.answers((FactName.SENDING, "", {}), (FactName.INTENDED, "", {"reason": "locked"}))

    sent = await agent.call("FAL_AI_SUBMIT", **JOB)

    assert "sending" == sent["outcome"]
    assert "for the account's sake (locked)" in sent["next_step"]


async def test_an_unknown_submit_warns_of_paying_twice(agent, served):
    """Where fal's answer is not known, the agent is told not to submit under another id."""
    served.answers((FactName.UNKNOWN, "", {"reason": "timeout"}))

    sent = await agent.call("FAL_AI_SUBMIT", **JOB)

    assert "unknown" == sent["outcome"]
    assert "may pay twice" in sent["next_step"]


@pytest.mark.parametrize(
    "reason, said",
    [
        ("endpoint_not_allowed", "FAL_CONSUMER_SUBMIT_ENDPOINTS"),
        ("no_fal_key", "has no fal key"),
        ("http_422", "fal refused it with 422"),
        ("bad_tags", "fal does not take these tags"),
        ("something_new", "did not carry it out (refused: something_new)"),
    ],
)
async def test_a_refused_submit_is_a_sentence(agent, served, reason, said):
    """Each reason for a refusal is told with what to do."""
    served.answers((FactName.REFUSED, "", {"reason": reason}))

    assert said in await agent.refused("FAL_AI_SUBMIT", **JOB)


async def test_a_command_set_aside_is_told(agent, served):
    """A dead letter of the command ends the wait with its reason."""
    served.sets_aside("unknown_subject")

    said = await agent.refused("FAL_AI_CANCEL_QUEUE_REQUEST", request_id=UNKNOWN)

    assert "fal-consumer track" in said


async def test_a_cancel_without_an_answer_is_bounded(agent):
    """A cancel that nothing comes of ends after the time asked for."""
    said = await agent.refused("FAL_AI_CANCEL_QUEUE_REQUEST", request_id=UNKNOWN, wait_s=1)

    assert "Nothing came of it within 1 s" in said


@pytest.mark.parametrize("request_id", ["../..", "sub_1", "a\nb", "", "sub_" + "g" * 32])
async def test_hostile_ids_put_nothing_on_the_log(agent, served, request_id):
    """An id outside its grammar becomes no command."""
    said = await agent.refused("FAL_AI_CANCEL_QUEUE_REQUEST", request_id=request_id)
    more = await agent.refused("FAL_AI_SUBMIT", **{**JOB, "endpoint": f"{request_id}/.."})
    also = await agent.refused("FAL_AI_SUBMIT", **{**JOB, "command_id": f"{request_id}\r\n"})

    assert all(one.startswith("Nothing was asked") for one in (said, more, also))
    assert {} == {place: held for place, held in served.log.store.records.items() if held}


@pytest.mark.parametrize(
    "error, said",
    [
        (NoService("/data"), "start `fal-consumer serve` there"),
        (NoService("/data", is_asked=True), "stands in its log"),
        (LogUnavailable("disk_full"), "storage does not answer now"),
    ],
)
async def test_a_service_that_is_away_is_a_sentence(fal, error, said):
    """Without a service, or with one that went, the agent is told what to ask for."""

    @asynccontextmanager
    async def desk():
        raise error
        yield

    agent = agent_of(fal, Recorded(desk, lambda: NOW))

    assert said in await agent.refused("FAL_AI_SUBMIT", **JOB)


async def test_a_mistake_of_ours_tells_nothing_of_itself(fal):
    """An error that nobody foresaw is a sentence, without its text."""

    @asynccontextmanager
    async def desk():
        raise RuntimeError("secret-of-key")
        yield

    agent = agent_of(fal, Recorded(desk, lambda: NOW))
    said = await agent.refused("FAL_AI_SUBMIT", **JOB)

    assert "mistake of fal-consumer itself" in said
    assert "secret" not in said


@pytest.mark.parametrize(
    "kept, said",
    [
        (b'{"outcome": "succeeded", "output": {"seed": 1}}', "what the service recorded"),
        (b'{"outcome": "succeeded", "output": "%s"}' % (b"a" * 300_000), "was left out"),
        (None, "recorded none"),
    ],
)
async def test_an_expired_result_is_recalled(served, kept, said):
    """What fal no longer keeps is given from the service's own record, where it has one."""
    canned = CannedServer()
    canned.answer(Canned(404, b'{"status": "NOT_FOUND"}'), Canned(200, b'{"status": "COMPLETED"}'))

    async def recall(request_id):
        assert UNKNOWN == request_id
        return kept

    async with serving(canned.handle) as url:
        addresses = FalAddresses(url, url, url)
        async with open_client(KEY, addresses, FalParts(QUICK)) as fal:
            reading = Reading(fal, recall)
            agent = agent_over(reading, Recorded(served.desk, lambda: NOW))
            result = await agent.call(
                "FAL_AI_GET_QUEUE_REQUEST_RESULT", endpoint=ENDPOINT, request_id=UNKNOWN
            )

    assert "expired" == result["outcome"]
    assert said in result["next_step"]
    assert (kept is not None) == ("record" in result)
