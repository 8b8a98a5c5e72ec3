"""Apache Kafka for tests: one broker for all of them, and names that no other test uses."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from uuid import uuid4

import pytest

from consumer.devservers import make_topic, use_shared_kafka
from consumer.devservers.java import classpath
from consumer.errors import ConfigError


@dataclass(frozen=True)
class Kafka:
    """Where a Kafka listens that tests may use: `host:port,host:port`, without logging in."""

    servers: str

    @property
    def url(self) -> str:
        """The value of FAL_CONSUMER_LOG_URL."""
        return f"kafka://{self.servers}"

    async def make_topic(self, name, *, partitions=1, config=None) -> None:
        """Make a topic, kept as often as this Kafka keeps topics by default."""
        options = {"bootstrap_servers": self.servers}
        await make_topic(options, name, partitions=partitions, config=config)


@pytest.fixture(scope="session")
def kafka(tmp_path_factory, require) -> Iterator[Kafka]:
    """
    A broker that all tests of all workers share, or the one in CONSUMER_TEST_KAFKA.

    It creates no topics by itself: a test makes its own, under `topic_prefix`.
    """
    given = os.environ.get("CONSUMER_TEST_KAFKA")
    if given:
        yield Kafka(given.removeprefix("kafka://"))
        return
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    try:
        with use_shared_kafka(shared / "kafka") as servers:
            yield Kafka(servers)
    except ConfigError as error:
        require("kafka", f"CONSUMER_TEST_KAFKA names no Kafka, and none can be started: {error}")


@pytest.fixture(scope="session")
def own_brokers(require) -> None:
    """Skip, or fail, where brokers cannot be started here: for tests that kill some."""
    try:
        classpath()
    except ConfigError as error:
        require("kafka", f"no broker can be started: {error}")


@pytest.fixture
def topic_prefix() -> str:
    """What the names of this test's topics begin with: `t-` and eight digits, and a dot."""
    return f"t-{uuid4().hex[:8]}."


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what uses a real Kafka, so that `-m 'not kafka'` leaves it out."""
    for item in items:
        if {"kafka", "own_brokers"} & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.kafka)
