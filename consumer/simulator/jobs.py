"""
One job in the simulated queue: its state and the moves it can make.

No waiting and no network here; `jobqueue` decides when a job moves. The events only
announce moves to whoever watches.
"""

import asyncio
import json
import os
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final
from uuid import UUID

from consumer.simulator.books import Books, Change, RequestEntry
from consumer.simulator.outcomes import FAL_FILES, Ending, Output, delivery_body, output_of
from consumer.simulator.queue_bodies import QueueStatus
from consumer.simulator.scenarios import Answer, Scenario

IN_QUEUE: Final = "IN_QUEUE"
IN_PROGRESS: Final = "IN_PROGRESS"
COMPLETED: Final = "COMPLETED"


def new_request_id(now: float) -> str:
    """Return a UUIDv7 for this instant (unix seconds); fal's ids have this form since 2026."""
    value = int(now * 1000) << 80 | int.from_bytes(os.urandom(10))
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    return str(UUID(int=value))


@dataclass(frozen=True, slots=True)
class Order:
    """What the caller of submit asked for."""

    endpoint: str
    app: str
    content: bytes
    input: dict[str, Any]
    headers: dict[str, str] = field(default_factory=dict)
    webhook_url: str | None = None
    tags: str | None = None
    start_timeout_s: float | None = None  # real seconds
    max_queue_length: int | None = None
    is_low: bool = False
    may_retry: bool = True
    stores_io: bool | None = None  # what the header says; None: it says nothing
    api_key_id: str = ""

    @property
    def tags_by_key(self) -> dict[str, str]:
        """The tags, one by one."""
        pairs = (pair.partition("=") for pair in (self.tags or "").split(",") if pair)
        return {key: value for key, _, value in pairs}


@dataclass(slots=True)
class Job:
    """An order that got a request id. `queue_s` and `run_s` are in fal's seconds, unscaled."""

    order: Order
    scenario: Scenario
    entry: RequestEntry
    books: Books
    seed: int
    queue_s: float
    run_s: float
    files_url: str = FAL_FILES
    place: int = 0
    status: QueueStatus = IN_QUEUE
    sent_at: float | None = None
    ended_at: float | None = None
    ending: Ending | None = None
    cancel_asked: asyncio.Event = field(default_factory=asyncio.Event)
    first_attempt_over: asyncio.Event = field(default_factory=asyncio.Event)
    watchers: set[asyncio.Event] = field(default_factory=set)
    retried_as: str | None = None
    _output_bytes: int | None = None

    @property
    def request_id(self) -> str:
        """The stable id fal gave the request."""
        return self.entry.request_id

    @property
    def gateway_request_id(self) -> str:
        """The id of the latest attempt: the request's own, until the platform tries again."""
        return self.retried_as or self.request_id

    @property
    def output_bytes(self) -> int:
        """How large the result is; 0 before the end."""
        if self._output_bytes is None and self.ending is not None:
            self._output_bytes = len(self.output(self.ending).content)
        return self._output_bytes or 0

    def enter(self, status: QueueStatus, now: float) -> None:
        """Take this status and tell everybody who watches."""
        self.status = status
        if status == IN_PROGRESS and self.sent_at is None:
            self.sent_at = now
        self.entry.changes.append(Change(now, status))
        for watcher in self.watchers:
            watcher.set()

    def finish(self, ending: Ending, now: float) -> None:
        """Complete with this ending; final."""
        self.ending = ending
        self.ended_at = now
        self.books.ends[self.entry.end] -= 1
        self.books.ends[ending.end] += 1
        self.entry.end = ending.end
        self.entry.http_status = ending.http_status
        self.entry.billable_units = ending.billable_units
        self.enter(COMPLETED, now)

    def output(self, ending: Ending) -> Output:
        """Return what the result replays, made anew."""
        prompt = self.order.input.get("prompt")
        text = prompt if isinstance(prompt, str) else "a red apple on a white table"
        return output_of(self.scenario.answer, ending, text, self.seed, self.files_url)

    def webhook_body(self, ending: Ending) -> bytes:
        """Return the completion's webhook body."""
        output = self.output(ending)
        ids = self.request_id, self.gateway_request_id
        return delivery_body(ids, ending, output, self.scenario.wording)

    def json_output(self, ending: Ending) -> Any:
        """Return the output as the request listing shows it; None where it shows none."""
        # Deep output is beyond json.loads, and fal keeps no output above 1 MB.
        if self.scenario.answer in {Answer.DEEP, Answer.BIG}:
            return None
        payload = self.output(ending).payload
        return None if payload is None else json.loads(payload)

    def rng(self, purpose: str) -> Random:
        """Return this job's own choices for one purpose, whatever other jobs do meanwhile."""
        return Random(f"{self.seed}:{purpose}")
