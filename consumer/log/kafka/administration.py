"""
Asking a Kafka about its topics, making them, and who may write them.

Everything is asked within a deadline; what the library or the brokers answer becomes a
value or `LogUnavailable`. Nothing is deleted or made smaller here.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

from aiokafka.client import AIOKafkaClient
from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    KafkaConnectionError,
    KafkaError,
    NodeNotReadyError,
    NoError,
    SecurityDisabled,
    TopicAlreadyExistsError,
    TopicAuthorizationFailedError,
    for_code,
)
from aiokafka.protocol.admin import (
    CreateTopicsRequest,
    DescribeAclsRequest,
    DescribeConfigsRequest,
)

from consumer.errors import LogUnavailable
from consumer.log.kafka.acls import Writers
from consumer.log.kafka.place import KafkaPlace
from consumer.log.kafka.reaching import DEADLINE, problem_of, reached
from consumer.log.kafka.topics import (
    CONFIG_NAMES,
    TopicFound,
    TopicNeeds,
    TopicState,
    judged,
)
from consumer.log.kafka.wire import (
    BROKER,
    TOPIC,
    Operation,
    SetTopicConfigs,
    TopicsAndRights,
    operations_of,
)

_LOOK_AGAIN_S = 0.05
_GREETING_S = 3.0
_ANY = 1
_MATCH = 2
_ALLOW = 3
# Numbers of the protocol's filters: any operation and permission; patterns that match a name,
# literal, prefixed or `*`; the permission to allow. Source: Apache Kafka protocol, DescribeAcls.


@dataclass(frozen=True, slots=True)
class Refusal:
    """What the brokers refused, and their reason in a sentence."""

    topic: str
    problem: str


class Administration:
    """A connected client for questions about topics. Made by `open_administration`."""

    def __init__(self, client: AIOKafkaClient) -> None:
        self._client = client

    @property
    def brokers(self) -> int:
        """How many brokers the cluster names; without a quorum, dead ones too."""
        return len(self._client.cluster.brokers())

    async def answering(self) -> Sequence[int]:
        """Return which of these brokers take a connection from here, by number."""
        found = []
        for one in self._client.cluster.brokers():
            with suppress(TimeoutError, KafkaError, OSError):
                async with asyncio.timeout(_GREETING_S):
                    found += [one.nodeId] if await self._client.ready(one.nodeId) else []
        return found

    async def states(self, needs: Sequence[TopicNeeds]) -> Sequence[TopicState]:
        """Return each topic as it stands beside what it needs. Raises LogUnavailable."""
        names = [one.name for one in needs]
        answer = await self._ask(TopicsAndRights(names))
        told = {topic["topic"]: topic for topic in answer.to_object()["topics"]}
        present = [name for name in names if name in told and not told[name]["error_code"]]
        configs = await self._configs(present)
        return [
            judged(
                one,
                _found(told[one.name], configs.get(one.name)) if one.name in present else None,
                is_hidden=_code_of(told.get(one.name)) is TopicAuthorizationFailedError,
            )
            for one in needs
        ]

    async def create(
        self, needs: Sequence[TopicNeeds], *, partitions: int, dry_run: bool
    ) -> Sequence[Refusal]:
        """
        Make these topics; return those that the brokers refuse.

        One that somebody else made meanwhile is fine. With `dry_run` the brokers only say
        whether they would. Returns before every broker knows them: see `wait_for`.
        """
        if not needs:
            return []
        topics: list[Any] = [
            (one.name, partitions, one.replication, [], list(one.configs.items())) for one in needs
        ]
        timeout_ms = round(DEADLINE.total_seconds() * 1000)
        request = CreateTopicsRequest(topics, timeout_ms, dry_run)
        answer = await self._ask(request, self._controller())
        return [
            Refusal(name, _sentence(code, problem))
            for name, code, problem in answer.topic_errors
            if for_code(code) not in (NoError, TopicAlreadyExistsError)
        ]

    async def wait_for(self, names: Sequence[str]) -> None:
        """
        Return once every broker knows these topics and each partition has a leader.

        Raises LogUnavailable when that takes too long.
        """
        try:
            async with asyncio.timeout(DEADLINE.total_seconds()):
                for broker in [broker.nodeId for broker in self._client.cluster.brokers()]:
                    await self._wait_until_known(broker, names)
        except TimeoutError as exc:
            raise LogUnavailable("Kafka made the topics, but they have no leader yet") from exc

    async def set_configs(
        self, name: str, configs: Mapping[str, str], *, dry_run: bool
    ) -> Sequence[Refusal]:
        """Set these values of a topic and no others; return what the brokers refuse."""
        request = SetTopicConfigs(name, configs, validate_only=dry_run)
        answer = await self._ask(request, self._controller())
        return [
            Refusal(topic, _sentence(code, problem))
            for code, problem, _, topic in answer.resources
            if code
        ]

    async def maybe_broker_config(self, broker: int, name: str) -> str | None:
        """Return a value of a broker's configuration; None where this user may not see it."""
        request = DescribeConfigsRequest([(BROKER, str(broker), [name])])
        answer = await self._ask(request, broker)
        entries = [entry for resource in answer.resources for entry in resource[4]]
        return next((entry[1] for entry in entries if entry[0] == name), None)

    async def writers(self, names: Iterable[str]) -> Writers:
        """Return who may write topics, as far as the brokers tell this user. Writes nothing."""
        allowed: dict[str, frozenset[str]] = {}
        for name in names:
            request = DescribeAclsRequest(TOPIC, name, _MATCH, None, None, _ANY, _ANY)
            answer = await self._ask(request)
            error = for_code(answer.error_code)
            if error is SecurityDisabled:
                return Writers(is_guarded=False)
            if error is ClusterAuthorizationFailedError:
                return Writers(is_hidden=True)
            if answer.error_code:
                raise LogUnavailable(_sentence(answer.error_code, answer.error_message))
            allowed[name] = frozenset(
                principal
                for *_, acls in answer.resources
                for principal, _, operation, permission in acls
                if permission == _ALLOW and operation in (Operation.WRITE, Operation.ALL)
            )
        return Writers(allowed=allowed)

    # ------------------------------------------------------------ asking

    async def _configs(self, names: Sequence[str]) -> Mapping[str, Mapping[str, str] | None]:
        if not names:
            return {}
        wanted = [(TOPIC, name, list(CONFIG_NAMES)) for name in names]
        answer = await self._ask(DescribeConfigsRequest(wanted))
        return {
            name: None if code else {entry[0]: entry[1] or "" for entry in entries}
            for code, _, _, name, entries in answer.resources
        }

    async def _wait_until_known(self, broker: int, names: Sequence[str]) -> None:
        while True:
            if await self._knows(broker, names):
                return
            await asyncio.sleep(_LOOK_AGAIN_S)

    async def _knows(self, broker: int, names: Sequence[str]) -> bool:
        """Tell whether a broker knows the topics; one that does not answer need not."""
        try:
            answer = await self._client.send(broker, TopicsAndRights(names))
        except NodeNotReadyError:
            return True
        except KafkaError as exc:
            raise LogUnavailable(problem_of(exc)) from exc
        return all(
            not topic["error_code"] and all(part["leader"] >= 0 for part in topic["partitions"])
            for topic in answer.to_object()["topics"]
        )

    def _controller(self) -> int | None:
        controller = self._client.cluster.controller
        return controller.nodeId if controller else None

    async def _ask(self, request: Any, broker: int | None = None) -> Any:
        """Return the answer of that broker, else of the first that answers: one may be down."""
        known = [one.nodeId for one in self._client.cluster.brokers()]
        asked = random.sample(known, len(known)) if broker is None else [broker]
        try:
            async with asyncio.timeout(DEADLINE.total_seconds()):
                for one in asked:
                    with suppress(NodeNotReadyError, KafkaConnectionError):
                        return await self._client.send(one, request)
        except TimeoutError as exc:
            raise LogUnavailable("Kafka does not answer in time") from exc
        except NotImplementedError as exc:  # how the library says that no version fits
            raise LogUnavailable("Kafka is older than 2.3") from exc
        except (KafkaError, OSError) as exc:
            raise LogUnavailable(problem_of(exc)) from exc
        raise LogUnavailable(f"Kafka names brokers that cannot be reached: {_numbers(asked)}")


@asynccontextmanager
async def open_administration(place: KafkaPlace) -> AsyncIterator[Administration]:
    """Connect to a Kafka for questions about topics. Raises LogUnavailable with what failed."""
    async with reached(place) as client:
        yield Administration(client)


def _found(told: Mapping[str, Any], configs: Mapping[str, str] | None) -> TopicFound:
    partitions = told["partitions"]
    return TopicFound(
        told["topic"],
        len(partitions),
        min((len(one["replicas"]) for one in partitions), default=0),
        sum(one["leader"] < 0 for one in partitions),
        sum(len(one["isr"]) < len(one["replicas"]) for one in partitions),
        configs,
        operations_of(told["operations"]),
    )


def _numbers(brokers: Sequence[int]) -> str:
    return ", ".join(map(str, sorted(brokers)))


def _code_of(told: Mapping[str, Any] | None) -> type[KafkaError] | None:
    return for_code(told["error_code"]) if told else None


def _sentence(code: int, problem: str | None) -> str:
    name = for_code(code).__name__.removesuffix("Error")
    return f"{name}: {problem}" if problem else name
