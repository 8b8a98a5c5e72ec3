"""Answers that a real broker cannot be made to give, from librdkafka's mock cluster."""

from dataclasses import replace
from datetime import timedelta

import pytest

from consumer.core.event import Topic
from consumer.errors import LogUnavailable, RecordRefused
from consumer.log.kafka.place import KafkaPlace
from tests.kafka.mock_cluster import open_mock_cluster
from tests.kafka.publishing import PATIENT, append_all, open_publisher, record
from tests.kafka.stage import until

NOT_ENOUGH_REPLICAS = 19
NOT_ENOUGH_REPLICAS_AFTER_APPEND = 20
BRIEF = replace(PATIENT, send_deadline=timedelta(seconds=0.5), stall_deadline=timedelta(seconds=1))


@pytest.fixture
def mock(require):
    try:
        with open_mock_cluster() as cluster:
            cluster.make_topic("fal.completions", 3)
            cluster.make_topic("fal.results", 3)
            yield cluster
    except ImportError as exc:
        require("kafka", f"no mock cluster without confluent-kafka: {exc}")


def open_on(mock, limits=PATIENT):
    return open_publisher(KafkaPlace(mock.servers, "fal."), limits)


@pytest.mark.parametrize(
    "code", [10, 18, 32, 43, 44, 87], ids=["size", "list", "time", "format", "policy", "invalid"]
)
async def test_refused_alone_is_refused(mock, code):
    """A record that was alone in its batch, and refused for its own sake, is refused for good."""
    async with open_on(mock) as publisher:
        await publisher.ping()
        mock.answer(code)
        with pytest.raises(RecordRefused):
            await publisher.append(record())
        await publisher.append(record())
        await publisher.ping()


@pytest.mark.parametrize("code", [10, 44, 87])
async def test_refused_in_company_is_tried_alone(mock, code):
    """A batch refused as a whole is tried again, each alone: only what is refused then is."""
    given = [record("one-key", b"%d" % number) for number in range(10)]

    async with open_on(mock) as publisher:
        await publisher.ping()
        # The whole batch; then the first, alone; then the second goes in, the third does not.
        mock.answer(code, 0, 0, code)
        answers = await append_all(publisher, given)

    assert [RecordRefused] == [type(one) for one in answers if isinstance(one, Exception)]
    assert isinstance(answers[2], RecordRefused)


@pytest.mark.parametrize("code", [2, 45, 47, 49, 59])
async def test_a_lost_thread_is_taken_up_by_a_fresh_producer(mock, code):
    """Sequence and producer errors end the producer; the records are sent again, unseen."""
    given = [record(f"key-{number}") for number in range(20)]

    async with open_on(mock) as publisher:
        await publisher.ping()
        mock.answer(code)
        answers = await append_all(publisher, given)

    assert [] == [answer for answer in answers if isinstance(answer, Exception)]


@pytest.mark.parametrize("code", [-1, 17, 29, 31, 1234])
async def test_faults_of_the_place_and_unknown_ones_refuse_nothing(mock, code):
    """A right missing, a name forbidden, an error nobody knows: put off, and said why."""
    async with open_on(mock) as publisher:
        await publisher.ping()
        mock.answer(code)
        with pytest.raises(LogUnavailable) as error:
            await publisher.append(record())

        assert error.value.problem.startswith("Kafka refuses writes to fal.completions: ")
        assert error.value.problem == publisher.trouble()
        with pytest.raises(LogUnavailable):
            await publisher.ping()
        with pytest.raises(LogUnavailable):  # for a second nothing is sent there
            await publisher.append(record())
        await publisher.append(record(topic=Topic.RESULTS))
        await until(lambda: _takes(publisher))
        assert "" == publisher.trouble()


@pytest.mark.parametrize("code", [NOT_ENOUGH_REPLICAS, NOT_ENOUGH_REPLICAS_AFTER_APPEND])
async def test_too_few_replicas_are_named(mock, code):
    """The client tries on for ever; we stop waiting, and say what it told nobody."""
    async with open_on(mock, BRIEF) as publisher:
        await publisher.append(record())
        mock.answer(*([code] * 60))
        with pytest.raises(LogUnavailable) as error:
            await publisher.append(record())

        assert "too few of its replicas are in sync" in error.value.problem
        assert "too few of its replicas are in sync" in publisher.trouble()
        mock.forget_answers()
        await until(lambda: _takes(publisher))
        assert "" == publisher.trouble()


async def test_a_record_kafka_already_has_is_durable(mock):
    """A duplicate sequence says that the record is in the log: that is an acknowledgement."""
    async with open_on(mock) as publisher:
        await publisher.ping()
        mock.answer(46)

        assert Topic.COMPLETIONS is (await publisher.append(record())).topic


async def _takes(publisher):
    try:
        return bool(await publisher.append(record()))
    except LogUnavailable:
        return False


async def test_a_client_whose_loop_broke_is_replaced(mock):
    """When the client can learn of no leader any more, a fresh one takes over, unasked."""
    async with open_on(mock) as publisher:
        await publisher.ping()
        first = publisher._keeper.session
        client = first._producer.client

        async def cut(*_):
            raise RuntimeError("unable to perform operation on a closed transport")

        client._metadata_update = cut
        client.add_topic("fal.results")
        await until(lambda: publisher._keeper.session not in {first, None})
        await publisher.ping()
        await publisher.append(record())
