"""
Reaching a Kafka for questions: a client that neither publishes nor reads, or why there is none.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from typing import Any

from aiokafka.client import AIOKafkaClient
from aiokafka.conn import create_conn
from aiokafka.errors import KafkaConnectionError, KafkaError

from consumer.errors import LogUnavailable
from consumer.log.kafka.faults import describe_error
from consumer.log.kafka.overheard import overheard
from consumer.log.kafka.place import KafkaPlace, client_options

DEADLINE = timedelta(seconds=15)
"""For one answer, and for connecting and closing each."""

_CONNECTION_OPTIONS = (
    "security_protocol",
    "ssl_context",
    "sasl_mechanism",
    "sasl_plain_username",
    "sasl_plain_password",
)


@asynccontextmanager
async def reached(place: KafkaPlace) -> AsyncIterator[AIOKafkaClient]:
    """
    Give a client that is connected, until the end of the block.

    Raises LogUnavailable with what each server answered, and ConfigError.
    """
    options = client_options(place)
    client = AIOKafkaClient(**options)
    with overheard():  # what it says to its own logger is no line of ours
        try:
            await _connect(client, place, options)
            yield client
        finally:
            with suppress(TimeoutError):
                async with asyncio.timeout(DEADLINE.total_seconds()):
                    await client.close()


async def _connect(client: AIOKafkaClient, place: KafkaPlace, options: Mapping[str, Any]) -> None:
    try:
        async with asyncio.timeout(DEADLINE.total_seconds()):
            await client.bootstrap()
    except TimeoutError as exc:
        raise LogUnavailable(f"no answer from {', '.join(place.servers)}") from exc
    except KafkaConnectionError as exc:
        raise LogUnavailable(await _why(place, options)) from exc
    except (KafkaError, OSError) as exc:
        raise LogUnavailable(problem_of(exc)) from exc


async def _why(place: KafkaPlace, options: Mapping[str, Any]) -> str:
    """Return why no server takes us: the client only says that none does."""
    said = []
    known = {name: options[name] for name in _CONNECTION_OPTIONS if name in options}
    for server in place.servers:
        host, _, port = server.rpartition(":")
        try:
            async with asyncio.timeout(DEADLINE.total_seconds() / 3):
                connection = await create_conn(host.strip("[]"), int(port), **known)
        except TimeoutError:
            said.append(f"{server}: no answer")
        except (KafkaError, OSError) as exc:
            said.append(f"{server}: {problem_of(exc)}")
        else:
            connection.close()
            said.append(f"{server}: connected, but got no answer")
    return "; ".join(said)


def problem_of(error: Exception) -> str:
    """Return what went wrong: of the system's errors its words, else Kafka's and what to do."""
    if isinstance(error, OSError) and error.strerror:
        return os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror
    return describe_error(error)
