"""
librdkafka's mock cluster, from the confluent-kafka wheel: for errors no real broker gives.

In memory, no replication, no limits; it answers what it is told to. Only the functions of
its C interface that the tests need.
"""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PRODUCE = 0
"""The number of the request whose answers are replaced. Source: Apache Kafka protocol."""

_PRODUCER = 0
_TEXT_BYTES = 512


class MockCluster:
    """A cluster in this process. Made by `open_mock_cluster`."""

    def __init__(self, library: ctypes.CDLL, cluster: int) -> None:
        self._library = library
        self._cluster = ctypes.c_void_p(cluster)

    @property
    def servers(self) -> tuple[str, ...]:
        """Where it listens."""
        bootstraps = self._library.rd_kafka_mock_cluster_bootstraps(self._cluster)
        return tuple(bootstraps.decode().split(","))

    def make_topic(self, name: str, partitions: int) -> None:
        """Make a topic."""
        self._library.rd_kafka_mock_topic_create(self._cluster, name.encode(), partitions, 1)

    def answer(self, *codes: int) -> None:
        """Let the next sends be answered with these error codes, one each."""
        errors = (ctypes.c_int * len(codes))(*codes)
        self._library.rd_kafka_mock_push_request_errors_array(
            self._cluster, ctypes.c_int16(PRODUCE), ctypes.c_size_t(len(codes)), errors
        )

    def forget_answers(self) -> None:
        """Answer honestly again."""
        self._library.rd_kafka_mock_clear_request_errors(self._cluster, ctypes.c_int16(PRODUCE))


@contextmanager
def open_mock_cluster() -> Iterator[MockCluster]:
    """Run a mock cluster of one broker. Raises ImportError without confluent-kafka."""
    library = _library()
    said = ctypes.create_string_buffer(_TEXT_BYTES)
    options = library.rd_kafka_conf_new()
    client = library.rd_kafka_new(_PRODUCER, ctypes.c_void_p(options), said, _TEXT_BYTES)
    assert client, said.value.decode()
    cluster = library.rd_kafka_mock_cluster_new(ctypes.c_void_p(client), 1)
    try:
        yield MockCluster(library, cluster)
    finally:
        library.rd_kafka_mock_cluster_destroy(ctypes.c_void_p(cluster))
        library.rd_kafka_destroy(ctypes.c_void_p(client))


def _library() -> ctypes.CDLL:
    import confluent_kafka  # noqa: PLC0415  what is missing is told by the one who asks

    wheel = Path(confluent_kafka.__file__).parent.parent / "confluent_kafka.libs"
    (path,) = wheel.glob("librdkafka*.so*")
    library = ctypes.CDLL(str(path))
    for name in ("conf_new", "new", "mock_cluster_new"):
        getattr(library, f"rd_kafka_{name}").restype = ctypes.c_void_p
    library.rd_kafka_mock_cluster_bootstraps.restype = ctypes.c_char_p
    return library
