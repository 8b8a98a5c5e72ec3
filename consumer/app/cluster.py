"""Kafka, as the settings name it: where it is, how it is spoken to, and a log on it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

from consumer.errors import ConfigError
from consumer.ports import Clock
from consumer.settings import Settings, env_name

if TYPE_CHECKING:
    from consumer.log.kafka.log import KafkaLog
    from consumer.log.kafka.place import KafkaLimits, KafkaPlace

_MIB = 1024 * 1024


def kafka_place(settings: Settings) -> "KafkaPlace":
    """Return where Kafka is and how it is spoken to. Raises ConfigError for an empty password."""
    from consumer.log.kafka.place import KafkaPlace, Security  # noqa: PLC0415  a heavy client

    username = settings.kafka_sasl_username
    security = Security(
        protocol=settings.kafka_security_protocol,
        mechanism=settings.kafka_sasl_mechanism,
        username=username.get_secret_value() if username else "",
        password=_password(settings),
        ca_file=settings.kafka_ssl_ca_file,
        cert_file=settings.kafka_ssl_cert_file,
        key_file=settings.kafka_ssl_key_file,
    )
    return KafkaPlace(
        servers=tuple(settings.log_url.removeprefix("kafka://").split(",")),
        topic_prefix=settings.topic_prefix,
        security=security,
        is_single_broker=settings.kafka_single_broker,
    )


def kafka_limits(settings: Settings) -> "KafkaLimits":
    """Return what one process may have on its way to Kafka, and for how long."""
    from consumer.log.kafka.place import KafkaLimits  # noqa: PLC0415

    return KafkaLimits(
        send_deadline=timedelta(seconds=settings.publish_timeout_s),
        # The largest record is a dead letter or an output beside a body: both fit twice.
        max_bytes=max(32 * _MIB, 2 * settings.max_body_bytes),
    )


@asynccontextmanager
async def open_kafka_log(settings: Settings, clock: Clock) -> AsyncIterator["KafkaLog"]:
    """Open the log on Kafka for a command: no lasting membership. Raises ConfigError."""
    from consumer.log.kafka.log import KafkaLog  # noqa: PLC0415

    async with KafkaLog.open(
        kafka_place(settings), clock=clock, limits=kafka_limits(settings), members=None
    ) as log:
        yield log


def _password(settings: Settings) -> str:
    if settings.kafka_sasl_password_file is None:
        return ""
    name = env_name("kafka_sasl_password_file")
    try:
        password = settings.kafka_sasl_password_file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigError([f"{name}: the file cannot be read ({type(exc).__name__})"]) from exc
    if not password:
        raise ConfigError([f"{name}: the file holds no password"])
    return password
