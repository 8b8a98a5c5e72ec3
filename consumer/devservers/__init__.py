"""
Real servers for tests and development, without Docker, root or a system Java.

Apache Kafka 4 in KRaft mode and PostgreSQL 18, from wheels and Maven artifacts alone. Nothing
here runs in production, and nothing of the service imports it; it needs the extra `dev`.
"""

from consumer.devservers.admin import Right, make_topic
from consumer.devservers.broker import Broker
from consumer.devservers.child import ServerNotStarted
from consumer.devservers.cluster import KafkaCluster, open_kafka
from consumer.devservers.postgres import Postgres, open_postgres
from consumer.devservers.shared import use_shared_kafka, use_shared_postgres

__all__ = [
    "Broker",
    "KafkaCluster",
    "Postgres",
    "Right",
    "ServerNotStarted",
    "make_topic",
    "open_kafka",
    "open_postgres",
    "use_shared_kafka",
    "use_shared_postgres",
]
