"""
One record on its way to Kafka, from its append's beginning until nothing of it is left.

Three hands touch it: its caller, the session that holds it, and the publisher that gives
turns. No I/O here.
"""

import asyncio
from typing import TYPE_CHECKING

from aiokafka.errors import KafkaError
from aiokafka.structs import RecordMetadata

from consumer.core.event import NewRecord
from consumer.deadlines import Wait
from consumer.log.kafka.permits import Lane

if TYPE_CHECKING:
    from consumer.log.kafka.session import Session


class SessionEnded(KafkaError):  # type: ignore[misc]
    """The producer that had the record has ended; the record may or may not be in the log."""


class Sending(Wait):
    """
    One record on its way, from its append's beginning until nothing of it is left in memory.

    Its room is given back when its caller has gone *and* no client holds it any more.
    """

    # Plain attributes with defaults on the class: most records need few of them, and each one set
    # at the start would cost every record.
    session: "Session | None" = None
    waiter: "asyncio.Future[RecordMetadata] | None" = None
    added: "asyncio.Future[None] | None" = None
    turn: "asyncio.Future[Session] | None" = None
    tried: "asyncio.Future[None] | None" = None
    is_awaited = True
    is_suspect = False
    future: "asyncio.Future[RecordMetadata]"
    started_at: float

    def __init__(self, record: NewRecord, name: str, size: int, lane: Lane, number: int) -> None:
        self.record = record
        self.name = name
        self.size = size
        self.lane = lane
        self.number = number

    async def try_alone(self, session: "Session") -> None:
        """Let a suspect send, and return when that came to an end, good or bad."""
        self.is_suspect = False
        self.tried = asyncio.get_running_loop().create_future()
        self.start_turn(session)
        await self.tried

    def start_turn(self, session: "Session") -> None:
        """Let it send by this producer."""
        if self.turn is not None and not self.turn.done():
            self.turn.set_result(session)

    def refuse_turn(self, error: Exception) -> None:
        """Tell it that there is no producer."""
        if self.turn is not None and not self.turn.done():
            self.turn.set_exception(error)

    def end_try(self) -> None:
        """Its try came to an end."""
        if self.tried is not None and not self.tried.done():
            self.tried.set_result(None)

    def leave(self) -> None:
        """The caller goes: with an answer, or without one."""
        self.is_awaited = False
        self.end_try()
        if self.session is None:
            self.lane.give_back(self.size)

    def let_go(self) -> None:
        """The client holds it no more."""
        self.session = None
        if not self.is_awaited:
            self.lane.give_back(self.size)

    def fail(self, error: Exception) -> None:
        """Tell the caller, if it still waits."""
        if self.waiter is not None and not self.waiter.done():
            self.waiter.set_exception(error)

    def settle(self, future: "asyncio.Future[RecordMetadata]") -> None:
        """Take the client's word: the record is durable, or its producer is at its end."""
        session = self.session
        if session is None or future is not self.future:
            future.exception()  # of a producer that has ended: its word is not asked for any more
            return
        if future.exception() is not None:
            session.end("")
            return
        session.acknowledged(self)
        if self.waiter is not None and not self.waiter.done():
            self.waiter.set_result(future.result())
        self.let_go()
