"""
One broker: a Java process, its folder, and whether it answers.
"""

import asyncio
from collections.abc import Mapping, Sequence

from aiokafka.conn import create_conn
from aiokafka.errors import KafkaError
from aiokafka.protocol.metadata import MetadataRequest

from consumer.devservers.child import Child, ServerNotStarted
from consumer.devservers.properties import Seat

ASK_AGAIN_S = 0.05
ANSWER_WITHIN_MS = 5_000
READY_WITHIN_S = 60.0


class Broker(Child):
    """One broker of a cluster. Made by `open_kafka`, which also ends its process."""

    def __init__(self, seat: Seat, command: Sequence[str], login: Mapping[str, object]) -> None:
        super().__init__(f"broker {seat.node}", command, seat.folder / "broker.log")
        self._seat = seat
        self._login = dict(login)

    @property
    def node(self) -> int:
        """The broker's number in the cluster, from 1."""
        return self._seat.node

    @property
    def server(self) -> str:
        """Where clients reach this broker: `127.0.0.1:port`, the same after every start."""
        return f"127.0.0.1:{self._seat.port}"

    async def wait_ready(self, *, among: int = 1, timeout: float = READY_WITHIN_S) -> None:
        """
        Return once the broker answers for a cluster with a controller and `among` brokers.

        Raises `ServerNotStarted` when its process ends, or the time is over.
        """
        missing = "no answer"
        try:
            async with asyncio.timeout(timeout):
                while (missing := await self._missing(among)) != "":
                    if not self.is_running:
                        raise ServerNotStarted(f"broker {self.node} ended: {self.log_tail()}")
                    await asyncio.sleep(ASK_AGAIN_S)
        except TimeoutError:
            problem = f"broker {self.node} not ready in {timeout:.0f} s ({missing})"
            raise ServerNotStarted(f"{problem}: {self.log_tail()}") from None

    async def _missing(self, among: int) -> str:
        """Ask this one broker for the cluster it knows; return what is missing, or nothing."""
        host, port = "127.0.0.1", self._seat.port
        try:
            connection = await create_conn(
                host, port, request_timeout_ms=ANSWER_WITHIN_MS, **self._login
            )
            try:
                cluster = await connection.send(MetadataRequest([]))
            finally:
                await connection.close()
        except (KafkaError, OSError, TimeoutError) as error:
            return type(error).__name__
        nodes = {node for node, *_ in cluster.brokers}
        if self.node not in nodes or len(nodes) < among:
            return f"it knows brokers {sorted(nodes)}"
        return "" if cluster.controller_id >= 0 else "no controller"
