"""
The courses of all topics, held for one process: live sends and all its spools share them.

Decisions are `course`'s; here are the clock, the waiting for a turn, and the log lines.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from consumer.core.event import Topic
from consumer.log.spool.course import Course, acknowledge, fail, go_direct, miss, pause_of
from consumer.telemetry import get_logger

_TRIES_AT_ONCE = 4
"""Sends of one topic at a time that feel whether Kafka answers again."""


class Gate:
    """Who may send to Kafka now. Belongs to one loop."""

    def __init__(self) -> None:
        self._courses = dict.fromkeys(Topic, Course())
        self._due = dict.fromkeys(Topic, 0.0)
        self._problems: dict[Topic, str] = {}
        self._taken: Counter[Topic] = Counter()
        self._turns = {topic: asyncio.Semaphore(_TRIES_AT_ONCE) for topic in Topic}
        self._loop = asyncio.get_running_loop()
        self._changed: asyncio.Future[None] = self._loop.create_future()
        self._log = get_logger()

    def course(self, topic: Topic) -> Course:
        """Return where new events of a topic go."""
        return self._courses[topic]

    def taken(self, topic: Topic) -> int:
        """Return how many records of a topic Kafka has taken, live ones and others."""
        return self._taken[topic]

    def away(self) -> Sequence[tuple[Topic, str]]:
        """Return the topics that Kafka does not take now, and why as far as it is known."""
        return [
            (topic, self._problems.get(topic, ""))
            for topic, course in self._courses.items()
            if not course.is_direct
        ]

    # ------------------------------------------------------------ what happened

    def missed(self, topic: Topic, epoch: int, problem: str) -> None:
        """Note that a live send, begun in `epoch`, got no answer."""
        self._turn_to(topic, miss(self._courses[topic], epoch), problem)

    def took(self, topic: Topic) -> None:
        """Note that Kafka took a record."""
        self._taken[topic] += 1
        course = self._courses[topic]
        if not course.is_direct:
            self._due[topic] = 0.0
            self._turn_to(topic, acknowledge(course))
            self._wake()

    def failed(self, topic: Topic, problem: str) -> None:
        """Note that a try from the spool got no answer."""
        course = fail(self._courses[topic])
        if not course.is_direct:
            self._problems[topic] = problem
        self._turn_to(topic, course, problem)
        self._due[topic] = self._loop.time() + pause_of(course).total_seconds()

    def answered(self, topic: Topic) -> None:
        """Note that Kafka would take a record, where none waits to be tried."""
        self._turn_to(topic, go_direct(self._courses[topic]))

    def _turn_to(self, topic: Topic, course: Course, problem: str = "") -> None:
        before, self._courses[topic] = self._courses[topic], course
        if before.is_direct == course.is_direct:
            return
        self._due[topic] = 0.0
        self._wake()
        if course.is_direct:
            self._problems.pop(topic, None)
            self._log.info("spool.handed_back", topic=topic.value)
        else:
            self._problems[topic] = problem
            self._log.warning("spool.took_over", topic=topic.value, problem=problem)

    def _wake(self) -> None:
        changed, self._changed = self._changed, self._loop.create_future()
        changed.set_result(None)

    # ------------------------------------------------------------ turns

    @asynccontextmanager
    async def turn_if_free(self, topic: Topic) -> AsyncIterator[bool]:
        """Give a live record a turn at trying; False when enough others try, or just did."""
        turns = self._turns[topic]
        if turns.locked() or self._loop.time() < self._due[topic]:
            yield False
            return
        async with turns:
            yield True

    @asynccontextmanager
    async def turn(self, topic: Topic) -> AsyncIterator[None]:
        """Wait until a waiting record may be sent: at once, or while away a few at a time."""
        if self._courses[topic].is_direct:
            yield
            return
        turns = self._turns[topic]
        await turns.acquire()
        is_mine = True
        try:
            await self._until_due(topic)
            if self._courses[topic].is_direct:
                is_mine = False
                turns.release()
            yield
        finally:
            if is_mine:
                turns.release()

    async def _until_due(self, topic: Topic) -> None:
        while not self._courses[topic].is_direct:
            left = self._due[topic] - self._loop.time()
            if left <= 0:
                return
            await asyncio.wait({self._changed}, timeout=left)
