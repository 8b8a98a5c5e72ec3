"""
`subscribe`: results, one after the other, for a program of yours.

A result counts as done when the next one is asked for, so an error in between brings it
back: at least once, never lost. Used by service teams; nothing in the service imports it.
"""

import os
import re
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from consumer.core.event import Topic, decode
from consumer.core.replay import HANDLERS, is_for_readers, replay_in
from consumer.core.result import Result, result_from
from consumer.errors import ConfigError, EventError
from consumer.ports import Record, Subscription
from consumer.telemetry import get_logger

if TYPE_CHECKING:
    from consumer.settings import Settings

SERVICE_GROUPS = HANDLERS
"""The service's own groups: whoever read in their name would take records from it."""

_GROUP = re.compile(r"[A-Za-z0-9._-]{1,64}")
_AT_ONCE = 100
_POLL = timedelta(seconds=5)
_LOOK = timedelta(milliseconds=500)
_MAX_LOOKS = 20
# Offsets may be left over that no record stands at, in a damaged block or behind a transaction.


def check_group(group: str) -> None:
    """Raise ConfigError unless `group` may name a group of somebody else's."""
    if not _GROUP.fullmatch(group):
        raise ConfigError([f"group: {group!r} is no name; 1 to 64 of A-Z a-z 0-9 . _ -"])
    if group in SERVICE_GROUPS:
        raise ConfigError([f"group: {group} is the service's own; choose another name"])


def subscribe(
    group: str,
    *,
    data_dir: str | os.PathLike[str] | None = None,
    settings: "Settings | None" = None,
    follow: bool = True,
) -> "Results":
    """
    Return the results that `group` has not finished yet, then each new one.

    For `async for`, or, so that the group is free again at once, `async with … as results`.
    Settings come from `settings`, else from the environment; `data_dir` wins over both.
    With `follow` false it ends when everything there is was given.
    Raises ConfigError; while reading also LogUnavailable, for instance when the group is
    read by somebody else.
    """
    check_group(group)
    return Results(group, _settings(settings, data_dir), follow=follow)


@dataclass
class _Course:
    """What the reader and its generator share; apart from both, so that neither holds the other."""

    subscription: Subscription | None = None
    skipped: int = 0
    done: dict[tuple[Topic, int], int] = field(default_factory=dict)
    in_hand: Record | None = None

    def finish(self) -> None:
        """Mark the record in hand as done."""
        if self.in_hand is not None:
            position = self.in_hand.position
            self.done[position.topic, position.partition] = position.offset + 1
            self.in_hand = None

    async def commit(self) -> None:
        """Store durably what is done."""
        if self.subscription is not None and self.done:
            done, self.done = self.done, {}
            await self.subscription.commit(done)


class Results:
    """
    An asynchronous iterator of results, made by `subscribe`. One task reads it.

    A result is committed when the next one is asked for, when `aclose` is called, and when
    an `async with` ends without an error: not when the body of a loop raised.
    """

    def __init__(self, group: str, settings: "Settings", *, follow: bool) -> None:
        self._course = _Course()
        self._results = _read(group, settings, self._course, follow=follow)

    @property
    def replay(self) -> str:
        """The id of the replay that put the result in hand there; empty for one of its own life."""
        record = self._course.in_hand
        return (replay_in(record.headers) or "") if record is not None else ""

    @property
    def skipped(self) -> int:
        """How many records were no results that this version can read; each was logged."""
        return self._course.skipped

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Result:
        return await anext(self._results)

    async def aclose(self) -> None:
        """Commit the result in hand and let go of the group."""
        self._course.finish()
        try:
            await self._course.commit()
        finally:
            await self._results.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            await self.aclose()
        else:
            await self._results.aclose()


async def _read(
    group: str, settings: "Settings", course: _Course, *, follow: bool
) -> AsyncGenerator[Result, None]:
    """Give the results; asking for one commits the one before."""
    from consumer.app import open_log  # noqa: PLC0415  the whole service; not for a mere import

    async with open_log(settings) as log, log.subscribe(group, [Topic.RESULTS]) as subscription:
        course.subscription = subscription
        try:
            while (
                records := await next_batch(subscription, max_records=_AT_ONCE, follow=follow)
            ) or follow:
                for record in records:
                    course.in_hand = record
                    if is_for_readers(record.headers):
                        result = _maybe_result(record)
                        if result is None:
                            course.skipped += 1
                        else:
                            yield result
                    course.finish()
                    await course.commit()
        finally:
            course.subscription = None


async def next_batch(
    subscription: Subscription, *, max_records: int, follow: bool, timeout: timedelta = _POLL
) -> Sequence[Record]:
    """
    Return the next records of a group that has committed all it was given before.

    Following, none at the timeout; otherwise none only when nothing more is there: a log in
    another process may need more than a moment to give the first. Raises LogUnavailable.
    """
    if follow:
        return await subscription.poll(max_records=max_records, timeout=timeout)
    for _ in range(_MAX_LOOKS):
        if not await subscription.lag():
            break
        if records := await subscription.poll(max_records=max_records, timeout=_LOOK):
            return records
    return []


def _maybe_result(record: Record) -> Result | None:
    try:
        return result_from(decode(record.headers, record.value))
    except EventError as exc:
        position = record.position
        get_logger().warning(
            "record.skipped",
            topic=position.topic.value,
            partition=position.partition,
            offset=position.offset,
            error=exc.code,
        )
        return None


def _settings(settings: "Settings | None", data_dir: str | os.PathLike[str] | None) -> "Settings":
    from consumer.settings import load_settings  # noqa: PLC0415

    chosen = settings or load_settings(os.environ)
    return chosen if data_dir is None else chosen.model_copy(update={"data_dir": Path(data_dir)})
