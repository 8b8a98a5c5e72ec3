"""
Keeping a producer running: connecting, letting records in, watching, replacing.

Kafka may be absent at any time; the keeper tries on. What one producer does is in `session`.
"""

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress
from operator import attrgetter

from aiokafka.errors import KafkaError

from consumer.errors import ConfigError, LogUnavailable
from consumer.log.kafka.place import KafkaLimits, KafkaPlace
from consumer.log.kafka.sending import Sending
from consumer.log.kafka.session import CLOSED, Session
from consumer.log.kafka.sizes import TopicSizes
from consumer.log.kafka.trouble import Trouble
from consumer.telemetry import get_logger

_WATCH_S = 0.5
# Between two looks at how old the oldest record in hand is.
_SUSPICIOUS_S = 1.0
# A record unacknowledged for so long is a reason to ask whether any broker answers.
_FIRST_RETRY_S = 0.05
_SHORT_LIFE_S = 1.0
# A producer that ended sooner is followed by the next one only after a pause, which grows.


class Keeper:
    """
    Keeps a producer for the topics of these full names.

    `session` is the producer that anybody may send by, None while there is none; `opened` is
    set while there is one.
    """

    def __init__(
        self, place: KafkaPlace, limits: KafkaLimits, trouble: Trouble, names: Sequence[str]
    ) -> None:
        self._place = place
        self._limits = limits
        self._trouble = trouble
        self._names = names
        self._line: dict[Sending, None] = {}
        self._discarded: set[asyncio.Task[None]] = set()
        self._log = get_logger()
        self.sizes = TopicSizes(limits, names)
        self.session: Session | None = None
        self.opened = asyncio.Event()

    async def turn(self, sending: Sending) -> Session:
        """
        Wait in line for a producer, and return it.

        Raises LogUnavailable while none can be had.
        """
        if self._trouble.down:
            raise LogUnavailable(self._trouble.down)
        sending.turn = asyncio.get_running_loop().create_future()
        self._line[sending] = None
        try:
            return await sending.turn
        finally:
            del self._line[sending]

    async def run(self) -> None:
        """Keep a producer running until cancelled."""
        try:
            await self._replace()
        finally:
            self._trouble.down = self._trouble.down or "the publisher is closed"
            if self._discarded:
                await asyncio.wait(self._discarded)

    async def _replace(self) -> None:
        loop, pause = asyncio.get_running_loop(), _FIRST_RETRY_S
        while True:
            session = await self._connect()
            started_at = loop.time()
            try:
                await self._admit(session)
                while not await _is_set(session.ended, _WATCH_S):
                    await self._watch(session)
            except Exception as exc:  # noqa: BLE001  as in `_connect`: the next one may do
                self._tell_broken(exc)
            finally:
                self._discard(session)
            if loop.time() - started_at > _SHORT_LIFE_S or session.has_accused:
                pause = _FIRST_RETRY_S
                continue
            await asyncio.sleep(pause)
            pause = min(pause * 2, self._limits.max_retry_gap.total_seconds())

    # ---------------------------------------------------------------- connecting

    async def _connect(self) -> Session:
        """Return a running producer, however long that takes."""
        pause = _FIRST_RETRY_S
        while True:
            asked_at = time.monotonic()
            try:
                session = await self._start()
            except (KafkaError, OSError, TimeoutError, ConfigError) as exc:
                self._go_down(exc, asked_at)
            except Exception as exc:  # noqa: BLE001  the outermost loop: nothing would be
                # published any more if it ended here.
                self._tell_broken(exc)
                self._go_down(exc, asked_at)
            else:
                if self.sizes.batch_bytes >= session.batch_bytes:
                    return session
                self._discard(session)
                continue
            await asyncio.sleep(pause)
            pause = min(pause * 2, self._limits.max_retry_gap.total_seconds())

    async def _start(self) -> Session:
        session = Session(
            self._place,
            self._limits,
            batch_bytes=self.sizes.batch_bytes,
            on_end=self._session_ended,
        )
        try:
            await session.start(self._names)
            if self.sizes.is_due():
                with suppress(LogUnavailable):  # then the brokers judge
                    await self.sizes.read(session)
        except BaseException:
            self._discard(session)
            raise
        return session

    def _go_down(self, exc: Exception, asked_at: float) -> None:
        was_down = bool(self._trouble.down)
        reason = self._trouble.went_down(exc, asked_at)
        if not was_down:
            self._log.warning("log.unavailable", problem=reason)
        for sending in self._line:
            sending.refuse_turn(LogUnavailable(self._trouble.down))

    # ---------------------------------------------------------------- running

    async def _admit(self, session: Session) -> None:
        """
        Let in who waits, in the order of their coming; suspects before, each alone.

        Open to everybody only when the line is empty, so that nobody overtakes.
        """
        self._trouble.down = ""
        while self._line and not session.is_over:
            line = [one for one in self._line if one.turn is not None and not one.turn.done()]
            line.sort(key=attrgetter("number"))
            suspect = next((one for one in line if one.is_suspect), None)
            if suspect is not None:
                await suspect.try_alone(session)
                continue
            for sending in line:
                sending.start_turn(session)
            await asyncio.sleep(0)
        if not session.is_over:
            self.session = session
            self.opened.set()
            self._log.info("producer.started", batch_bytes=session.batch_bytes)

    async def _watch(self, session: Session) -> None:
        age_s = session.oldest_age_s()
        if age_s > self._limits.stall_deadline.total_seconds():
            session.end(f"nothing was acknowledged for {age_s:.0f} s")
        elif age_s > _SUSPICIOUS_S and await session.is_answered() is False:
            session.end("no broker answers")
        elif self.sizes.is_due():
            with suppress(LogUnavailable):
                await self.sizes.read(session)
            if self.sizes.batch_bytes < session.batch_bytes:
                session.end("the topics take smaller batches now")

    def _session_ended(self, session: Session, reason: str) -> None:
        if self.session is session:
            self.session = None
            self.opened.clear()
        if reason == CLOSED:
            return
        self._trouble.blame(session.refusing)
        if session.has_accused:
            self.sizes.expire()
        self._log.warning("producer.ended", reason=reason)

    def _discard(self, session: Session) -> None:
        """Close a producer in the background: the next one need not wait; `run` does."""
        session.end(CLOSED)
        closing = asyncio.create_task(self._close(session))
        self._discarded.add(closing)
        closing.add_done_callback(self._discarded.discard)

    async def _close(self, session: Session) -> None:
        try:
            await session.close()
        except Exception as exc:  # noqa: BLE001  it has ended, and must not end the next one
            self._tell_broken(exc)

    def _tell_broken(self, exc: Exception) -> None:
        self._log.error(
            "invariant.broken", where="producer", error=type(exc).__name__, exc_info=exc
        )


async def _is_set(event: asyncio.Event, within_s: float) -> bool:
    try:
        async with asyncio.timeout(within_s):
            await event.wait()
    except TimeoutError:
        return False
    return True
