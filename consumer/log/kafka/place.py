"""
Where a Kafka is, how it is spoken to, and what one process may have on its way there.

Plain values, and their translation into the options of every aiokafka client. Nothing
here connects.
"""

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from consumer.core.event import Topic
from consumer.errors import ConfigError

MIB = 1024 * 1024

CLIENT_ID = "fal-consumer"
"""How the brokers' logs and quotas name this client."""


@dataclass(frozen=True, slots=True)
class Security:
    """
    How a Kafka is spoken to, in the words that Kafka's own clients use.

    `protocol` is PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL; `mechanism` counts with SASL
    and is PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512. Without `ca_file` the system's own
    authorities are trusted. `cert_file` and `key_file` are PEM, and go together.
    """

    protocol: str = "PLAINTEXT"
    mechanism: str = "PLAIN"
    username: str = ""
    password: str = field(default="", repr=False)
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None


@dataclass(frozen=True, slots=True)
class KafkaPlace:
    """
    One Kafka and our topics on it. `servers` are `host:port`, any of which leads to the rest.

    `is_single_broker` is the operator's word that one replica is enough.
    """

    servers: tuple[str, ...]
    topic_prefix: str = "fal."
    security: Security = Security()
    is_single_broker: bool = False


@dataclass(frozen=True, slots=True)
class KafkaLimits:
    """
    What one process may have on its way to Kafka, and how long it waits for what.

    `send_deadline` is all that an append may take. Past `max_bytes` or `max_records` in the
    client's memory, further appends wait for room within that deadline.
    """

    send_deadline: timedelta = timedelta(seconds=2)
    max_records: int = 2048
    # Measured: more in flight brings no more records a second, but a longer wait for each.
    max_bytes: int = 32 * MIB
    # A broker closes on a request over 100 MiB (socket.request.max.bytes), and the client would
    # repeat it for ever. One request can hold all that is in flight.
    max_batch_bytes: int = MIB
    # Of one batch for one partition. Smaller ones collapse under load, larger ones a topic with
    # Kafka's default max.message.bytes refuses.
    request_timeout: timedelta = timedelta(seconds=5)
    # For one answer of one broker; then the connection is given up, and another one tried.
    stall_deadline: timedelta = timedelta(seconds=10)
    # A record unacknowledged for so long ends its producer: a fresh one may do better, and what
    # nobody waits for any more stops taking room.
    max_retry_gap: timedelta = timedelta(seconds=1)
    # Between tries to reach a Kafka that does not answer.
    limits_max_age: timedelta = timedelta(minutes=5)
    # Of what is known about the largest record that each topic takes.
    close_deadline: timedelta = timedelta(seconds=5)
    # On closing: for what is in hand. With no broker it ends sooner.


def topic_name(place: KafkaPlace, topic: Topic) -> str:
    """Return the name that a topic has in this Kafka."""
    return place.topic_prefix + topic.value


def topic_of(place: KafkaPlace, name: str) -> Topic | None:
    """Return which of our topics a name means; None for one that is not ours."""
    if not name.startswith(place.topic_prefix):
        return None
    try:
        return Topic(name.removeprefix(place.topic_prefix))
    except ValueError:
        return None


def group_name(place: KafkaPlace, group: str) -> str:
    """Return the id that a group of ours has in this Kafka."""
    return place.topic_prefix + group


def client_options(place: KafkaPlace) -> dict[str, Any]:
    """
    Return the options that every aiokafka client takes: servers, client id and security.

    Certificates are read anew each time, so that renewed ones count from the next connection
    on. Raises ConfigError for files that cannot be used.
    """
    options: dict[str, Any] = {
        "bootstrap_servers": list(place.servers),
        "client_id": CLIENT_ID,
        "security_protocol": place.security.protocol,
    }
    if place.security.protocol in ("SSL", "SASL_SSL"):
        options["ssl_context"] = _ssl_context(place.security)
    if place.security.protocol.startswith("SASL"):
        options |= _sasl_options(place.security)
    return options


def _sasl_options(security: Security) -> Mapping[str, str]:
    return {
        "sasl_mechanism": security.mechanism,
        "sasl_plain_username": security.username,
        "sasl_plain_password": security.password,
    }


def _ssl_context(security: Security) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=security.ca_file)
    except (OSError, ValueError) as exc:
        raise _unusable(security.ca_file, "no certificate authority", exc) from exc
    if security.cert_file is not None:
        try:
            # An empty password, so that an encrypted key is an error and no question on a terminal.
            context.load_cert_chain(security.cert_file, security.key_file, password="")
        except (OSError, ValueError) as exc:
            raise _unusable(security.cert_file, "no certificate with its key", exc) from exc
    return context


def _unusable(path: Path | None, what: str, exc: Exception) -> ConfigError:
    reason = getattr(exc, "reason", None) or getattr(exc, "strerror", None) or type(exc).__name__
    return ConfigError([f"{path}: {what} for Kafka can be read from it ({reason})"])
